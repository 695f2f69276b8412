//! Names to entries: what the lists say, joined by name, sorted, in one text.
//!
//! An entry carries the categories of every list that has its name. Under a protected name every
//! entry is protected too: nobody blocks one page of a helpline by listing it.

use std::collections::HashMap;
use std::thread::{self, ScopedJoinHandle};

use sensor_ebpf::abi::{DomainEntry, UNLISTED};

use super::category::{LOCAL_ALLOW, LOCAL_BLOCK};
use super::ends::Ends;
use super::error::Fault;
use super::name::label_count;
use super::prefix;
use super::subject::{Subject, above, is_name};
use super::table::{Entry, Part, Row, Table, name_of};
use super::warning::{Warning, Warnings};
use super::{List, Place};

/// Names of all lists together: three times what the largest public collections have.
pub const NAMES_MAX: usize = 1 << 24;

/// Threads that go through all names: a gateway has two CPUs at least.
const THREADS: usize = 2;

/// Which categories any group blocks, tells or protects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest {
    pub(crate) block: u64,
    pub(crate) alert: u64,
    pub(crate) protected: u64,
    /// Bits of exceptions.
    pub(crate) excepted: u64,
}

/// Names as they are read, unsorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(super) text: String,
    pub(super) rows: Vec<Row>,
}

impl Names {
    /// Adds a canonical name of a list.
    pub(crate) fn add(&mut self, name: &str, list: u16, line: u32) -> Result<(), Fault> {
        let (Ok(start), Ok(length)) = (u32::try_from(self.text.len()), u8::try_from(name.len()))
        else {
            return Err(too_many());
        };
        if self.rows.len() == NAMES_MAX {
            return Err(too_many());
        }
        self.text.push_str(name);
        self.rows.push(Row { start, line, list, length, reserved: 0 });
        Ok(())
    }

    /// Joins equal names to entries.
    pub(crate) fn compile(self, lists: &[List], interest: Interest) -> (Table, Warnings) {
        let (text, mut rows) = sorted(self);
        let name = |row: &Row| name_of(&text, row);
        rows.dedup_by(|later, first| later.list == first.list && name(later) == name(first));
        let mut entries = Vec::new();
        let mut first = 0;
        for same in rows.chunk_by(|a, b| name(a) == name(b)) {
            let mask = |row: &Row| lists.get(usize::from(row.list)).map_or(0, |list| list.mask);
            let categories = same.iter().fold(0, |union, row| union | mask(row));
            let list = deciding_list(same, mask, interest);
            entries.push(Entry { categories, row: first, list, reserved: 0 });
            first += u32::try_from(same.len()).unwrap_or(u32::MAX);
        }
        let mut table = Table::of(text, rows, entries);
        let warnings = table.warn(lists);
        // First: what only an exception names is in the categories of the name above, and protected with it.
        table.except(interest.excepted);
        let warnings = table.protect(interest, warnings);
        (table, warnings)
    }
}

/// Rows in the order of their names, lists and lines, and the names in that order too: whoever goes through them goes
/// through memory once. What a name begins with lies beside its row meanwhile: names that differ there, as most do, are
/// not looked for in the text, which is too long for any cache.
fn sorted(Names { text, rows }: Names) -> (String, Vec<Row>) {
    let text = &*text;
    let begun = |row: Row| {
        let mut first = [0; 8];
        first.iter_mut().zip(name_of(text, &row).bytes()).for_each(|(to, byte)| *to = byte);
        (u64::from_be_bytes(first), row)
    };
    let mut rows: Vec<(u64, Row)> = rows.into_iter().map(begun).collect();
    // Lists mostly come in order, and what is in order is found so at once.
    rows.sort_by(|(first, a), (other, b)| {
        first
            .cmp(other)
            .then_with(|| name_of(text, a).cmp(name_of(text, b)))
            .then(a.list.cmp(&b.list))
            .then(a.line.cmp(&b.line))
    });
    let mut in_order = String::with_capacity(text.len());
    let moved = |(_, row): (u64, Row)| {
        let name = name_of(text, &row);
        // The length of all is that of the text, whose places have room in a number.
        let start = u32::try_from(in_order.len()).unwrap_or(u32::MAX);
        in_order.push_str(name);
        Row { start, ..row }
    };
    let mut rows: Vec<Row> = rows.into_iter().map(moved).collect();
    // They lie where the pairs were.
    rows.shrink_to_fit();
    (in_order, rows)
}

impl Table {
    fn of(text: String, rows: Vec<Row>, entries: Vec<Entry>) -> Self {
        let name =
            |entry: &Entry| rows.get(entry.row as usize).map_or("", |row| name_of(&text, row));
        let others = (0..).zip(&entries).filter(|(_, entry)| !is_name(name(entry)));
        let others = others.map(|(place, _)| place).collect();
        Self {
            others: Part::Made(others),
            text,
            rows: Part::Made(rows),
            entries: Part::Made(entries),
        }
    }

