//! Response policy zones (draft-vixie-dnsop-dns-rpz), written as master files (RFC 1035 section 5.1).
//!
//! The owner of a record, less the zone's name, is the trigger; its data is the action. Taken are names
//! whose action is that there is no such name (`CNAME .`), no data (`CNAME *.`), no answer
//! (`CNAME rpz-drop.`), or an address that leads nowhere. A name that is sent elsewhere may be one that is
//! only made safe, as search engines are, and is not taken. `$INCLUDE` is not followed.

use std::borrow::Cow;
use std::net::IpAddr;

use super::intake::Intake;
use super::line::LINE_BYTES_MAX;
use super::plain::is_sink;
use super::{ListError, ListFault, Reason};

/// Words of a record that are looked at: owner, time to live, class, type and the first of its data.
const WORDS_MAX: usize = 5;

/// Types whose records are about the zone, not about what its names are answered with.
const OF_ZONE: [&str; 14] = [
    "SOA",
    "NS",
    "TXT",
    "SPF",
    "RRSIG",
    "DNSKEY",
    "DS",
    "NSEC",
    "NSEC3",
    "NSEC3PARAM",
    "CDS",
    "CDNSKEY",
    "ZONEMD",
    "HINFO",
];

/// Types that answer with something of the list's choice.
const OF_DATA: [&str; 8] = ["DNAME", "PTR", "MX", "SRV", "SVCB", "HTTPS", "CAA", "NAPTR"];

/// What has been read of a zone.
#[derive(Debug, Default)]
pub(super) struct Zone {
    /// Its name, once it is known: absolute, without the final dot.
    name: Option<String>,
    origin: Origin,
    /// Owner of the last record, as written.
    owner: String,
    /// Parentheses that are open, and where the first of them is.
    depth: u32,
    opened: u32,
    /// Bytes since then.
    bytes: usize,
}

/// What relative names are relative to.
#[derive(Debug)]
enum Origin {
    /// A name below the zone's; the zone itself if it is empty.
    Below(String),
    /// A name that is not known to be in the zone, absolute.
    Elsewhere(String),
}

impl Default for Origin {
    fn default() -> Self {
        Self::Below(String::new())
    }
}

/// An owner, seen from the zone.
enum Owner<'a> {
    Apex,
    Below(Cow<'a, str>),
    Outside,
}

impl Zone {
    pub(super) fn line(
        &mut self,
        line: &[u8],
        intake: &mut Intake<'_, '_>,
    ) -> Result<(), ListError> {
        let was_open = self.depth > 0;
        let mut words = [&[][..]; WORDS_MAX];
        let count = self.cut(line, &mut words);
        if was_open {
            self.bytes += line.len();
            intake.count(Reason::Continuation, line);
            return if self.bytes > LINE_BYTES_MAX { self.end(intake) } else { Ok(()) };
        }
        (self.opened, self.bytes) = (intake.line(), 0);
        if count == 0 {
            let is_blank = line.trim_ascii().is_empty();
            intake.count(if is_blank { Reason::Blank } else { Reason::Comment }, line);
            return Ok(());
        }
        let mut texts = [""; WORDS_MAX];
        for (text, word) in texts.iter_mut().zip(words) {
            let Ok(word) = str::from_utf8(word) else {
                intake.count(Reason::NotUtf8, line);
                return Ok(());
            };
            *text = word;
        }
        match texts.get(..count).unwrap_or_default() {
            [directive, value, ..] if directive.eq_ignore_ascii_case("$ORIGIN") => {
                self.set_origin(value);
                intake.count(Reason::Header, line);
            }
            [directive, ..] if directive.starts_with('$') => intake.count(Reason::Setting, line),
            [owner, rest @ ..] if !line.first().is_some_and(u8::is_ascii_whitespace) => {
                self.owner.clear();
                self.owner.push_str(owner);
                self.record(rest, line, intake);
            }
            rest => self.record(rest, line, intake),
        }
        Ok(())
    }

