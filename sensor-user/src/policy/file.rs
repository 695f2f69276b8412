//! The policy file: its schema, and the checks that make it a policy.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sensor_ebpf::abi::LOCKED;
use serde::Deserialize;
use toml::Spanned;

use super::block_page::{self, Answer, RawBlockPage};
use super::category::{Categories, LOCAL_ALLOW_ID, LOCAL_BLOCK_ID, RawCategory, RawPreset};
use super::dns::{self, RawDns};
use super::error::{Fault, PolicyError, shown};
use super::exception::{EXCEPTION_ID, Exceptions, RawException};
use super::group::{Groups, RawGroup, Rules};
use super::name;
use super::no_name::{NoNameRules, RawNoName};
use super::schedule::{Calendar, RawSchedule};
use super::source::Source;
use crate::lists::Format;

/// Bytes of an id: it is a label value in metrics and a column in records.
pub(crate) const ID_BYTES_MAX: usize = 32;

/// Bytes of a version: every record carries it.
pub(crate) const VERSION_BYTES_MAX: usize = 64;

/// Lists of one policy: far more than are kept by hand, far less than a `u16` counts.
pub const LISTS_MAX: usize = 1024;

/// The format a list is in that names none: one name a line.
pub(crate) const NAMES_FORMAT: &str = "names";

/// Id of the list of names that are in none.
pub(crate) const NO_LIST_ID: &str = "none";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    version: Spanned<String>,
    default_group: Spanned<String>,
    preset: Option<Spanned<PathBuf>>,
    #[serde(default)]
    category: Vec<RawCategory>,
    #[serde(default)]
    list: Vec<RawList>,
    time_zone: Option<Spanned<String>>,
    #[serde(default)]
    schedule: Vec<RawSchedule>,
    group: Vec<RawGroup>,
    no_name: Option<Spanned<RawNoName>>,
    dns: Option<Spanned<RawDns>>,
    block_page: Option<Spanned<RawBlockPage>>,
    #[serde(default)]
    allow: Vec<RawRule>,
    #[serde(default)]
    block: Vec<RawRule>,
    #[serde(default)]
    exception: Vec<RawException>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    id: Spanned<String>,
    file: Spanned<PathBuf>,
    #[serde(default)]
    categories: Vec<Spanned<String>>,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    locked: bool,
    addresses: Option<Spanned<bool>>,
    format: Option<Spanned<String>>,
    member: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Spanned<String>,
    reason: String,
}

/// A policy file that was checked; its lists are named and not read yet.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    pub(crate) version: String,
    pub(crate) categories: Categories,
    pub(crate) calendar: Calendar,
    pub(crate) groups: Groups,
    pub(crate) answer: Answer,
    pub(crate) preset: Option<PathBuf>,
    pub(crate) lists: Vec<ListDeclaration>,
    pub(crate) allow: Vec<LocalRule>,
    pub(crate) block: Vec<LocalRule>,
    pub(crate) exceptions: Exceptions,
}

/// A list as the policy file declares it.
#[derive(Clone, Debug)]
pub(crate) struct ListDeclaration {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    /// Line of the policy file that names the path.
    pub(crate) line: u32,
    /// Bits of its categories; [`LOCKED`] of a list of hashes.
    pub(crate) categories: u64,
    pub(crate) protected: bool,
    /// Whether addresses in it are taken too; those of one name a line always are.
    pub(crate) addresses: bool,
    /// The format of others it is in; none for one name a line.
    pub(crate) format: Option<Format>,
    /// The category of a collection.
    pub(crate) member: Option<String>,
}

/// A name somebody allowed or blocked by hand.
#[derive(Debug)]
pub(crate) struct LocalRule {
    pub(crate) name: Box<str>,
    pub(crate) reason: String,
    pub(crate) line: u32,
}

