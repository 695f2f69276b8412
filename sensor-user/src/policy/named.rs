//! The categories that a table of a group names: declared ones, names in no list, and all there are.

use sensor_ebpf::abi::UNLISTED;
use toml::Spanned;

use super::category::{Categories, EVERYTHING_ID, UNLISTED_ID};
use super::error::{Fault, PolicyError};
use super::source::Source;

/// What one table of a group has named so far.
pub(crate) struct Named<'policy> {
    source: &'policy Source,
    group: &'policy str,
    categories: &'policy Categories,
    protected: u64,
    /// Bits of the categories that were written themselves.
    own: u64,
    /// Those and what they include.
    pub(crate) all: u64,
}

impl<'policy> Named<'policy> {
    pub(crate) const fn new(
        source: &'policy Source,
        group: &'policy str,
        categories: &'policy Categories,
        protected: u64,
    ) -> Self {
        Self { source, group, categories, protected, own: 0, all: 0 }
    }

    /// Bits of these categories and of what they include; each is named once in a table, and none is protected.
    pub(crate) fn mask(&mut self, ids: &[Spanned<String>]) -> Result<u64, PolicyError> {
        let mut mask = 0;
        for id in ids {
            let (own, with_included) = self.bits(id)?;
            let fail = |fault| Err(self.source.fail(&id.span(), fault));
            let (group, category) = (self.group.to_owned(), id.get_ref().clone());
            if self.own & own != 0 {
                return fail(Fault::NamedTwice { group, category });
            }
            if with_included & self.protected != 0 {
                return fail(Fault::ProtectedActedOn { group, category });
            }
            self.own |= own;
            self.all |= with_included;
            mask |= with_included;
        }
        Ok(mask)
    }

    /// The bit of a category itself, and those of all it stands for.
    fn bits(&self, id: &Spanned<String>) -> Result<(u64, u64), PolicyError> {
        match id.get_ref().as_str() {
            UNLISTED_ID => Ok((UNLISTED, UNLISTED)),
            EVERYTHING_ID => {
                let declared = self.categories.iter().fold(0, |all, category| all | category.bit);
                Ok((UNLISTED, declared & !self.protected | UNLISTED))
            }
            _ => {
                let category = self.categories.find(self.source, id)?;
                Ok((category.bit, category.with_included))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use sensor_ebpf::abi::Verdict;

    use super::super::fixture::{check_error, load};
    use super::super::{GroupId, Policy};

    const POLICY: &str = r#"
        version = "1"
        default_group = "student"
        time_zone = "Europe/London"
        category = [
            { id = "board", title = "", covers = "" },
            { id = "news", title = "", covers = "" },
            { id = "help", title = "", covers = "" },
        ]
        list = [
            { id = "board", file = "board", categories = ["board"] },
            { id = "news", file = "news", categories = ["news"] },
            { id = "help", file = "help", categories = ["help"], protected = true },
        ]
        schedule = [{ id = "exam", terms = ["2026-11-24"] }]
        allow = [{ name = "wiki.college.example", reason = "x" }]

        [[group]]
        name = "student"
        [[group.during]]
        schedule = "exam"
        block = ["everything"]
        allow = ["board"]

        [[group]]
        name = "guest"
        prefixes = ["10.9.0.0/16"]
        block = ["unlisted"]

        [[group]]
        name = "watched"
        prefixes = ["10.8.0.0/16"]
        alert = ["unlisted"]
    "#;

    fn policy(at: &str) -> Policy {
        let mut policy = load(&[
            ("policy.toml", POLICY),
            ("board", "board.example"),
            ("news", "news.example"),
            ("help", "help.example"),
        ])
        .unwrap();
        policy.turn(policy.moment(at).unwrap());
        policy
    }

    #[test]
    fn in_an_exam_only_what_is_allowed_passes() {
        use Verdict::{Alert, Allow, Block};
        let (exam, before) = (policy("2026-11-24T10:00"), policy("2026-11-23T10:00"));
        for (name, in_exam, other, guest, watched) in [
            ("board.example", Allow, Allow, Allow, Allow),
            ("www.board.example", Allow, Allow, Allow, Allow),
            ("news.example", Block, Allow, Allow, Allow),
            ("help.example", Allow, Allow, Allow, Allow),
            ("wiki.college.example", Allow, Allow, Allow, Allow),
            ("college.example", Block, Allow, Block, Alert),
            ("example", Block, Allow, Block, Alert),
        ] {
            assert_eq!(exam.decide(name, GroupId(1)).verdict, in_exam, "{name}");
            assert_eq!(exam.decide(name, GroupId(0)).verdict, in_exam, "{name}");
            assert_eq!(before.decide(name, GroupId(1)).verdict, other, "{name}");
            assert_eq!(exam.decide(name, GroupId(2)).verdict, guest, "{name}");
            assert_eq!(exam.decide(name, GroupId(3)).verdict, watched, "{name}");
        }
        let decision = exam.decide("college.example", GroupId(1));
        assert_eq!(exam.category_names(decision.categories()), ["unlisted"]);
        assert_eq!(before.decide("college.example", GroupId(1)).categories(), 0);
    }

    #[test]
    fn why_says_that_the_group_blocks_what_is_unlisted() {
        let why = policy("2026-11-24T10:00").why("a.example", GroupId(1), date(2026, 1, 1));
        assert_eq!(
            why.unwrap().to_string(),
            "a.example: block\n  group      student\n  policy     1\n  during     exam\n  \
               because    neither it nor anything above it is listed: unlisted names are blocked here\n"
        );
    }

    #[test]
    fn faults() {
        let category = "category = [{ id = \"games\", title = \"\", covers = \"\" }]";
        check_error(
            &format!(
                "{category}\ngroup = [{{ name = \"staff\", block = [\"everything\", \"unlisted\"] }}]"
            ),
            "policy.toml:4: group `staff` names category `unlisted` twice: \
                keep it in one of block, alert, allow",
        );
        check_error(
            &format!(
                "{category}\nlist = [{{ id = \"l\", file = \"l\", categories = [\"unlisted\"] }}]\n\
                    group = [{{ name = \"staff\" }}]"
            ),
            "policy.toml:4: there is no category `unlisted`: declare it, or write one of games",
        );
        for id in ["unlisted", "everything"] {
            check_error(
                &format!(
                    "category = [{{ id = \"{id}\", title = \"\", covers = \"\" }}]\n\
                        group = [{{ name = \"staff\" }}]"
                ),
                &format!("policy.toml:3: category `{id}` is reserved: choose another name"),
            );
        }
    }
}