    /// Refuses a zone in which a parenthesis stays open: what is behind it was not read.
    pub(super) fn end(&self, intake: &Intake<'_, '_>) -> Result<(), ListError> {
        if self.depth == 0 {
            return Ok(());
        }
        let fault = ListFault::Unclosed { what: "parenthesis", max: LINE_BYTES_MAX };
        Err(ListError::at_line(intake.file(), self.opened, fault))
    }

    /// Cuts a line into words, leaves out comments, and follows parentheses.
    fn cut<'l>(&mut self, line: &'l [u8], words: &mut [&'l [u8]; WORDS_MAX]) -> usize {
        let (mut count, mut start, mut at) = (0, None, 0);
        let mut push = |word: Option<&'l [u8]>| {
            if let (Some(word), Some(place)) = (word, words.get_mut(count)) {
                *place = word;
                count += 1;
            }
        };
        while let Some(byte) = line.get(at) {
            match byte {
                b'"' => {
                    start.get_or_insert(at);
                    at += string(line.get(at + 1..).unwrap_or_default());
                }
                b';' | b'(' | b')' | b' ' | b'\t' | b'\r' => {
                    push(start.take().and_then(|start| line.get(start..at)));
                    match byte {
                        b';' => break,
                        b'(' => self.depth += 1,
                        b')' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                }
                _ => {
                    start.get_or_insert(at);
                    // An escaped byte ends nothing.
                    at += usize::from(*byte == b'\\');
                }
            }
            at += 1;
        }
        push(start.and_then(|start| line.get(start..at.min(line.len()))));
        count
    }

    fn record(&mut self, words: &[&str], line: &[u8], intake: &mut Intake<'_, '_>) {
        let is_before_type = |word: &&&str| is_ttl(word) || is_class(word);
        let before = words.iter().take_while(is_before_type).count();
        let (kind, data) = match words.get(before..) {
            Some([kind, data, ..]) => (*kind, *data),
            // SOA and others may have all their data behind a parenthesis.
            Some([kind]) if self.depth > 0 => (*kind, ""),
            _ => return intake.count(Reason::InvalidLine, line),
        };
        let is_one_of = |kinds: &[&str]| kinds.iter().any(|known| known.eq_ignore_ascii_case(kind));
        if kind.eq_ignore_ascii_case("SOA") {
            self.set_name();
        }
        if is_one_of(&OF_ZONE) {
            return intake.count(Reason::Header, line);
        }
        let refusal = if kind.eq_ignore_ascii_case("CNAME") {
            of_target(data)
        } else if is_one_of(&["A", "AAAA"]) {
            match data.parse::<IpAddr>() {
                Ok(address) if is_sink(address) => None,
                Ok(_) => Some(Reason::Mapped),
                Err(_) => Some(Reason::InvalidLine),
            }
        } else if is_one_of(&OF_DATA) {
            Some(Reason::Mapped)
        } else {
            Some(Reason::InvalidLine)
        };
        match (self.resolve(&self.owner), refusal) {
            (Owner::Apex, _) => intake.count(Reason::Header, line),
            (Owner::Below(trigger), _) if is_special(&trigger) => {
                intake.count(Reason::Trigger, line);
            }
            (_, Some(reason)) => intake.count(reason, line),
            (Owner::Outside, None) => intake.count(Reason::InvalidName, line),
            (Owner::Below(trigger), None) => intake.host(trigger.as_bytes()),
        }
    }

    fn resolve<'a>(&'a self, owner: &'a str) -> Owner<'a> {
        let absolute = |name: &str| {
            self.below(name).map_or(Owner::Outside, |below| match below {
                "" => Owner::Apex,
                below => Owner::Below(Cow::Owned(below.to_owned())),
            })
        };
        match (owner, &self.origin) {
            (owner, _) if owner.ends_with('.') => absolute(without_dot(owner)),
            ("@", Origin::Elsewhere(origin)) => absolute(origin),
            (owner, Origin::Elsewhere(origin)) => absolute(&join(owner, origin)),
            ("@", Origin::Below(origin)) if origin.is_empty() => Owner::Apex,
            ("@", Origin::Below(origin)) => Owner::Below(Cow::Borrowed(origin)),
            (owner, Origin::Below(origin)) if origin.is_empty() => Owner::Below(owner.into()),
            (owner, Origin::Below(origin)) => Owner::Below(join(owner, origin).into()),
        }
    }

