//! What a line of a list is counted as.

use serde::{Serialize, Serializer};

/// What a line, or one of several entries on it, is counted as. Each is counted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A name that was handed on.
    Name,
    /// A hash that was handed on.
    Hash,
    /// An address or a prefix that was handed on, and taken.
    Prefix,
    /// Nothing, or white space.
    Blank,
    /// A comment.
    Comment,
    /// Says something about the list: its title, a column's name, the start of a zone.
    Header,
    /// The rest of what began on a line above.
    Continuation,
    /// An option that has nothing to do with names.
    Setting,
    /// An IPv4 or IPv6 address, or a prefix, that nobody took.
    Address,
    /// A page, not a host: blocking its host would block more than was meant.
    Url,
    /// A host on one port only.
    Port,
    /// A name that is to be let pass.
    Exception,
    /// A name under which strangers register theirs: `co.uk`.
    PublicSuffix,
    /// A name of the machine itself: `localhost`.
    LocalName,
    /// A name that is given an address, not blocked.
    Mapped,
    /// An asterisk inside a name, or part of a name.
    Pattern,
    /// A regular expression.
    Expression,
    /// What of a page is hidden.
    Cosmetic,
    /// A rule about paths, on any host.
    Path,
    /// A rule that holds only for some requests to the host.
    Limited,
    /// A response policy that looks at something other than the name.
    Trigger,
    /// A name deeper than is looked up.
    TooManyLabels,
    /// A name longer than DNS allows.
    NameTooLong,
    /// A label longer than DNS allows.
    LabelTooLong,
    /// A line longer than is read.
    LineTooLong,
    /// No text.
    NotUtf8,
    /// Unicode that IDNA refuses.
    InvalidIdn,
    /// A word that is no top-level domain.
    SingleLabel,
    /// No host name.
    InvalidName,
    /// Not what the format has on a line.
    InvalidLine,
}

/// How much a reason says about the file being what it is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Nothing: every format has such lines.
    None,
    /// The line is one of the format, whether or not it can be used.
    Understood,
    /// The line makes no sense.
    Nonsense,
}

impl Reason {
    /// Every reason, in the order reports have them.
    pub const ALL: [Self; 30] = [
        Self::Name,
        Self::Hash,
        Self::Prefix,
        Self::Blank,
        Self::Comment,
        Self::Header,
        Self::Continuation,
        Self::Setting,
        Self::Address,
        Self::Url,
        Self::Port,
        Self::Exception,
        Self::PublicSuffix,
        Self::LocalName,
        Self::Mapped,
        Self::Pattern,
        Self::Expression,
        Self::Cosmetic,
        Self::Path,
        Self::Limited,
        Self::Trigger,
        Self::TooManyLabels,
        Self::NameTooLong,
        Self::LabelTooLong,
        Self::LineTooLong,
        Self::NotUtf8,
        Self::InvalidIdn,
        Self::SingleLabel,
        Self::InvalidName,
        Self::InvalidLine,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        self.facts().1
    }

    /// Whether something that the list's author meant is left out.
    pub const fn is_left_out(self) -> bool {
        !matches!(
            self,
            Self::Name
                | Self::Hash
                | Self::Prefix
                | Self::Blank
                | Self::Comment
                | Self::Header
                | Self::Continuation
                | Self::Setting
        )
    }

    pub(super) const fn weight(self) -> Weight {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, &'static str, Weight) {
        use Weight::{None, Nonsense, Understood};
        match self {
            Self::Name => ("name", "taken", Understood),
            Self::Hash => ("hash", "taken: the hash of a name", Understood),
            Self::Prefix => ("prefix", "taken: an address or a prefix", Understood),
            Self::Blank => ("blank", "empty line", None),
            Self::Comment => ("comment", "comment", None),
            Self::Header => ("header", "says something about the list", Understood),
            Self::Continuation => ("continuation", "goes on from the line above", Understood),
            Self::Setting => ("setting", "an option that is about no name", Understood),
            Self::Address => (
                "address",
                "an address or a prefix: write addresses = true to block whatever is there",
                Understood,
            ),
            Self::Url => ("url", "not enforceable by name: a page, not its whole host", Understood),
            Self::Port => ("port", "one port, not the whole host", Understood),
            Self::Exception => ("exception", "is to pass: write [[allow]] for it", Understood),
            Self::PublicSuffix => {
                ("public-suffix", "everybody's names are under it: too much to block", Understood)
            }
            Self::LocalName => ("local-name", "a name of the machine itself", Understood),
            Self::Mapped => ("mapped", "is given an address, not blocked", Understood),
            Self::Pattern => ("pattern", "a part of a name, or an asterisk inside it", Understood),
            Self::Expression => ("expression", "a regular expression", Understood),
            Self::Cosmetic => ("cosmetic", "hides parts of pages", Understood),
            Self::Path => ("path", "paths on any host", Understood),
            Self::Limited => ("limited", "only some requests to the host", Understood),
            Self::Trigger => {
                ("trigger", "looks at addresses or servers, not at the name", Understood)
            }
            Self::TooManyLabels => ("too-many-labels", "deeper than is looked up", Understood),
            Self::NameTooLong => ("name-too-long", "longer than DNS allows", Nonsense),
            Self::LabelTooLong => ("label-too-long", "a label longer than DNS allows", Nonsense),
            Self::LineTooLong => ("line-too-long", "a line longer than is read", Nonsense),
            Self::NotUtf8 => ("not-utf8", "no UTF-8", Nonsense),
            Self::InvalidIdn => ("invalid-idn", "no valid international name", Nonsense),
            Self::SingleLabel => ("single-label", "a word that is no top-level domain", Nonsense),
            Self::InvalidName => ("invalid-name", "no host name", Nonsense),
            Self::InvalidLine => ("invalid-line", "not what the format has on a line", Nonsense),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