impl PolicyFile {
    /// Reads and checks a policy file and its preset, as of a moment.
    pub(crate) fn read(path: &Path, at: Timestamp) -> Result<Self, PolicyError> {
        let source = Source::read(path).map_err(|fault| PolicyError::of_file(path, fault))?;
        let raw: RawPolicy = source.parse()?;
        check_version(&source, &raw.version)?;
        let categories = read_categories(&source, &raw)?;
        let lists = check_lists(&source, &raw.list, &categories)?;
        let calendar = Calendar::declare(&source, raw.time_zone.as_ref(), &raw.schedule)?;
        let rules = Rules {
            categories: &categories,
            calendar: &calendar,
            protected: protected_mask(&lists),
            no_name: NoNameRules::of_policy(&source, raw.no_name.as_ref())?,
            dns: dns::of_policy(&source, raw.dns.as_ref())?,
        };
        let groups = Groups::declare(&source, &raw.group, &raw.default_group, &rules)?;
        let allow = check_rules(&source, &raw.allow, "allow rule")?;
        let block = check_rules(&source, &raw.block, "block rule")?;
        let today = calendar.date(at);
        let exceptions = Exceptions::declare(&source, &raw.exception, &categories, &groups, today)?;
        let (version, raw_page) = (raw.version.into_inner(), raw.block_page.as_ref());
        let answer = Answer::read(&source, raw_page)?;
        block_page::check(&source, raw_page, &answer, &version, &categories, &groups)?;
        let preset = raw.preset.as_ref().map(|path| source.resolve(path.get_ref()));
        Ok(Self {
            version,
            categories,
            calendar,
            groups,
            answer,
            preset,
            lists,
            allow,
            block,
            exceptions,
        })
    }
}

/// Categories of the protected lists.
pub(crate) fn protected_mask(lists: &[ListDeclaration]) -> u64 {
    let protected = lists.iter().filter(|list| list.protected);
    protected.fold(0, |mask, list| mask | list.categories)
}

/// An id is lower case, so that no two differ by case alone.
pub(crate) fn check_id(source: &Source, id: &Spanned<String>) -> Result<(), PolicyError> {
    let text = id.get_ref();
    let is_id = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if !text.is_empty() && text.len() <= ID_BYTES_MAX && text.bytes().all(is_id) {
        return Ok(());
    }
    Err(source.fail(&id.span(), Fault::Id(shown(text))))
}

fn check_version(source: &Source, version: &Spanned<String>) -> Result<(), PolicyError> {
    let text = version.get_ref();
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !text.is_empty() && text.len() <= VERSION_BYTES_MAX && is_printable {
        return Ok(());
    }
    Err(source.fail(&version.span(), Fault::Version(shown(text))))
}

fn read_categories(source: &Source, raw: &RawPolicy) -> Result<Categories, PolicyError> {
    let Some(path) = &raw.preset else {
        return Categories::declare(&[(source, &raw.category)]);
    };
    let preset_source = Source::read(&source.resolve(path.get_ref()))
        .map_err(|fault| source.fail(&path.span(), fault))?;
    let preset: RawPreset = preset_source.parse()?;
    Categories::declare(&[(&preset_source, preset.categories()), (source, &raw.category)])
}

fn check_lists(
    source: &Source,
    raw: &[RawList],
    categories: &Categories,
) -> Result<Vec<ListDeclaration>, PolicyError> {
    let mut lists: Vec<ListDeclaration> = Vec::with_capacity(raw.len().min(LISTS_MAX));
    for list in raw {
        let id = list.id.get_ref().clone();
        let fail = |fault| Err(source.fail(&list.id.span(), fault));
        check_id(source, &list.id)?;
        if [LOCAL_ALLOW_ID, LOCAL_BLOCK_ID, EXCEPTION_ID, NO_LIST_ID].contains(&&*id) {
            return fail(Fault::Reserved { what: "list", id });
        }
        if lists.iter().any(|other| other.id == id) {
            return fail(Fault::Duplicate { what: "list", id });
        }
        if list.locked && (list.protected || !list.categories.is_empty()) {
            return fail(Fault::LockedAndMore(id));
        }
        let format = check_format(source, list)?;
        if list.locked && format != Some(Format::Sha256Hex) {
            return fail(Fault::LockedInClear(id));
        }
        if list.categories.is_empty() && !list.locked {
            return fail(Fault::NoCategory(id));
        }
        if let (Some(addresses), None | Some(Format::Sha256Hex)) = (&list.addresses, format) {
            return Err(source.fail(&addresses.span(), Fault::AddressesUnused));
        }
        if lists.len() == LISTS_MAX {
            let remedy = "join lists of the same categories";
            return fail(Fault::TooMany { what: "lists", max: LISTS_MAX, remedy });
        }
        let mut mask = if list.locked { LOCKED } else { 0 };
        for category in &list.categories {
            mask |= categories.find(source, category)?.bit;
        }
        lists.push(ListDeclaration {
            id,
            path: source.resolve(list.file.get_ref()),
            line: source.line(&list.file.span()),
            categories: mask,
            protected: list.protected,
            addresses: list.addresses.as_ref().is_some_and(|addresses| *addresses.get_ref()),
            format,
            member: list.member.as_ref().map(|member| member.get_ref().clone()),
        });
    }
    check_protected(source, raw, &lists)?;
    Ok(lists)
}

