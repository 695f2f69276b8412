//! What can be wrong with a policy, where, and how to mend it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::member::Member;
use super::name::NameError;
use crate::lists::{Format, ListError, ListFault};

/// Characters shown of a text that is wrong: enough to find it, too few to flood a terminal.
const SHOWN_CHARACTERS_MAX: usize = 80;

/// A file, and a line in it where one is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file, as the policy names it.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file.display()),
            None => write!(f, "{}", self.file.display()),
        }
    }
}

/// The first fault of a policy: `file:line: what is wrong: what to do`.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct PolicyError {
    /// Where.
    pub place: Place,
    /// What. Boxed, so that the way without errors carries no weight.
    pub fault: Box<Fault>,
}

impl PolicyError {
    /// A fault at a line.
    pub(crate) fn at_line(file: &Path, line: u32, fault: Fault) -> Self {
        let place = Place { file: file.to_path_buf(), line: Some(line) };
        Self { place, fault: Box::new(fault) }
    }

    /// The file to mend: the one that is missing, where one is.
    pub fn file(&self) -> &Path {
        if let Fault::Unreadable { path, .. } = &*self.fault { path } else { &self.place.file }
    }

    /// A fault of a whole file.
    pub(crate) fn of_file(file: &Path, fault: Fault) -> Self {
        let place = Place { file: file.to_path_buf(), line: None };
        Self { place, fault: Box::new(fault) }
    }
}

