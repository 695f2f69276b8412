//! dnsmasq(8) as block lists use it: `address=/a.example/b.example/`, `server=/a.example/`,
//! `local=/a.example/`, with `#` or an address that leads nowhere behind the last slash.
//!
//! A name with another address or another server is looked up there, not blocked, and is not taken.

use std::net::IpAddr;

use super::Reason;
use super::intake::Intake;
use super::plain::{blank_or_comment, is_sink, split_once, without_comment};

/// Reads a line.
pub(super) fn line(line: &[u8], intake: &mut Intake<'_, '_>) {
    let text = line.trim_ascii();
    if blank_or_comment(text, b"#", intake) {
        return;
    }
    let text = without_comment(text, b'#');
    let Some((key, value)) = split_once(text, b'=') else {
        let reason = if is_flag(text) { Reason::Setting } else { Reason::InvalidLine };
        return intake.count(reason, text);
    };
    let (key, value) = (key.trim_ascii(), value.trim_ascii());
    if !is_flag(key) {
        return intake.count(Reason::InvalidLine, text);
    }
    if !matches!(key, b"address" | b"server" | b"local") || !value.starts_with(b"/") {
        return intake.count(Reason::Setting, text);
    }
    let Some(last) = value.iter().rposition(|byte| *byte == b'/').filter(|last| *last > 0) else {
        return intake.count(Reason::InvalidLine, text);
    };
    let (names, target) = value.split_at_checked(last).unwrap_or((value, b""));
    let fate = fate(key, target.get(1..).unwrap_or_default());
    for name in names.get(1..).unwrap_or_default().split(|byte| *byte == b'/') {
        match fate {
            Some(reason) => intake.count(reason, text),
            // `#` stands for every name, and nothing for names without a dot.
            None if name == b"#" => intake.count(Reason::Pattern, text),
            None => intake.host(name),
        }
    }
}

/// Why names with this behind them are not blocked, if they are not.
fn fate(key: &[u8], target: &[u8]) -> Option<Reason> {
    match (key, target.trim_ascii()) {
        (_, b"") | (b"address", b"#") => None,
        (_, b"#") => Some(Reason::Exception),
        (b"address", target) => {
            let address = std::str::from_utf8(target).ok().and_then(|text| text.parse().ok());
            let is_blocked = address.is_some_and(|address: IpAddr| is_sink(address));
            (!is_blocked).then_some(Reason::Mapped)
        }
        _ => Some(Reason::Mapped),
    }
}

/// Whether this can be the name of an option.
fn is_flag(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    text.first().is_some_and(u8::is_ascii_lowercase) && text.iter().all(is_part)
}