    /// Warns of entries that are allowed on their own account but hardly meant.
    fn warn(&self, lists: &[List]) -> Warnings {
        let share = self.entries.len().div_ceil(THREADS).max(1);
        let warnings = thread::scope(|scope| {
            let shares = self.entries.chunks(share);
            let threads: Vec<_> =
                shares.map(|entries| scope.spawn(|| self.warn_of(entries, lists))).collect();
            let join = |thread: ScopedJoinHandle<'_, Warnings>| match thread.join() {
                Ok(warnings) => warnings,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            threads.into_iter().map(join).collect::<Vec<_>>()
        });
        let mut all = Warnings::default();
        for warnings in warnings {
            all.append(warnings);
        }
        all
    }

    fn warn_of(&self, entries: &[Entry], lists: &[List]) -> Warnings {
        let mut warnings = Warnings::default();
        for entry in entries {
            let name = self.name(entry);
            match Subject::of(name) {
                Subject::Name if label_count(name) == 1 => {
                    warnings.push(Warning::TopLevelDomain(name.to_owned()));
                }
                Subject::Name if is_registrys(name) => {
                    let row = self.rows(name).first();
                    let list = row.and_then(|row| lists.get(usize::from(row.list)));
                    let file = list.map(|list| list.file.clone()).unwrap_or_default();
                    let place = Place { file, line: row.map(|row| row.line) };
                    warnings.push(Warning::Registry { name: name.to_owned(), place });
                }
                Subject::Prefix(network) if prefix::is_own(network) => {
                    warnings.push(Warning::OwnAddresses(name.to_owned()));
                }
                Subject::Name | Subject::Port(_) | Subject::Prefix(_) => {}
            }
            let both = LOCAL_ALLOW | LOCAL_BLOCK;
            if entry.categories & both == both {
                warnings.push(Warning::AllowedAndBlocked(name.to_owned()));
            }
        }
        warnings
    }

    /// Gives entries at and under a protected name its categories and its list.
    fn protect(&mut self, interest: Interest, mut warnings: Warnings) -> Warnings {
        let Interest { protected, excepted, .. } = interest;
        let harmless = protected | LOCAL_ALLOW | excepted | UNLISTED;
        let is_protected = |(_, entry): &(&str, DomainEntry)| entry.categories & protected != 0;
        let by_name: HashMap<&str, DomainEntry> = self.iter().filter(is_protected).collect();
        if by_name.is_empty() {
            return warnings;
        }
        let covers_others = by_name.keys().any(|name| !is_name(name));
        let ends = Ends::of(by_name.keys().copied().filter(|name| is_name(name)));
        let mut changes = Vec::new();
        for (index, (name, entry)) in self.iter().enumerate() {
            let may_be = if is_name(name) { ends.may_cover(name) } else { covers_others };
            if !may_be {
                continue;
            }
            let found = above(name, |over| by_name.get_key_value(over));
            let Some((by, protector)) = found else { continue };
            if entry.categories & !harmless != 0 {
                warnings.push(Warning::Protected { name: name.to_owned(), by: (*by).to_owned() });
            }
            changes.push((index, protector.categories & protected, protector.list));
        }
        for (index, categories, list) in changes {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.categories |= categories;
                entry.list = list;
            }
        }
        warnings
    }

    /// Gives entries at and under an excepted name its bit, and the excepted name what is known of it without: the
    /// entry above it, where it has none of its own.
    fn except(&mut self, excepted: u64) {
        let is_excepted = |(_, entry): &(&str, DomainEntry)| entry.categories & excepted != 0;
        let by_name: HashMap<&str, u64> =
            self.iter().filter(is_excepted).map(|(name, entry)| (name, entry.categories)).collect();
        if by_name.is_empty() {
            return;
        }
        let covers_others = by_name.keys().any(|name| !is_name(name));
        let ends = Ends::of(by_name.keys().copied().filter(|name| is_name(name)));
        let mut changes = Vec::new();
        for (index, (name, entry)) in self.iter().enumerate() {
            let may_be = if is_name(name) { ends.may_cover(name) } else { covers_others };
            if !may_be {
                continue;
            }
            let mut bits = 0;
            above(name, |over| {
                bits |= by_name.get(over).map_or(0, |categories| categories & excepted);
                None::<()>
            });
            if bits == 0 {
                continue;
            }
            // What is listed by exceptions alone is in the categories of the name above it that is not.
            let own = entry.categories & !excepted != 0;
            let known = |over: &str| {
                let (_, entry) = self.get(over).filter(|_| over != name)?;
                (entry.categories & !excepted != 0).then_some(entry)
            };
            let above = if own { None } else { above(name, known) };
            // To those who have no exception such a name is as unlisted as it was; nothing else is judged for that.
            let without = if own || !is_name(name) { 0 } else { UNLISTED };
            let categories = above.map_or(without, |above| above.categories & !excepted);
            let list = above.map_or(entry.list, |above| above.list);
            changes.push((index, categories | bits, list));
        }
        for (index, categories, list) in changes {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.categories |= categories;
                entry.list = list;
            }
        }
    }
}

