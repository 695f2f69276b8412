//! The lists of a policy, those in its own file and those it names: read and compiled, or as they were kept.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::thread;

use jiff::civil::Date;
use sensor_ebpf::abi::{LISTED_PREFIXES_MAX, LOCKED, PORTS_MAX};
use sha2::{Digest as _, Sha256};

use super::category::{LOCAL_ALLOW, LOCAL_ALLOW_ID, LOCAL_BLOCK, LOCAL_BLOCK_ID};
use super::compile::{Interest, Names};
use super::error::{Fault, PolicyError};
use super::exception::EXCEPTION_ID;
use super::file::{ListDeclaration, LocalRule, NO_LIST_ID, PolicyFile, protected_mask};
use super::kept::{Id, Keep, Kept, KeptList};
use super::list::{self, Header, Sources};
use super::locked::Locked;
use super::source;
use super::subject::Subject;
use super::table::Table;
use super::warning::Warnings;
use super::{ALLOW_LIST, BLOCK_LIST, EXCEPTION_LISTS, List, import};

/// Bytes of a list that are read at once to reckon its digest.
const BUFFER_BYTES: usize = 256 << 10;

/// Threads that read lists for their digests: a gateway has two CPUs at least.
const THREADS: usize = 2;

/// SHA-256 of a list's bytes.
type Digest = [u8; 32];

/// What the lists of a policy say.
pub(super) struct Gathered {
    pub(super) lists: Vec<List>,
    pub(super) table: Table,
    pub(super) locked: Locked,
    /// Of names.
    pub(super) warnings: Warnings,
    /// What the table is kept under; none where it is not.
    pub(super) names_id: Option<Id>,
}

impl Gathered {
    /// Reads all lists of a policy file, or takes their names from where they are kept.
    pub(super) fn of(
        path: &Path,
        file: &PolicyFile,
        keep: Option<&Keep>,
    ) -> Result<Self, PolicyError> {
        let mut names = Names::default();
        let own = lists_of_the_file(path, file, &mut names)?;
        let interest = interest(file);
        let keep = keep.filter(|keep| is_kept(file, keep));
        let sought = keep.and_then(|_| {
            let digests = digests(&file.lists)?;
            Some(Id::of(&own, &file.lists, &names, interest, &digests))
        });
        let kept = keep.zip(sought).and_then(|(keep, id)| {
            let kept = keep.open(id, path)?;
            let plain = file.lists.iter().filter(|list| list.format.is_none()).count();
            (kept.lists.len() == plain).then_some((id, kept))
        });
        let gathered = match kept {
            Some((id, kept)) => Self::from_kept(path, file, own, id, kept)?,
            None => Self::from_files(path, file, &own, names, interest, keep)?,
        };
        if gathered.locked.len() > 0 {
            let protected = interest.protected;
            let of_protected = gathered.table.iter();
            let of_protected = of_protected.filter(|(_, entry)| entry.categories & protected != 0);
            gathered.locked.check(&gathered.lists, of_protected.map(|(name, _)| name))?;
        }
        let checked = check_numbers(&gathered.table);
        checked.map_err(|fault| PolicyError::of_file(path, fault))?;
        Ok(gathered)
    }

    fn from_files(
        path: &Path,
        file: &PolicyFile,
        own: &[List],
        mut names: Names,
        interest: Interest,
        keep: Option<&Keep>,
    ) -> Result<Self, PolicyError> {
        let own_names = keep.map(|_| names.clone());
        let (mut digests, mut headers) = (Vec::new(), Vec::new());
        let plain = |index, declaration: &ListDeclaration, names: &mut Names| {
            let (list, Header { dated, sources, digest }) =
                read_list(path, index, declaration, names)?;
            digests.push(digest);
            headers.push(KeptList { dated, names: list.names, sources });
            Ok(list)
        };
        let (lists, locked) = each_list(path, file, own.to_vec(), &mut names, plain)?;
        let (table, warnings) = names.compile(&lists, interest);
        // Of what was read now: a list may be another one than when it was looked for.
        let kept = keep.zip(own_names).and_then(|(keep, own_names)| {
            let id = Id::of(own, &file.lists, &own_names, interest, &digests);
            keep.put(id, path, &table, &warnings, &headers).then_some(id)
        });
        Ok(Self { lists, table, locked, warnings, names_id: kept })
    }