/// The format a list is in; none for one name a line.
fn check_format(source: &Source, list: &RawList) -> Result<Option<Format>, PolicyError> {
    let format = match &list.format {
        None => None,
        Some(name) if name.get_ref() == NAMES_FORMAT => None,
        Some(name) => {
            let fail = |fault| Err(source.fail(&name.span(), fault));
            match Format::named(name.get_ref()) {
                None => return fail(Fault::UnknownFormat(shown(name.get_ref()))),
                Some(Format::Sha256Hex) if !list.locked => return fail(Fault::HashedList),
                format => format,
            }
        }
    };
    match &list.member {
        Some(member) if format != Some(Format::Ut1) => {
            Err(source.fail(&member.span(), Fault::MemberUnused))
        }
        _ => Ok(format),
    }
}

/// A category is filled by protected lists only or by none of them.
fn check_protected(
    source: &Source,
    raw: &[RawList],
    lists: &[ListDeclaration],
) -> Result<(), PolicyError> {
    let shares = |list: &ListDeclaration| {
        let mut protected = lists.iter().filter(|other| other.protected);
        protected.find(|other| !list.protected && other.categories & list.categories != 0)
    };
    for (raw, list) in raw.iter().zip(lists) {
        if let Some(protected) = shares(list) {
            let (list, protected) = (list.id.clone(), protected.id.clone());
            return Err(source.fail(&raw.id.span(), Fault::ProtectedShared { list, protected }));
        }
    }
    Ok(())
}

