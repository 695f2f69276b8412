//! Lists with one thing a line, and what all formats of lines share.

use super::Reason;
use super::intake::Intake;

/// Bytes of a SHA-256 hash.
const HASH_BYTES: usize = 32;

/// Reads a line of names: `a.example`, `*.a.example`, perhaps with a comment behind it.
pub(super) fn domains(line: &[u8], intake: &mut Intake<'_, '_>) {
    let text = line.trim_ascii();
    if blank_or_comment(text, b"#;!", intake) {
        return;
    }
    if text.starts_with(b"//") {
        return intake.count(Reason::Comment, text);
    }
    let mut words = words(without_comment(text, b'#'));
    match (words.next(), words.next()) {
        (Some(host), None) => intake.host(host),
        _ => intake.count(Reason::InvalidLine, text),
    }
}

/// Reads a line of lower- or upper-case hexadecimal digits.
pub(super) fn hashes(line: &[u8], intake: &mut Intake<'_, '_>) {
    let text = line.trim_ascii();
    if blank_or_comment(text, b"#", intake) {
        return;
    }
    match hash(without_comment(text, b'#')) {
        Some(hash) => intake.hash(hash),
        None => intake.count(Reason::InvalidLine, text),
    }
}

/// Counts a line of a file whose lines all are the same thing.
pub(super) fn only(reason: Reason, line: &[u8], intake: &mut Intake<'_, '_>) {
    let text = line.trim_ascii();
    if !blank_or_comment(text, b"#", intake) {
        intake.count(reason, text);
    }
}

/// Counts a line without content, or one that begins with a mark of comments.
pub(super) fn blank_or_comment(text: &[u8], marks: &[u8], intake: &mut Intake<'_, '_>) -> bool {
    match text.first() {
        None => intake.count(Reason::Blank, text),
        Some(first) if marks.contains(first) => intake.count(Reason::Comment, text),
        Some(_) => return false,
    }
    true
}

/// The text before a comment: a mark begins one behind white space only, as names of pages have it too.
pub(super) fn without_comment(text: &[u8], mark: u8) -> &[u8] {
    let mut before = b' ';
    for (at, byte) in text.iter().enumerate() {
        if *byte == mark && before.is_ascii_whitespace() {
            return text.get(..at).unwrap_or(text).trim_ascii_end();
        }
        before = *byte;
    }
    text
}

/// The words of a text.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The text before the first such byte and the one behind it.
pub(super) fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    let (before, rest) = text.split_at_checked(position)?;
    Some((before, rest.get(1..)?))
}

/// Whether a list that maps names to this address blocks them by it: it is this machine's own, or none.
pub(super) fn is_sink(address: std::net::IpAddr) -> bool {
    address.is_unspecified() || address.is_loopback()
}

fn hash(text: &[u8]) -> Option<[u8; HASH_BYTES]> {
    let mut hash = [0; HASH_BYTES];
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    if pairs.len() != HASH_BYTES {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
