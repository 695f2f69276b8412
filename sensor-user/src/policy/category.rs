//! Categories: ids, what they cover, and the bit each has in a mask.
//!
//! Bits are given in order of declaration, the preset's first. A category with `includes` is a set:
//! a group that names it means its members too, while a list fills exactly the category it names.

use std::ops::Range;

use sensor_ebpf::abi::{LOCKED, UNLISTED};
use serde::Deserialize;
use toml::Spanned;

use super::error::{Fault, PolicyError, shown};
use super::exception::EXCEPTION_ID;
use super::file::check_id;
use super::locked::LOCKED_ID;
use super::source::Source;

/// Categories of one policy: bits of a `u64` but the four that local rules, the locked class and unlisted names have.
/// Exceptions have those that are left.
pub const CATEGORIES_MAX: usize = 60;

/// What a group calls names that are in no list.
pub(crate) const UNLISTED_ID: &str = "unlisted";

/// What a group calls all names, listed or not, but for protected ones.
pub(crate) const EVERYTHING_ID: &str = "everything";

/// Ids that no category may have.
const RESERVED: [&str; 6] =
    [LOCKED_ID, LOCAL_BLOCK_ID, LOCAL_ALLOW_ID, EXCEPTION_ID, UNLISTED_ID, EVERYTHING_ID];

/// Bit of names blocked by a local rule.
pub const LOCAL_BLOCK: u64 = 1 << 62;

/// Bit of names allowed by a local rule.
pub const LOCAL_ALLOW: u64 = 1 << 63;

/// Id of [`LOCAL_BLOCK`], as a category and as a list.
pub(crate) const LOCAL_BLOCK_ID: &str = "local-block";

/// Id of [`LOCAL_ALLOW`], as a category and as a list.
pub(crate) const LOCAL_ALLOW_ID: &str = "local-allow";

/// A category as declared.
#[derive(Clone, Debug)]
pub struct Category {
    /// Its id in the policy, in records and in metrics.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// What belongs to it.
    pub covers: String,
    /// What people are to be told beside it.
    pub note: Option<String>,
    /// Its own bit.
    pub bit: u64,
    /// Its own bit and those of the categories it includes.
    pub with_included: u64,
}

/// A category in a policy or preset file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCategory {
    id: Spanned<String>,
    title: String,
    covers: String,
    note: Option<String>,
    #[serde(default)]
    includes: Vec<Spanned<String>>,
}

/// A preset file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPreset {
    /// For its readers only.
    #[serde(rename = "title")]
    _title: String,
    category: Vec<RawCategory>,
}

impl RawPreset {
    pub(crate) fn categories(&self) -> &[RawCategory] {
        &self.category
    }
}

/// All categories of a policy.
#[derive(Debug, Default)]
pub(crate) struct Categories(Vec<Category>);