    /// What is in front of the zone's name in an absolute one; nothing if it is not in the zone.
    fn below<'a>(&self, name: &'a str) -> Option<&'a str> {
        let zone = self.name.as_deref()?;
        let split = name.len().checked_sub(zone.len())?;
        let (below, end) = name.split_at_checked(split)?;
        if !end.eq_ignore_ascii_case(zone) {
            return None;
        }
        if below.is_empty() || zone.is_empty() { Some(below) } else { below.strip_suffix('.') }
    }

    fn set_origin(&mut self, value: &str) {
        let name = if value.ends_with('.') {
            without_dot(value).to_owned()
        } else {
            match &self.origin {
                Origin::Below(origin) => {
                    self.origin = Origin::Below(join(value, origin));
                    return;
                }
                Origin::Elsewhere(origin) => join(value, origin),
            }
        };
        if self.name.is_none() && !name.is_empty() {
            self.name = Some(name.clone());
        }
        self.origin = match self.below(&name) {
            Some(below) => Origin::Below(below.to_owned()),
            None => Origin::Elsewhere(name),
        };
    }

    /// Takes the zone's name from the owner of its SOA record.
    fn set_name(&mut self) {
        let absolute = |below: &str| self.name.as_deref().map(|zone| join(below, zone));
        let origin = match &self.origin {
            Origin::Below(origin) => absolute(origin),
            Origin::Elsewhere(origin) => Some(origin.clone()),
        };
        let name = match (&*self.owner, &origin) {
            (owner, _) if owner.ends_with('.') => Some(without_dot(owner).to_owned()),
            ("@", origin) => origin.clone(),
            (owner, Some(origin)) => Some(join(owner, origin)),
            (_, None) => None,
        };
        if name.is_none() {
            return;
        }
        self.name = name;
        if let Some(origin) = origin {
            self.origin = match self.below(&origin) {
                Some(below) => Origin::Below(below.to_owned()),
                None => Origin::Elsewhere(origin),
            };
        }
    }
}

/// Why a name with this target is not blocked, if it is not (sections 3.1 to 3.6 of the draft).
fn of_target(target: &str) -> Option<Reason> {
    match target {
        "." | "*." => None,
        target if target.eq_ignore_ascii_case("rpz-drop.") => None,
        target if target.eq_ignore_ascii_case("rpz-passthru.") => Some(Reason::Exception),
        target if target.eq_ignore_ascii_case("rpz-tcp-only.") => Some(Reason::Limited),
        _ => Some(Reason::Mapped),
    }
}

/// Whether a trigger is no name: `rpz-ip`, `rpz-client-ip`, `rpz-nsdname`, `rpz-nsip`.
fn is_special(trigger: &str) -> bool {
    let last = trigger.rsplit('.').next().unwrap_or(trigger);
    last.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("rpz-"))
}

fn is_ttl(word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || b"smhdwSMHDW".contains(&byte);
    word.starts_with(|first: char| first.is_ascii_digit()) && word.bytes().all(is_part)
}

fn is_class(word: &str) -> bool {
    ["IN", "CH", "HS"].iter().any(|class| class.eq_ignore_ascii_case(word))
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn join(name: &str, origin: &str) -> String {
    match (name, origin) {
        ("" | "@", origin) => origin.to_owned(),
        (name, "") => name.to_owned(),
        (name, origin) => format!("{name}.{origin}"),
    }
}

/// Bytes up to a closing quote and with it; to the line's end without one.
fn string(text: &[u8]) -> usize {
    let mut is_escaped = false;
    for (at, byte) in (1..).zip(text) {
        match byte {
            b'"' if !is_escaped => return at,
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}