    fn from_kept(
        path: &Path,
        file: &PolicyFile,
        own: Vec<List>,
        id: Id,
        kept: Kept,
    ) -> Result<Self, PolicyError> {
        let Kept { table, warnings, lists: headers } = kept;
        let mut headers = headers.into_iter();
        let plain = |_, declaration: &ListDeclaration, _: &mut Names| {
            let KeptList { dated, names, sources } = headers.next().unwrap_or_default();
            let written = declaration.path.metadata().ok();
            let dated = dated.or_else(|| written.and_then(|file| source::written(&file)));
            Ok(plain_list(declaration, dated, names, sources))
        };
        // What is not kept is hashes: they name nothing.
        let (lists, locked) = each_list(path, file, own, &mut Names::default(), plain)?;
        Ok(Self { lists, table, locked, warnings, names_id: Some(id) })
    }
}

/// The lists behind those of the policy file itself: `plain` reads one of the project's own.
fn each_list(
    path: &Path,
    file: &PolicyFile,
    mut lists: Vec<List>,
    names: &mut Names,
    mut plain: impl FnMut(u16, &ListDeclaration, &mut Names) -> Result<List, PolicyError>,
) -> Result<(Vec<List>, Locked), PolicyError> {
    let mut hashes = Vec::new();
    for declaration in &file.lists {
        let index = u16::try_from(lists.len()).unwrap_or(u16::MAX);
        lists.push(match declaration.format {
            None => plain(index, declaration, names)?,
            Some(format) => {
                import::read_list(path, index, declaration, format, names, &mut hashes)?
            }
        });
    }
    Ok((lists, Locked::of(hashes)))
}

/// Whether the names of these lists are kept: all of them are the project's own or hashes, as in a bundle, and it takes
/// time to read them.
fn is_kept(file: &PolicyFile, keep: &Keep) -> bool {
    let is_own = |list: &ListDeclaration| list.format.is_none() || list.categories == LOCKED;
    let bytes = file.lists.iter().filter_map(|list| Some(list.path.metadata().ok()?.len()));
    file.lists.iter().all(is_own) && bytes.sum::<u64>() >= keep.least_bytes
}

/// What any group does about names.
fn interest(file: &PolicyFile) -> Interest {
    let mut interest = Interest {
        block: 0,
        alert: 0,
        protected: protected_mask(&file.lists),
        excepted: file.exceptions.mask(),
    };
    for (_, group) in file.groups.iter() {
        interest.block |= group.ever_blocked();
        interest.alert |= group.ever_told();
    }
    interest
}

/// Digests of the project's own lists, in order; none where one cannot be read, which reading it says better.
fn digests(lists: &[ListDeclaration]) -> Option<Vec<Digest>> {
    let plain: Vec<&Path> =
        lists.iter().filter(|list| list.format.is_none()).map(|list| &*list.path).collect();
    let digests = thread::scope(|scope| {
        let plain = &plain;
        let share = |first: usize| {
            let mine = plain.iter().skip(first).step_by(THREADS);
            scope.spawn(move || mine.map(|path| digest(path)).collect::<Option<Vec<Digest>>>())
        };
        let threads: Vec<_> = (0..THREADS).map(share).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(digests) => digests,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect::<Option<Vec<_>>>()
    })?;
    let mut shares: Vec<_> = digests.into_iter().map(Vec::into_iter).collect();
    (0..plain.len()).map(|at| shares.get_mut(at % THREADS)?.next()).collect()
}