/// The list records name: of the rows of one name, the first that matters most.
fn deciding_list(rows: &[Row], mask: impl Fn(&Row) -> u64, interest: Interest) -> u16 {
    let order = [interest.protected, LOCAL_ALLOW, LOCAL_BLOCK, interest.block, interest.alert];
    let first = |wanted: u64| rows.iter().find(|row| mask(row) & wanted != 0);
    // Of what nobody acts on the list that says what it is, before the exception that says who may.
    let listed = || rows.iter().find(|row| mask(row) & !interest.excepted != 0);
    let deciding = order.into_iter().find_map(first).or_else(listed).or(rows.first());
    deciding.map_or(0, |row| row.list)
}

/// Whether strangers register names right under this one, by the part of the Public Suffix List that registries rule.
fn is_registrys(name: &str) -> bool {
    // None of a registry is longer: the longest there is has 27.
    const BYTES_MAX: usize = 40;
    if name.len() > BYTES_MAX || label_count(name) > 3 {
        return false;
    }
    let suffix = psl::suffix(name.as_bytes()).filter(psl::Suffix::is_known);
    let is_icann = |suffix: &psl::Suffix<'_>| suffix.typ() == Some(psl::Type::Icann);
    suffix.filter(is_icann).is_some_and(|suffix| suffix.as_bytes() == name.as_bytes())
}

/// More names than there may be.
pub(crate) fn too_many() -> Fault {
    let remedy = "drop lists that no group blocks";
    Fault::TooMany { what: "names in all lists", max: NAMES_MAX, remedy }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::load;

    const POLICY: &str = r#"
        version = "1"
        default_group = "all"
        category = [
            { id = "drugs", title = "", covers = "" },
            { id = "piracy", title = "", covers = "" },
            { id = "help", title = "", covers = "" },
        ]
        list = [
            { id = "mixed", file = "mixed.txt", categories = ["drugs", "piracy"] },
            { id = "piracy", file = "piracy.txt", categories = ["piracy"] },
            { id = "drugs", file = "drugs.txt", categories = ["drugs"] },
            { id = "help", file = "help.txt", categories = ["help"], protected = true },
        ]
        group = [{ name = "all", block = ["drugs"] }]
        allow = [{ name = "both.example", reason = "x" }]
        block = [{ name = "both.example", reason = "x" }, { name = "x.help.example", reason = "x" }]
    "#;

    fn policy() -> super::super::Policy {
        load(&[
            ("policy.toml", POLICY),
            ("mixed.txt", "mixed.example\n"),
            ("piracy.txt", "a.example\nmixed.example\na.example\nexample\nwww.a.help.example"),
            ("drugs.txt", "A.example.\nhelp.example"),
            ("help.txt", "a.help.example\nhelp.example\n"),
        ])
        .unwrap()
    }

    #[test]
    fn entries_join_what_lists_say() {
        let policy = policy();
        let entries: Vec<_> = policy
            .entries()
            .map(|(name, entry)| {
                let categories = policy.category_names(entry.categories).join("+");
                format!("{name} {categories} {}", policy.list_name(entry.list))
            })
            .collect();
        assert_eq!(
            entries,
            [
                "a.example drugs+piracy drugs",
                "a.help.example help help",
                "both.example local-block+local-allow local-allow",
                "example piracy piracy",
                "help.example drugs+help help",
                "mixed.example drugs+piracy mixed",
                "www.a.help.example piracy+help help",
                "x.help.example help+local-block help",
            ]
        );
    }

    #[test]
    fn what_is_hardly_meant_is_told() {
        let policy = policy();
        let warnings: Vec<_> = policy.warnings().shown.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "`both.example` has an allow rule and a block rule: it is allowed",
                "`example` is a top-level domain: everything under it is covered",
                "`help.example` is listed, but protected by `help.example`: it stays allowed",
                "`www.a.help.example` is listed, but protected by `a.help.example`: \
                    it stays allowed",
                "`x.help.example` is listed, but protected by `help.example`: it stays allowed",
            ]
        );
        assert_eq!(policy.warnings().count, 5);
    }

    #[test]
    fn lists_that_cover_too_much_or_nothing_are_told() {
        let policy = load(&[
            ("policy.toml", POLICY),
            ("mixed.txt", ""),
            ("piracy.txt", "a.co.uk\n\nco.uk\ngithub.io\nexample.com"),
            ("drugs.txt", "a.example"),
            ("help.txt", "help.example"),
        ])
        .unwrap();
        let folder = policy.lists()[0].file.parent().unwrap().display().to_string();
        let told: Vec<_> = policy
            .warnings()
            .shown
            .iter()
            .map(|warning| warning.to_string().replace(&folder, ""))
            .filter(|warning| !warning.contains("both.example") && !warning.contains("protected"))
            .collect();
        assert_eq!(
            told,
            [
                "`co.uk` of /piracy.txt:3 is a registry's: all names under it are covered",
                "list `mixed` is empty: /mixed.txt",
            ]
        );
    }
}
