//! The locked class: names blocked for everybody, whatever else the policy says, of which nothing but their SHA-256
//! is kept. Nobody can read it off a gateway, and no rule, group, schedule or exception opens it.

use sensor_ebpf::abi::{DomainEntry, LOCKED};
use sha2::{Digest as _, Sha256};

use super::List;
use super::error::{Fault, PolicyError};
use super::name::{label_count, suffixes};

/// Id of the class in records and in metrics: of its category, whatever list a name is on.
pub(crate) const LOCKED_ID: &str = "locked";

/// Labels of the shortest name that can be locked: no list means a whole top-level domain.
const LABELS_MIN: usize = 2;

/// Hashes of all locked lists.
#[derive(Debug, Default)]
pub(crate) struct Locked {
    /// Sorted, each hash once, with the first list that has it.
    hashes: Vec<([u8; 32], u16)>,
}

impl Locked {
    /// Joins what the lists hold.
    pub(crate) fn of(mut hashes: Vec<([u8; 32], u16)>) -> Self {
        hashes.sort_unstable();
        hashes.dedup_by_key(|(hash, _)| *hash);
        Self { hashes }
    }

    pub(crate) const fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The list of the deepest suffix of a canonical name that is locked.
    pub(crate) fn list_of(&self, name: &str) -> Option<u16> {
        if self.hashes.is_empty() {
            return None;
        }
        let lockable = suffixes(name).filter(|suffix| label_count(suffix) >= LABELS_MIN);
        lockable.map(Sha256::digest).find_map(|digest| {
            let digest: [u8; 32] = digest.into();
            let at = self.hashes.binary_search_by(|(hash, _)| hash.cmp(&digest)).ok()?;
            self.hashes.get(at).map(|(_, list)| *list)
        })
    }

    /// The first 64 bits of each hash with what the kernel is told of it.
    pub(crate) fn entries(&self) -> Vec<(u64, DomainEntry)> {
        let first = |hash: &[u8; 32]| {
            let (first, _) = hash.split_first_chunk().unwrap_or((&[0; 8], &[]));
            u64::from_be_bytes(*first)
        };
        let mut entries: Vec<_> =
            self.hashes.iter().map(|(hash, list)| (first(hash), entry(*list))).collect();
        // To the kernel hashes that begin alike are one.
        entries.dedup_by_key(|(first, _)| *first);
        entries
    }

    /// Refuses a locked list that would block a protected name.
    pub(crate) fn check<'a>(
        &self,
        lists: &[List],
        mut protected: impl Iterator<Item = &'a str>,
    ) -> Result<(), PolicyError> {
        let hit = protected.find_map(|name| Some((name, self.list_of(name)?)));
        let Some((name, list)) = hit else { return Ok(()) };
        let fault = Fault::LockedProtected(name.to_owned());
        let file = lists.get(usize::from(list)).map(|list| list.file.clone());
        Err(PolicyError::of_file(&file.unwrap_or_default(), fault))
    }
}