fn digest(path: &Path) -> Option<Digest> {
    // A look before opening: opening a pipe would wait for its writer.
    let is_file = path.metadata().ok()?.is_file();
    let mut file = is_file.then(|| File::open(path).ok())??;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(hash.finalize().into()),
            Ok(count) => hash.update(buffer.get(..count)?),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
/// More ports or prefixes than the kernel holds.
fn check_numbers(table: &Table) -> Result<(), Fault> {
    let (mut ports, mut prefixes) = (0, 0);
    for (entry, _) in table.others() {
        match Subject::of(entry) {
            Subject::Name => {}
            Subject::Port(_) => ports += 1,
            Subject::Prefix(_) => prefixes += 1,
        }
    }
    let check = |found: u32, what, max: u32, remedy| match found {
        found if found > max => Err(Fault::TooMany { what, max: max as usize, remedy }),
        _ => Ok(()),
    };
    check(ports, "ports in all lists", PORTS_MAX, "list those that devices of yours use")?;
    let remedy = "join neighbouring prefixes, or drop lists that no group blocks";
    check(prefixes, "addresses and prefixes in all lists", LISTED_PREFIXES_MAX, remedy)
}

/// The lists that are written in the policy file itself, by index: none, local rules, exceptions of each kind.
fn lists_of_the_file(
    path: &Path,
    file: &PolicyFile,
    names: &mut Names,
) -> Result<Vec<List>, PolicyError> {
    let PolicyFile { allow, block, exceptions, .. } = file;
    let count = |rules: &[LocalRule]| u32::try_from(rules.len()).unwrap_or(u32::MAX);
    let mut lists = vec![
        pseudo_list(NO_LIST_ID, path, 0, 0),
        pseudo_list(LOCAL_ALLOW_ID, path, LOCAL_ALLOW, count(allow)),
        pseudo_list(LOCAL_BLOCK_ID, path, LOCAL_BLOCK, count(block)),
    ];
    let mut add = |name: &str, index, line| {
        names.add(name, index, line).map_err(|fault| PolicyError::at_line(path, line, fault))
    };
    for (index, rules) in [(ALLOW_LIST, allow), (BLOCK_LIST, block)] {
        for rule in rules {
            add(&rule.name, index, rule.line)?;
        }
    }
    for (index, window) in (EXCEPTION_LISTS..).zip(&exceptions.windows) {
        let mut granted = 0;
        for one in exceptions.granted.iter().filter(|one| EXCEPTION_LISTS + one.window == index) {
            add(&one.name, index, one.line)?;
            granted += 1;
        }
        lists.push(pseudo_list(EXCEPTION_ID, path, window.bit, granted));
    }
    Ok(lists)
}

/// A list that is written in the policy file itself.
fn pseudo_list(id: &str, policy: &Path, mask: u64, names: u32) -> List {
    List {
        id: id.to_owned(),
        file: policy.to_path_buf(),
        mask,
        protected: false,
        dated: None,
        names,
        report: None,
        sources: Sources::default(),
    }
}

fn read_list(
    policy: &Path,
    index: u16,
    declaration: &ListDeclaration,
    names: &mut Names,
) -> Result<(List, Header), PolicyError> {
    let path = &declaration.path;
    let opened = source::open(path, list::LIST_BYTES_MAX)
        .map_err(|fault| PolicyError::at_line(policy, declaration.line, fault))?;
    let written = opened.written;
    let mut count = 0;
    let header = list::read(path, opened, |name, line| {
        count += 1;
        names.add(name, index, line)
    })?;
    let dated = header.dated.or(written);
    Ok((plain_list(declaration, dated, count, header.sources.clone()), header))
}

/// A list of one name a line.
fn plain_list(
    declaration: &ListDeclaration,
    dated: Option<Date>,
    names: u32,
    sources: Sources,
) -> List {
    let ListDeclaration { id, path, categories: mask, protected, .. } = declaration;
    List {
        id: id.clone(),
        file: path.clone(),
        mask: *mask,
        protected: *protected,
        dated,
        names,
        report: None,
        sources,
    }
}
