//! hosts(5) as block lists use it: `0.0.0.0 a.example b.example`.
//!
//! Names are blocked by an address that leads nowhere, or back to the machine. A name with another
//! address is one that somebody runs: it is not taken, or a list of a network's own machines would
//! block them all.

use std::net::IpAddr;

use super::Reason;
use super::host;
use super::intake::Intake;
use super::plain::{blank_or_comment, is_sink, words};

/// Reads a line.
pub(super) fn line(line: &[u8], intake: &mut Intake<'_, '_>) {
    let line = line.trim_ascii();
    if blank_or_comment(line, b"#", intake) {
        return;
    }
    let text = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    let mut words = words(text).peekable();
    let Some(address) = words.next().and_then(address) else {
        return intake.count(Reason::InvalidLine, line);
    };
    if words.peek().is_none() {
        return intake.count(Reason::Address, line);
    }
    for name in words {
        match std::str::from_utf8(name) {
            _ if is_sink(address) => intake.host(name),
            Ok(local) if host::is_local(local) => intake.count(Reason::LocalName, name),
            _ => intake.count(Reason::Mapped, line),
        }
    }
}

/// An address, perhaps with a zone: `fe80::1%lo0`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    text.split('%').next()?.parse().ok()
}