fn check_rules(
    source: &Source,
    raw: &[RawRule],
    what: &'static str,
) -> Result<Vec<LocalRule>, PolicyError> {
    let mut seen = std::collections::HashSet::with_capacity(raw.len());
    let mut rules = Vec::with_capacity(raw.len());
    for rule in raw {
        let text = rule.name.get_ref();
        let fail = |fault| source.fail(&rule.name.span(), fault);
        let name =
            name::listed(text).map_err(|error| fail(Fault::Name { text: shown(text), error }))?;
        if rule.reason.trim().is_empty() {
            return Err(fail(Fault::NoReason(name.into_owned())));
        }
        if !seen.insert(name.clone()) {
            return Err(fail(Fault::Duplicate { what, id: name.into_owned() }));
        }
        rules.push(LocalRule {
            name: name.as_ref().into(),
            reason: rule.reason.clone(),
            line: source.line(&rule.name.span()),
        });
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_error, check_fault as check};

    #[test]
    fn faults_of_the_schema() {
        check(
            "blok = 1",
            "policy.toml:3: unknown field `blok`, expected one of `version`, `default_group`, \
                `preset`, `category`, `list`, `time_zone`, `schedule`, `group`, `no_name`, `dns`, `block_page`, `allow`, `block`, `exception`: rules/README.md shows the grammar",
        );
        check(
            "[[block]]\nname = \"a.example\"",
            "policy.toml:3: missing field `reason`: rules/README.md shows the grammar",
        );
        check_error("", "policy.toml:1: missing field `group`: rules/README.md shows the grammar");
        check("version = \"2\"", "policy.toml:3: duplicate key: rules/README.md shows the grammar");
        check(
            "[[list]]\nid = 7\nfile = \"\"\ncategories = []",
            "policy.toml:4: invalid type: integer `7`, expected a string: rules/README.md shows the grammar",
        );
    }

    #[test]
    fn faults_of_lists() {
        let list = |text: &str| {
            format!(
                "category = [\n{{ id = \"drugs\", title = \"\", covers = \"\" }},\n\
                    {{ id = \"help\", title = \"\", covers = \"\" }}]\n{text}"
            )
        };
        check(
            &list("[[list]]\nid = \"l\"\nfile = \"none.txt\"\ncategories = [\"drugs\"]"),
            "policy.toml:8: cannot read /none.txt (No such file or directory (os error 2)): \
                relative paths start at the folder of the policy file",
        );
        check(
            &list("[[list]]\nid = \"l\"\nfile = \"l.txt\"\ncategories = [\"drug\"]"),
            "policy.toml:9: there is no category `drug`: declare it, or write one of drugs, help",
        );
        check(
            &list("[[list]]\nid = \"l\"\nfile = \"l.txt\"\ncategories = []"),
            "policy.toml:7: list `l` has no category: name at least one in `categories`",
        );
        check(
            &list("[[list]]\nid = \"local-allow\"\nfile = \"l.txt\"\ncategories = [\"drugs\"]"),
            "policy.toml:7: list `local-allow` is reserved: choose another name",
        );
        check(
            &list(
                "list = [{ id = \"a\", file = \"a\", categories = [\"help\"], protected = true },\n\
                    { id = \"b\", file = \"b\", categories = [\"help\", \"drugs\"] }]",
            ),
            "policy.toml:7: list `b` shares a category with protected list `a`: give one its own",
        );
    }

    #[test]
    fn faults_of_formats() {
        let check = |keys: &str, expected: &str| {
            let category = "category = [{ id = \"drugs\", title = \"\", covers = \"\" }]";
            let list = "[[list]]\nid = \"l\"\nfile = \"l.txt\"\ncategories = [\"drugs\"]";
            check(&format!("{category}\n{list}\n{keys}"), expected);
        };
        check(
            "format = \"host\"",
            "policy.toml:8: `host` is no format: write one of names, domains, hosts, dnsmasq, unbound, \
                rpz, adblock, sha256-hex, csv, ut1",
        );
        for format in ["", "format = \"names\"\n", "format = \"hosts\"\n"] {
            let line = 8 + format.lines().count();
            check(
                &format!("{format}member = \"adult\""),
                &format!(
                    "policy.toml:{line}: `member` is given, and only a list of format ut1 has members: \
                        remove it, or write format = \"ut1\""
                ),
            );
        }
        for format in ["", "format = \"names\"\n"] {
            let line = 8 + format.lines().count();
            check(
                &format!("{format}addresses = true"),
                &format!(
                    "policy.toml:{line}: `addresses` is given, and only lists of other formats can have \
                        addresses left out: remove it"
                ),
            );
        }
        check(
            "format = \"hosts\"",
            "policy.toml:6: /l.txt: cannot be read (No such file or directory (os error 2)): \
                check that it is there, whole and may be read",
        );
    }

    #[test]
    fn faults_of_local_rules() {
        check(
            "[[allow]]\nname = \"https://a.example\"\nreason = \"x\"",
            "policy.toml:4: `https://a.example` contains ':': \
                write the bare host name, without scheme, port or path",
        );
        check(
            "[[allow]]\nname = \"a.example\"\nreason = \" \"",
            "policy.toml:4: `a.example` has no reason: say why, and who asked for it",
        );
        check(
            "block = [{ name = \"a.example\", reason = \"x\" },\n\
                { name = \"A.example.\", reason = \"x\" }]",
            "policy.toml:4: block rule `a.example` is declared twice: rename or remove one",
        );
    }

    #[test]
    fn a_protected_category_is_not_acted_on() {
        check_error(
            "category = [{ id = \"help\", title = \"\", covers = \"\" }]\n\
                list = [{ id = \"a\", file = \"a\", categories = [\"help\"], protected = true }]\n\
                group = [{ name = \"staff\", alert = [\"help\"] }]",
            "policy.toml:5: group `staff` may not act on `help`, which is protected: remove it",
        );
    }
}