/// What is known of a name of a locked list.
pub(crate) fn entry(list: u16) -> DomainEntry {
    DomainEntry { categories: LOCKED, list, ..DomainEntry::default() }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use sensor_ebpf::abi::Verdict;

    use super::super::fixture::{check_fault, load};
    use super::super::{GroupId, Policy, PolicyError};
    use super::*;

    const POLICY: &str = r#"version = "1"
        default_group = "staff"
        category = [{ id = "help", title = "", covers = "" }, { id = "news", title = "", covers = "" }]
        list = [
            { id = "help", file = "help", categories = ["help"], protected = true },
            { id = "watch", file = "watch", format = "sha256-hex", locked = true },
            { id = "other", file = "other", format = "sha256-hex", locked = true },
        ]
        allow = [{ name = "bad.example", reason = "x" }, { name = "shop.bad.example", reason = "x" }]
        group = [{ name = "staff", allow = ["news"] }]
        exception = [{ name = "worse.example", groups = ["staff"], owner = "x", reason = "x", until = "2999-01-01" }]
    "#;

    fn hex(name: &str) -> String {
        Sha256::digest(name).iter().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"))
    }

    fn policy(watch: &[&str], other: &[&str]) -> Result<Policy, PolicyError> {
        let list = |names: &[&str]| names.iter().map(|name| hex(name) + "\n").collect::<String>();
        load(&[
            ("policy.toml", POLICY),
            ("help", "help.example\n"),
            ("watch", &list(watch)),
            ("other", &list(other)),
        ])
    }

    #[test]
    fn the_locked_class_beats_all() {
        let policy =
            policy(&["bad.example", "a.worse.example"], &["bad.example", "b.test"]).unwrap();
        for (name, verdict, list) in [
            ("bad.example", Verdict::Block, "watch"),
            ("BAD.example.", Verdict::Block, "watch"),
            ("shop.bad.example", Verdict::Block, "watch"),
            ("x.a.worse.example", Verdict::Block, "watch"),
            ("worse.example", Verdict::Allow, "exception"),
            ("b.test", Verdict::Block, "other"),
            ("test", Verdict::Allow, "none"),
            ("notbad.example", Verdict::Allow, "none"),
            ("help.example", Verdict::Allow, "help"),
        ] {
            let decision = policy.decide(name, GroupId(1));
            assert_eq!(decision.verdict, verdict, "{name}");
            assert_eq!(policy.list_name(decision.list()), list, "{name}");
            assert_eq!(decision.categories() & LOCKED != 0, verdict == Verdict::Block, "{name}");
        }
        assert!(policy.is_unlogged(LOCKED));
        assert_eq!(policy.category_names(LOCKED), ["locked"]);
        // The names appear nowhere.
        assert!(!format!("{policy:?}").contains("b.test"));
    }

    #[test]
    fn why_tells_the_class_and_no_line() {
        let policy = policy(&["bad.example"], &["b.test"]).unwrap();
        let why = policy.why("www.bad.example", GroupId(1), date(2026, 1, 1)).unwrap();
        assert_eq!((why.verdict, why.locked.as_deref()), ("block", Some("watch")));
        assert!(why.because.is_none() && why.overruled.is_empty());
        assert_eq!(
            why.to_string(),
            "www.bad.example: block\n  group      staff\n  policy     1\n  \
               because    it is locked by list watch: blocked for everybody, whatever else is listed\n  \
               records    leave the name out: it is locked\n"
        );
    }

    #[test]
    fn a_protected_name_cannot_be_locked() {
        let error = policy(&["example.test", "help.example"], &["b.test"]).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "/watch: locks `help.example`, which is protected: \
                    ask who made the list, and leave it out until then"
            ),
            "{error}"
        );
    }

    #[test]
    fn faults_of_locked_lists() {
        let check = |keys: &str, expected: &str| {
            let category = "category = [{ id = \"drugs\", title = \"\", covers = \"\" }]";
            let list = "[[list]]\nid = \"l\"\nfile = \"l.txt\"";
            check_fault(&format!("{category}\n{list}\n{keys}"), expected);
        };
        check(
            "categories = [\"drugs\"]\nformat = \"sha256-hex\"",
            "policy.toml:8: a list of hashes is one of the locked class: \
                write locked = true in place of its categories, or give a list of names",
        );
        check(
            "locked = true",
            "policy.toml:5: list `l` is locked, and its names could be read: \
                write format = \"sha256-hex\" and a list of hashes",
        );
        check(
            "format = \"sha256-hex\"\nlocked = true\ncategories = [\"drugs\"]",
            "policy.toml:5: list `l` is locked, so it has no category and is not protected: \
                remove `categories` and `protected`",
        );
        check(
            "format = \"sha256-hex\"\nlocked = true\nprotected = true",
            "policy.toml:5: list `l` is locked, so it has no category and is not protected: \
                remove `categories` and `protected`",
        );
        check_fault(
            "category = [{ id = \"locked\", title = \"\", covers = \"\" }]",
            "policy.toml:3: category `locked` is reserved: choose another name",
        );
    }
}
