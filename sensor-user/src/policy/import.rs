//! Lists of other formats, read into the policy's names.

use std::ops::ControlFlow;
use std::path::Path;

use super::compile::{NAMES_MAX, Names, too_many};
use super::error::{Fault, PolicyError};
use super::file::ListDeclaration;
use super::list::Sources;
use super::source::written;
use super::warning::{Warning, Warnings};
use super::{List, Place, prefix};
use crate::lists::{self, Format, ListError, ListFault, Reason, Report, Selection, Taken};

/// Reads a list of another format; bad lines are left out and counted in its report.
pub(super) fn read_list(
    policy: &Path,
    index: u16,
    declaration: &ListDeclaration,
    format: Format,
    names: &mut Names,
    hashes: &mut Vec<([u8; 32], u16)>,
) -> Result<List, PolicyError> {
    let ListDeclaration { id, path, line, categories: mask, protected, addresses, member, .. } =
        declaration.clone();
    let refuse = |error: ListError| match *error.fault {
        fault if error.place.line.is_some() => {
            PolicyError { place: error.place, fault: Box::new(Fault::ListLine(fault)) }
        }
        fault => {
            let error = ListError { place: error.place, fault: Box::new(fault) };
            PolicyError::at_line(policy, line, Fault::List(error))
        }
    };
    let mut count = 0;
    let mut refused = None;
    let selection = Selection { path: &path, format, member: member.as_deref() };
    let imported = lists::import(selection, &mut |entry, line| {
        let added = match entry {
            lists::Entry::Name(name) => names.add(name, index, line),
            lists::Entry::Hash(hash) => add_hash(hashes, hash, index),
            lists::Entry::Prefix(prefix) if !addresses || is_of_sites(prefix) => {
                return ControlFlow::Continue(Taken::No);
            }
            lists::Entry::Prefix(prefix) => names.add(prefix, index, line),
        };
        count += 1;
        match added {
            Ok(()) => ControlFlow::Continue(Taken::Yes),
            Err(fault) => {
                refused = Some(fault);
                ControlFlow::Break(())
            }
        }
    });
    let report = match (imported, refused) {
        (Err(ListError { place, fault }), Some(refused))
            if matches!(*fault, ListFault::Stopped) =>
        {
            return Err(PolicyError { place, fault: Box::new(refused) });
        }
        (imported, _) => imported.map_err(refuse)?,
    };
    report.check().map_err(refuse)?;
    let file = report.names_file().map_or_else(|| path.clone(), |file| file.file.clone());
    // A member of an archive is as old as the archive.
    let metadata = file.metadata().or_else(|_not_on_disk| path.metadata());
    let dated = metadata.ok().and_then(|metadata| written(&metadata));
    let sources = Sources::default();
    Ok(List { id, file, mask, protected, dated, names: count, report: Some(report), sources })
}

/// Lists of addresses that nobody should come from have those that every site has inside.
fn is_of_sites(prefix: &str) -> bool {
    matches!(prefix::parse(prefix), Some(Ok(network)) if prefix::is_own(network))
}

fn add_hash(hashes: &mut Vec<([u8; 32], u16)>, hash: [u8; 32], list: u16) -> Result<(), Fault> {
    if hashes.len() == NAMES_MAX {
        return Err(too_many());
    }
    hashes.push((hash, list));
    Ok(())
}

/// Warns of what lists of other formats name, but hardly mean.
pub(super) fn warn(lists: &[List], warnings: &mut Warnings) {
    for report in lists.iter().filter_map(|list| list.report.as_ref()) {
        let mut told = 0;
        for (file, example) in report.examples(Reason::PublicSuffix) {
            let place = Place { file: file.file.clone(), line: Some(example.line) };
            warnings.push(Warning::PublicSuffix { name: example.text.clone(), place });
            told += 1;
        }
        warnings.count_more(report.total().of(Reason::PublicSuffix).saturating_sub(told));
    }
}