impl Categories {
    /// Checks and numbers what the files declare, in their order.
    pub(crate) fn declare(files: &[(&Source, &[RawCategory])]) -> Result<Self, PolicyError> {
        let mut categories = Self::default();
        for (source, raw) in files {
            for category in *raw {
                categories.add(source, category)?;
            }
        }
        for (source, raw) in files {
            for set in raw.iter().filter(|category| !category.includes.is_empty()) {
                categories.include(source, set, files)?;
            }
        }
        Ok(categories)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Category> {
        self.0.iter()
    }

    /// The category of an id written at a span of `source`.
    pub(crate) fn find(
        &self,
        source: &Source,
        id: &Spanned<String>,
    ) -> Result<&Category, PolicyError> {
        let found = self.0.iter().find(|category| category.id == *id.get_ref());
        found.ok_or_else(|| source.fail(&id.span(), self.unknown(id.get_ref())))
    }

    /// Ids of a mask, lowest bit first.
    pub(crate) fn names(&self, mask: u64) -> Vec<&str> {
        let declared = self.0.iter().map(|category| (category.bit, category.id.as_str()));
        let fixed = [
            (UNLISTED, UNLISTED_ID),
            (LOCKED, LOCKED_ID),
            (LOCAL_BLOCK, LOCAL_BLOCK_ID),
            (LOCAL_ALLOW, LOCAL_ALLOW_ID),
        ];
        let known = declared.chain(fixed).filter(|(bit, _)| mask & bit != 0).map(|(_, id)| id);
        let excepted = self.free_bits().iter().any(|bit| mask & bit != 0).then_some(EXCEPTION_ID);
        known.chain(excepted).collect()
    }

    /// Bits that no category has, highest first.
    pub(crate) fn free_bits(&self) -> Vec<u64> {
        (self.0.len()..CATEGORIES_MAX).rev().map(|bit| 1 << bit).collect()
    }

    fn add(&mut self, source: &Source, raw: &RawCategory) -> Result<(), PolicyError> {
        let (id, span): (&str, Range<usize>) = (raw.id.get_ref(), raw.id.span());
        let fail = |fault| Err(source.fail(&span, fault));
        check_id(source, &raw.id)?;
        if RESERVED.contains(&id) {
            return fail(Fault::Reserved { what: "category", id: id.to_owned() });
        }
        if self.0.iter().any(|category| category.id == id) {
            return fail(Fault::Duplicate { what: "category", id: id.to_owned() });
        }
        if self.0.len() == CATEGORIES_MAX {
            let remedy = "join categories that are always treated alike";
            return fail(Fault::TooMany { what: "categories", max: CATEGORIES_MAX, remedy });
        }
        let bit = 1 << self.0.len();
        self.0.push(Category {
            id: id.to_owned(),
            title: raw.title.clone(),
            covers: raw.covers.clone(),
            note: raw.note.clone(),
            bit,
            with_included: bit,
        });
        Ok(())
    }

    fn include(
        &mut self,
        source: &Source,
        set: &RawCategory,
        files: &[(&Source, &[RawCategory])],
    ) -> Result<(), PolicyError> {
        let mut bits = 0;
        for member in &set.includes {
            bits |= self.find(source, member)?.bit;
            let declared = files.iter().flat_map(|(_, raw)| raw.iter());
            let mut sets = declared.filter(|category| !category.includes.is_empty());
            if sets.any(|category| category.id.get_ref() == member.get_ref()) {
                let (set, member_id) = (set.id.get_ref().clone(), member.get_ref().clone());
                let fault = Fault::NestedSet { set, member: member_id };
                return Err(source.fail(&member.span(), fault));
            }
        }
        if let Some(category) = self.0.iter_mut().find(|category| category.id == *set.id.get_ref())
        {
            category.with_included |= bits;
        }
        Ok(())
    }

    fn unknown(&self, id: &str) -> Fault {
        let known: Vec<_> = self.0.iter().map(|category| category.id.as_str()).collect();
        Fault::Unknown { what: "category", id: shown(id), known: known.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_fault, load};

    #[test]
    fn a_set_means_its_members_to_a_group_and_itself_to_a_list() {
        let policy = load(&[
            (
                "policy.toml",
                r#"
                version = "1"
                default_group = "all"
                category = [
                    { id = "set", title = "", covers = "", includes = ["part"] },
                    { id = "part", title = "", covers = "" },
                ]
                list = [{ id = "l", file = "l.txt", categories = ["set"] }]
                group = [{ name = "all", block = ["set"] }]
                "#,
            ),
            ("l.txt", "a.example"),
        ])
        .unwrap();
        let (_, _, masks, _) = policy.groups().next().unwrap();
        assert_eq!(policy.category_names(masks.block), ["set", "part", "local-block"]);
        let (_, entry) = policy.entries().next().unwrap();
        assert_eq!(policy.category_names(entry.categories), ["set"]);
        assert_eq!(
            policy.category_names(u64::MAX),
            ["set", "part", "unlisted", "locked", "local-block", "local-allow", "exception"]
        );
    }

    #[test]
    fn faults_of_categories() {
        check_fault(
            r#"category = [{ id = "a", title = "", covers = "", includes = ["b"] }]"#,
            "policy.toml:3: there is no category `b`: declare it, or write one of a",
        );
        check_fault(
            r#"category = [{ id = "a", title = "", covers = "", includes = ["a"] }]"#,
            "policy.toml:3: category `a` includes `a`, which includes others: \
                name its members here",
        );
        check_fault(
            r#"category = [{ id = "local-allow", title = "", covers = "" }]"#,
            "policy.toml:3: category `local-allow` is reserved: choose another name",
        );
        check_fault(
            r#"category = [{ id = "Adult Sites", title = "", covers = "" }]"#,
            "policy.toml:3: `Adult Sites` is no id: use 1 to 32 of a-z, 0-9 and hyphen",
        );
        let many: Vec<_> = (0..63)
            .map(|number| format!(r#"{{ id = "c{number}", title = "", covers = "" }}"#))
            .collect();
        check_fault(
            &format!("category = [{}]", many.join(", ")),
            "policy.toml:3: more than 60 categories: join categories that are always treated alike",
        );
    }
}