/// What is wrong. Texts quoted from a file are shortened and escaped by [`shown`].
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file cannot be opened or read.
    #[error("cannot read {} ({error}): relative paths start at the folder of the policy file",
        path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("{} is no regular file: name a text file", .0.display())]
    NotAFile(PathBuf),
    /// Larger than is read.
    #[error("{} has more than {max_bytes} bytes: split it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max_bytes: u64,
    },
    /// A TOML file that is no text.
    #[error("{} is not UTF-8: save it as UTF-8", .0.display())]
    NotText(PathBuf),
    /// A line of a list that is no text.
    #[error("is not UTF-8: save the file as UTF-8, or write names in their xn-- form")]
    NotUtf8,
    /// TOML or its schema; the message is the parser's.
    #[error("{0}: rules/README.md shows the grammar")]
    Toml(String),
    /// A text that is no name.
    #[error("`{text}` {error}")]
    Name {
        /// What was written.
        text: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// A line no name fits in.
    #[error("is longer than {0} bytes: write one name a line")]
    LineTooLong(usize),
    /// Several words on a line.
    #[error("`{0}` is more than one name: write one name a line, comments after `#`")]
    MoreThanAName(String),
    /// More of something than fits.
    #[error("more than {max} {what}: {remedy}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The limit.
        max: usize,
        /// How to stay under it.
        remedy: &'static str,
    },
    /// Two declarations of one id.
    #[error("{what} `{id}` is declared twice: rename or remove one")]
    Duplicate {
        /// Kind of the thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A reference to nothing.
    #[error("there is no {what} `{id}`: declare it, or write one of {known}")]
    Unknown {
        /// Kind of the thing.
        what: &'static str,
        /// The id written.
        id: String,
        /// The ids there are.
        known: String,
    },
    /// An id that would not survive in metrics and records.
    #[error("`{0}` is no id: use 1 to {max} of a-z, 0-9 and hyphen", max = super::file::ID_BYTES_MAX)]
    Id(String),
    /// An id with a meaning of its own.
    #[error("{what} `{id}` is reserved: choose another name")]
    Reserved {
        /// Kind of the thing.
        what: &'static str,
        /// The id written.
        id: String,
    },
    /// A version that would not survive in records.
    #[error("`{0}` is no version: use 1 to {max} printable ASCII characters without spaces",
        max = super::file::VERSION_BYTES_MAX)]
    Version(String),
    /// A format that there is not.
    #[error("`{0}` is no format: write one of {names}, {known}",
        names = super::file::NAMES_FORMAT, known = Format::names())]
    UnknownFormat(String),
    /// A list of hashes that is not locked.
    #[error(
        "a list of hashes is one of the locked class: \
        write locked = true in place of its categories, or give a list of names"
    )]
    HashedList,
    /// A locked list that can be read.
    #[error(
        "list `{0}` is locked, and its names could be read: \
        write format = \"sha256-hex\" and a list of hashes"
    )]
    LockedInClear(String),
    /// A locked list that is more than that.
    #[error(
        "list `{0}` is locked, so it has no category and is not protected: \
        remove `categories` and `protected`"
    )]
    LockedAndMore(String),
    /// A locked list with a name that must not be blocked.
    #[error("locks `{0}`, which is protected: ask who made the list, and leave it out until then")]
    LockedProtected(String),
    /// A category of a collection, and a list that is none.
    #[error(
        "`member` is given, and only a list of format ut1 has members: \
        remove it, or write format = \"ut1\""
    )]
    MemberUnused,
    /// Addresses that are taken or left out, of a list that has no choice.
    #[error(
        "`addresses` is given, and only lists of other formats can have addresses left out: \
        remove it"
    )]
    AddressesUnused,
    /// A list of another format, at a line of it.
    #[error("{0}")]
    ListLine(ListFault),
    /// A list of another format as a whole.
    #[error("{0}")]
    List(ListError),
    /// A list that says nothing.
    #[error("list `{0}` has no category: name at least one in `categories`")]
    NoCategory(String),
    /// A local rule without a reason.
    #[error("`{0}` has no reason: say why, and who asked for it")]
    NoReason(String),
    /// A set in a set.
    #[error("category `{set}` includes `{member}`, which includes others: name its members here")]
    NestedSet {
        /// The outer set.
        set: String,
        /// The inner one.
        member: String,
    },
    /// One category told two things by one group.
    #[error(
        "group `{group}` names category `{category}` twice: keep it in one of block, alert, allow"
    )]
    NamedTwice {
        /// The group.
        group: String,
        /// The category.
        category: String,
    },
    /// An exception that nobody answers for.
    #[error("the exception for `{0}` has no owner: say who answers for it")]
    NoOwner(String),
    /// An exception for nobody.
    #[error("the exception for `{0}` has no group: name those that may visit it")]
    NoGroup(String),
    /// An exception that never holds.
    #[error("the exception for `{0}` ends before it begins: write a later date")]
    EndsBeforeStart(String),
    /// A time zone that the machine does not know.
    #[error(
        "`{0}` is no time zone here: write an IANA name such as Europe/London; package tzdata has them"
    )]
    TimeZone(String),
    /// Schedules, and no zone they are in.
    #[error("schedules need a zone: write time_zone = \"Europe/London\" above the first table")]
    NoTimeZone,
    /// A text that is no day, date or span of them.
    #[error("`{text}` is no {what}: write {form}")]
    NoSpan {
        /// What was written.
        text: String,
        /// What was expected.
        what: &'static str,
        /// How one is written.
        form: &'static str,
    },
    /// A key of a schedule with nothing in it.
    #[error("`{key}` is empty: write when, or leave it out, which means always")]
    Empty {
        /// The key.
        key: &'static str,
    },
    /// A change that changes nothing.
    #[error(
        "group `{group}` names no category during `{schedule}`: name some in block, alert, allow or pass"
    )]
    NothingDuring {
        /// The group.
        group: String,
        /// The schedule.
        schedule: String,
    },
    /// A reason that is none, or one nothing can be decided by.
    #[error("`{id}` is no reason to judge a flow without a name by: write one of {known}")]
    UnknownReason {
        /// The reason written.
        id: String,
        /// The reasons there are.
        known: String,
    },
    /// One reason told two things by one table.
    #[error("reason `{0}` is named twice: keep it in one of block, alert")]
    ReasonTwice(&'static str),
    /// A sinkhole that leads nowhere.
    #[error("answer `sinkhole` has no address: write sinkhole4 or sinkhole6")]
    NoSinkhole,
    /// An address of a sinkhole, and another answer.
    #[error("a sinkhole is given and not used: write answer = \"sinkhole\"")]
    SinkholeUnused,
    /// A sinkhole that is every machine or none.
    #[error(
        "a sinkhole is the unspecified address: write one that a machine has, or another answer"
    )]
    SinkholeUnspecified,
    /// A redirect that leads nowhere.
    #[error("answer `redirect` has no portal: write portal = \"https://…\"")]
    NoPortal,
    /// A portal, and another answer.
    #[error("a portal is given and not used: write answer = \"redirect\"")]
    PortalUnused,
    /// A contact, and another answer.
    #[error("a contact is given and not shown: write answer = \"page\"")]
    ContactUnused,
    /// A portal that cannot be written into a header field.
    #[error(
        "`{0}` is no portal: write an absolute URL, http or https, of at most {max} bytes, without \
        spaces, quotes and fragment", max = super::block_page::PORTAL_BYTES_MAX
    )]
    Portal(String),
    /// A contact that is no line.
    #[error("a contact is one line of 1 to {max} bytes: say whom to ask",
        max = super::block_page::CONTACT_BYTES_MAX)]
    Contact,
    /// A response that one packet does not carry.
    #[error(
        "a block page has {bytes} bytes, and {max} fit one packet: \
        shorten `contact`, `portal` or the longest title"
    )]
    PageTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A protected category a group wants to act on.
    #[error("group `{group}` may not act on `{category}`, which is protected: remove it")]
    ProtectedActedOn {
        /// The group.
        group: String,
        /// The category as the group names it.
        category: String,
    },
    /// A protected category filled by a list that is not.
    #[error("list `{list}` shares a category with protected list `{protected}`: give one its own")]
    ProtectedShared {
        /// The list that is not protected.
        list: String,
        /// The one that is.
        protected: String,
    },
    /// Not a prefix.
    #[error("`{0}` is no prefix: write an address and a length, such as 10.20.0.0/16")]
    Prefix(String),
    /// Address bits beyond the length.
    #[error("prefix {given} has bits beyond its length: write {network}")]
    PrefixHostBits {
        /// As written.
        given: String,
        /// As probably meant.
        network: String,
    },
    /// An IPv6 prefix with IPv4 addresses in it.
    #[error(
        "prefix {0} covers IPv4-mapped addresses: write the IPv4 prefix itself, \
        and 2000::/3 or fc00::/7 for IPv6"
    )]
    PrefixMapped(String),
    /// No MAC address.
    #[error("`{0}` is no MAC address: write one such as 00:53:0a:00:00:07")]
    Mac(String),
    /// No VLAN identifier.
    #[error("{0} is no VLAN: write a number from 1 to 4094")]
    Vlan(u16),
    /// No name of an interface.
    #[error("`{0}` is no interface: write its name as `ip link` shows it, at most 15 bytes")]
    Interface(String),
    /// No name of a person or a role.
    #[error("`{0}` is no user or role: write 1 to {max} bytes without control characters",
        max = super::member::USER_BYTES_MAX)]
    User(String),
    /// Something that puts a device into two groups.
    #[error("{member} is already in group `{group}`: remove one")]
    MemberTwice {
        /// What.
        member: Member,
        /// The group that has it.
        group: String,
    },
    /// Equal prefixes.
    #[error("prefix {prefix} is already in group `{group}`: remove one")]
    PrefixTwice {
        /// The prefix.
        prefix: String,
        /// The group that has it.
        group: String,
    },
}

/// A text of a file as it may be printed: without control characters, and short.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_texts_are_short_and_printable() {
        assert_eq!(shown("a\u{1b}[31m"), "a\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), SHOWN_CHARACTERS_MAX + 1);
    }
}