impl List {
    /// What was left out of a list of another format, in a line; nothing for the project's own.
    pub fn summary(&self) -> Option<String> {
        self.report.as_ref().map(Report::summary)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::fixture::load;
    use super::super::{GroupId, Policy, PolicyError};

    /// A policy with one list, `list.txt`, of this format.
    fn policy(format: &str, list: &str) -> Result<Policy, PolicyError> {
        let text = format!(
            "version = \"1\"\ndefault_group = \"all\"\n\
            category = [{{ id = \"drugs\", title = \"\", covers = \"\" }}]\n\
            group = [{{ name = \"all\", block = [\"drugs\"] }}]\n\
            [[list]]\nid = \"other\"\nfile = \"list.txt\"\ncategories = [\"drugs\"]\n\
            format = \"{format}\"\n"
        );
        load(&[("policy.toml", &text), ("list.txt", list)])
    }

    fn refusal(format: &str, list: &str) -> String {
        let error = policy(format, list).unwrap_err().to_string();
        // The folder's name is another one each time.
        let words = error.split(' ').map(|word| word.rsplit('/').next().unwrap_or(word));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_of_another_format_is_enforced_and_says_what_it_left_out() {
        let list = "# x\n127.0.0.1 localhost\n0.0.0.0 a.example B.example\n0.0.0.0 co.uk\n\
            0.0.0.0 192.0.2.1\n";
        let policy = policy("hosts", list).unwrap();
        let names: Vec<_> = policy.entries().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.example", "b.example"]);
        let list = policy.lists().last().unwrap();
        assert_eq!(list.names, 2);
        assert!(list.dated.is_some());
        assert_eq!(
            list.summary().unwrap(),
            "hosts, 2 names of 5 lines; left out: 1 address, 1 public-suffix, 1 local-name"
        );
        let warnings = policy.warnings();
        let warning = warnings.shown[0].to_string();
        assert!(warning.starts_with("`co.uk` of "), "{warning}");
        assert!(
            warning.ends_with("list.txt:4 is left out: everybody's names are under it"),
            "{warning}"
        );
        assert_eq!(warnings.count, 1);
        let why = policy.why("www.a.example", GroupId(0), date(2026, 1, 1)).unwrap();
        let witness = &why.because.unwrap().witnesses[0];
        assert_eq!((&*witness.list, witness.line), ("other", 3));
    }

    #[test]
    fn addresses_are_taken_where_they_are_wanted() {
        let list = "a.example\n198.51.100.7\n203.0.113.0/24\n2001:db8::/32\n10.1.2.3\n127.0.0.1\n";
        let read = |keys: &str| {
            let policy = policy(&format!("domains\"\n{keys}# \""), list).unwrap();
            let prefixes: Vec<_> = policy.prefixes().map(|(net, _)| net.to_string()).collect();
            (prefixes.join(" "), policy.lists().last().unwrap().summary().unwrap())
        };
        let (none, left_out) = read("");
        assert_eq!((&*none, &*left_out), ("", "domains, 1 names of 6 lines; left out: 5 address"));
        let (prefixes, left_out) = read("addresses = true\n");
        assert_eq!(prefixes, "198.51.100.7/32 2001:db8::/32 203.0.113.0/24");
        // A site's own stay out.
        assert_eq!(left_out, "domains, 4 names of 6 lines; left out: 2 address");
    }

    #[test]
    fn a_list_that_is_not_understood_refuses_the_policy() {
        assert_eq!(
            refusal("domains", "0.0.0.0 a.example\n"),
            "list.txt:1: 1 of 1 lines make no sense as domains, `0.0.0.0 a.example` is the first: \
                it looks like hosts, write format = \"hosts\""
        );
        assert_eq!(
            refusal("adblock", "! x\n"),
            "policy.toml:7: list.txt: has no name that can be enforced: \
                remove the list from the policy, or see what was downloaded"
        );
        assert_eq!(
            refusal("ut1", "a.example\n"),
            "policy.toml:7: list.txt: holds no category: \
                a category is a folder with a file `domains` or `urls`"
        );
    }

    #[test]
    fn many_public_suffixes_are_counted() {
        let list = "a.example\n".to_owned() + &"uk\n".repeat(30);
        let policy = policy("domains", &list).unwrap();
        let warnings = policy.warnings();
        assert_eq!((warnings.shown.len(), warnings.count), (20, 30));
    }
}
