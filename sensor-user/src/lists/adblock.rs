//! Filter rules of ad blockers, of which some are about whole hosts.
//!
//! `||a.example^` is the host and everything under it. Rules that look at pages, at parts of names
//! or at who asks cannot be enforced by name, and are counted by kind.
//! The syntax is that of Adblock Plus (help.adblockplus.org, "How to write filters") with what others
//! added to it (adguard.com/kb/general/ad-filtering/create-own-filters).

use super::Reason;
use super::intake::Intake;
use super::plain::{blank_or_comment, split_once};

/// What separates a cosmetic rule's sites from what it hides or runs.
const COSMETIC: [&[u8]; 10] =
    [b"##", b"#@#", b"#?#", b"#@?#", b"#$#", b"#@$#", b"#$?#", b"#%#", b"#@%#", b"$$"];

/// Options that leave a rule as wide as it is. `document` blocks every visit to the host, which
/// is as much of it as a person sees; `third-party` and the like let visits pass, and would not stay what
/// they are: the host of a share button is the site itself.
const WHOLE: [&[u8]; 5] = [b"all", b"doc", b"document", b"important", b"match-case"];

/// Reads a line.
pub(super) fn line(line: &[u8], intake: &mut Intake<'_, '_>) {
    let text = line.trim_ascii();
    if blank_or_comment(text, b"!", intake) {
        return;
    }
    if text.starts_with(b"[") && text.ends_with(b"]") {
        return intake.count(Reason::Header, text);
    }
    if is_cosmetic(text) {
        return intake.count(Reason::Cosmetic, text);
    }
    if text.starts_with(b"#") {
        return intake.count(Reason::Comment, text);
    }
    if text.starts_with(b"@@") {
        return intake.count(Reason::Exception, text);
    }
    // Sentences and lines of other formats; options may have spaces.
    let (pattern, options) = options(text);
    if pattern.is_empty() || pattern.iter().any(u8::is_ascii_whitespace) {
        return intake.count(Reason::InvalidLine, text);
    }
    match host(pattern) {
        Err(reason) => intake.count(reason, text),
        Ok(_) if options.split(|byte| *byte == b',').any(|option| option == b"badfilter") => {
            intake.count(Reason::Exception, text);
        }
        Ok(host) if is_whole(options) => intake.host(host),
        Ok(_) => intake.count(Reason::Limited, text),
    }
}

/// The host of a pattern that means all of it.
fn host(pattern: &[u8]) -> Result<&[u8], Reason> {
    if pattern.len() > 1 && pattern.starts_with(b"/") && pattern.ends_with(b"/") {
        return Err(Reason::Expression);
    }
    let Some(rest) = pattern.strip_prefix(b"||") else {
        let is_path = pattern.iter().any(|byte| matches!(byte, b'/' | b'?' | b'=' | b'&'));
        return Err(if is_path { Reason::Path } else { Reason::Pattern });
    };
    let end = rest.iter().position(|byte| matches!(byte, b'^' | b'/' | b'|'));
    let Some((host, tail)) = end.and_then(|end| rest.split_at_checked(end)) else {
        // Without an end it is the beginning of names: `||example.co` is example.com too.
        return Err(Reason::Pattern);
    };
    match tail {
        b"^" | b"^|" | b"/" | b"/^" => Ok(host),
        _ if tail.starts_with(b"/") => Err(Reason::Url),
        _ if tail.starts_with(b"^") && tail.contains(&b'/') => Err(Reason::Url),
        _ => Err(Reason::Pattern),
    }
}

/// A rule's pattern and its options; a `$` in a regular expression begins none.
fn options(text: &[u8]) -> (&[u8], &[u8]) {
    if text.starts_with(b"/") && text.len() > 1 && text.ends_with(b"/") {
        return (text, b"");
    }
    split_once(text, b'$').unwrap_or((text, b""))
}

fn is_whole(options: &[u8]) -> bool {
    let mut options = options.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options.all(|option| option.is_empty() || WHOLE.contains(&option))
}

fn is_cosmetic(text: &[u8]) -> bool {
    let places = text.iter().enumerate().filter(|(_, byte)| matches!(byte, b'#' | b'$'));
    let mut rests = places.filter_map(|(at, _)| text.get(at..));
    rests.any(|rest| {
        let rule = COSMETIC.iter().find_map(|mark| rest.strip_prefix(*mark));
        // `##` alone, `####` and `## text` are how people draw lines in comments.
        let is_rule = |first: &u8| !first.is_ascii_whitespace() && *first != b'#';
        rule.and_then(<[u8]>::first).is_some_and(is_rule)
    })
}
