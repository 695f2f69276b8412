//! Why a list is refused as a whole, and how to mend it.

use std::io;
use std::path::Path;

use super::Format;
use super::source::{MEMBER_BYTES_MAX, MEMBER_PATH_BYTES_MAX, MEMBERS_MAX, SOURCE_BYTES_MAX};
use crate::policy::Place;

/// Why a list is refused: `file:line: what is wrong: what to do`.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct ListError {
    /// Where.
    pub place: Place,
    /// What. Boxed, so that the way without errors carries no weight.
    pub fault: Box<ListFault>,
}

impl ListError {
    pub(super) fn of_file(file: &Path, fault: ListFault) -> Self {
        let place = Place { file: file.to_path_buf(), line: None };
        Self { place, fault: Box::new(fault) }
    }

    pub(super) fn at_line(file: &Path, line: u32, fault: ListFault) -> Self {
        let place = Place { file: file.to_path_buf(), line: Some(line) };
        Self { place, fault: Box::new(fault) }
    }
}

/// What is wrong. Texts quoted from a list are shortened and escaped.
#[derive(Debug, thiserror::Error)]
pub enum ListFault {
    /// The file cannot be opened, read or unpacked.
    #[error("cannot be read ({0}): check that it is there, whole and may be read")]
    Unreadable(io::Error),
    /// A pipe, a device, or a folder where a file is wanted.
    #[error("is no regular file: name a file, or for format ut1 a folder")]
    NotAFile,
    /// More bytes than are read, unpacked.
    #[error(
        "has more than {SOURCE_BYTES_MAX} bytes, unpacked: split it, or leave out what no group blocks"
    )]
    TooLarge,
    /// Packed by something that is not read.
    #[error("is a {0} file: unpack it, or pack it with gzip")]
    Packed(&'static str),
    /// UTF-16, as some editors save text.
    #[error("is UTF-16: save it as UTF-8")]
    Utf16,
    /// An archive where a text is wanted.
    #[error("is a tar archive: write format = \"ut1\" if it holds categories, else unpack it")]
    Archive,
    /// A category is named where there is only one list.
    #[error("has no members, as its format is {}: remove `member`, or write format = \"ut1\"", .0.name())]
    MemberUnused(Format),
    /// Something that goes on over lines and never ends.
    #[error(
        "a {what} opens here and is not closed within {max} bytes: close it, or remove the line"
    )]
    Unclosed {
        /// Quote or parenthesis.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A collection without a choice.
    #[error("holds several categories: choose one by `member`: {0}")]
    SeveralMembers(String),
    /// No such category.
    #[error("has no category `{member}`: write one of {known}")]
    UnknownMember {
        /// As asked for.
        member: String,
        /// Those there are.
        known: String,
    },
    /// A category that would lead elsewhere.
    #[error("`{0}` is no category: write the name of one folder")]
    MemberName(String),
    /// Neither a category nor a collection.
    #[error("holds no category: a category is a folder with a file `domains` or `urls`")]
    NoCategory,
    /// A member that would be written elsewhere if the archive were unpacked.
    #[error("member `{0}` leads out of the archive: get the list from its author again")]
    MemberPath(String),
    /// A link where a file or a folder is wanted.
    #[error(
        "member `{path}` is a link to `{target}`, and links are not followed: write the category it leads to"
    )]
    MemberLink {
        /// The member.
        path: String,
        /// What it points to.
        target: String,
    },
    /// A device, a pipe or the like.
    #[error("member `{0}` is neither file, folder nor link: get the list from its author again")]
    MemberKind(String),
    /// A path longer than is read.
    #[error(
        "a member has a path or attributes of more than {MEMBER_PATH_BYTES_MAX} bytes: get the list from its author again"
    )]
    MemberPathTooLong,
    /// A member larger than is read.
    #[error("member `{0}` has more than {MEMBER_BYTES_MAX} bytes: split it")]
    MemberTooLarge(String),
    /// A category that is there twice.
    #[error("member `{0}` is there twice: remove one")]
    MemberTwice(String),
    /// More members than are read.
    #[error("has more than {MEMBERS_MAX} members: leave out what no group blocks")]
    TooManyMembers,
    /// Mostly not understood.
    #[error("{bad} of {all} lines make no sense as {}, `{example}` is the first: {}",
        format.name(), likely_remedy(*likely))]
    Nonsense {
        /// The format it was read as.
        format: Format,
        /// Lines or entries not understood.
        bad: u64,
        /// Lines or entries that are neither blank nor comments.
        all: u64,
        /// The first of them.
        example: String,
        /// The format it looks like.
        likely: Option<Format>,
    },
    /// Nothing to enforce.
    #[error("has no name that can be enforced: {}", no_name_remedy(*format, *likely))]
    NoName {
        /// The format it was read as.
        format: Format,
        /// The format it looks like, if another one.
        likely: Option<Format>,
    },
    /// Whoever takes the names has had enough.
    #[error("was not read to its end")]
    Stopped,
}

impl ListFault {
    /// An error of reading, which may be a limit's.
    pub(super) fn of_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::FileTooLarge {
            return Self::TooLarge;
        }
        Self::Unreadable(error)
    }
}

fn likely_remedy(likely: Option<Format>) -> String {
    likely.map_or_else(
        || "write the format it is in, or see what was downloaded".to_owned(),
        |format| format!("it looks like {0}, write format = \"{0}\"", format.name()),
    )
}

fn no_name_remedy(format: Format, likely: Option<Format>) -> String {
    match likely {
        Some(likely) if likely != format => likely_remedy(Some(likely)),
        _ => "remove the list from the policy, or see what was downloaded".to_owned(),
    }
}
