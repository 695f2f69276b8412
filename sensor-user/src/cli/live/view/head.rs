//! The lines on top: who this is, how much passes, what has no name, what is lost, whether the figures are honest.

use std::time::Duration;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::app::{App, Picture, Silence};
use super::super::losses::losses;
use super::super::rates::{Rate, lasting, prefixed, shown};
use super::super::snapshot::{Direction, Interface, Status};
use super::verdicts::{plus, recent};
use super::{Theme, losses as exports, plain};
use crate::assembly::Honesty;
use crate::assembly::rates::Sums;
use crate::names::{Tally, USABLE, percent};

/// Columns of what a line is about.
const ABOUT: usize = 9;

/// Reasons and losses that are named on top; the panes have all.
const NAMED_MAX: usize = 3;

pub(super) fn lines(app: &App, theme: Theme, time: &str, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(picture) = &app.picture {
        lines.push(who(picture, time, width));
        lines.extend(policy(picture, theme));
        lines.push(traffic(picture, width));
        lines.push(unnamed(picture, width));
        lines.push(lost(picture, theme));
        lines.push(honesty(picture, theme));
        lines.extend(export(picture, theme));
    }
    lines.extend(app.silence.iter().flat_map(|silence| silent(silence, theme)));
    lines
}

/// A line with what it is about in front.
fn line(about: &str, text: String, style: Style) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{about:ABOUT$}"), Theme::STRONG),
        Span::styled(text, style),
    ])
}

fn silent(Silence { since, why }: &Silence, theme: Theme) -> [Line<'static>; 2] {
    let text = format!("daemon does not answer since {since}; enforcement goes on in the kernel");
    let why = format!("  asking again: {}", plain(why));
    [Line::styled(text, theme.bad()), Line::styled(why, theme.faint())]
}

fn who(picture: &Picture, time: &str, width: u16) -> Line<'static> {
    let Status { sensor, version, uptime_s, policy, .. } = &picture.now.status;
    let mut parts = vec![format!("up {}", lasting(*uptime_s))];
    if !version.is_empty() {
        parts.insert(0, format!("campus-sensor {}", plain(version)));
    }
    if !policy.version.is_empty() {
        let version = plain(&policy.version);
        parts.push(format!("policy {version}: {} names", prefixed(policy.names)));
    }
    let sensor = plain(sensor).into_owned();
    let room = usize::from(width).saturating_sub(sensor.len() + time.len() + 3);
    let text = fitting(&parts, ", ", room);
    let gap = room.saturating_sub(text.len()) + 1;
    Line::from(vec![
        Span::styled(sensor, Theme::STRONG),
        Span::raw(format!("  {text}{}", " ".repeat(gap))),
        Span::raw(time.to_owned()),
    ])
}

/// As many of the parts as there is room for, one at least.
fn fitting(parts: &[String], between: &str, room: usize) -> String {
    let mut text = String::new();
    for part in parts {
        let gap = if text.is_empty() { "" } else { between };
        if !text.is_empty() && text.len() + gap.len() + part.len() > room {
            break;
        }
        text.push_str(gap);
        text.push_str(part);
    }
    text
}

/// What is to be said of the policy, if anything.
fn policy(picture: &Picture, theme: Theme) -> Vec<Line<'static>> {
    let status = &picture.now.status;
    let mut lines = Vec::new();
    if let Some(how) = &status.policy.tampering {
        lines.push(line("TAMPERED", plain(how).into_owned(), theme.bad()));
    }
    if let Some(reason) = &status.quic_unread {
        let text = format!("NOT READ ({}): policy decides", plain(reason));
        lines.push(line("QUIC", text, theme.bad()));
    }
    if !status.policy.schedules_on.is_empty() {
        let on = status.policy.schedules_on.join(", ");
        lines.push(line("during", plain(&on).into_owned(), Style::new()));
    }
    lines
}

/// What the interfaces count, and how many flows begin.
fn traffic(picture: &Picture, width: u16) -> Line<'static> {
    let Picture { now, before } = picture;
    let before = before.as_ref().filter(|before| now.status.goes_on_from(&before.status));
    let over = before.map_or(Duration::ZERO, |before| now.at.duration_since(before.at));
    let way = |direction: fn(&Interface) -> &Direction| {
        let [packets, bytes] = now.status.volume(direction);
        let earlier = before.map(|before| before.status.volume(direction));
        let rate = |now, earlier: Option<u64>| Rate::between(earlier?, now, over);
        let bits = rate(bytes, earlier.map(|[_, bytes]| bytes)).map(Rate::bits);
        let packets = rate(packets, earlier.map(|[packets, _]| packets));
        format!("{:>6} bit/s {:>5} pkt/s", shown(bits), shown(packets))
    };
    let top = now.top.as_ref().filter(|top| top.over_ms > 0);
    let sum = |of: fn(&Sums) -> u64| {
        let top = top?;
        let devices = top.devices.iter().map(|device| of(&device.sums));
        let sum = devices.fold(of(&top.devices_others), u64::saturating_add);
        Rate::of(sum, Duration::from_millis(top.over_ms))
    };
    let parts = [
        format!("down {}", way(|interface| &interface.egress)),
        format!("up {}", way(|interface| &interface.ingress)),
        format!("{} flows/s", shown(sum(|sums| sums.flows))),
        format!("{} blocked/s", shown(sum(|sums| sums.blocked))),
        format!("{} live", prefixed(now.status.records.live_flows)),
    ];
    line("now", fitting(&parts, "  ", room(width)), Theme::STRONG)
}

fn room(width: u16) -> usize {
    usize::from(width).saturating_sub(ABOUT)
}

/// What share has no usable name: now by bytes, and in the records of the last day.
fn unnamed(picture: &Picture, width: u16) -> Line<'static> {
    let is_usable = |reason: &str| USABLE.iter().any(|usable| usable.name() == reason);
    let recent = recent(picture);
    let whole = recent.values().fold(Tally::default(), |sum, tally| plus(sum, *tally));
    let mut missing: Vec<_> = recent.iter().filter(|(reason, _)| !is_usable(reason)).collect();
    let none = missing.iter().fold(Tally::default(), |sum, (_, tally)| plus(sum, **tally));
    missing.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.flows));
    let named = missing.iter().filter(|(_, tally)| tally.flows > 0).take(NAMED_MAX);
    let why = named
        .map(|(reason, tally)| format!("{} {}", plain(reason), percent(tally.flows, whole.flows)));
    let now = picture.now.top.as_ref().map(|top| {
        let bytes = |sums: &Sums| sums.bytes();
        let all = top.reasons.values().map(bytes).fold(0, u64::saturating_add);
        let without = top.reasons.iter().filter(|(reason, _)| !is_usable(reason));
        percent(without.map(|(_, sums)| sums.bytes()).fold(0, u64::saturating_add), all)
    });
    let shares = format!(
        "{} of bits now; 24 h: {} of bytes, {} of flows",
        now.unwrap_or_else(|| "-".to_owned()),
        percent(none.bytes, whole.bytes),
        percent(none.flows, whole.flows),
    );
    let parts: Vec<String> = std::iter::once(shares).chain(why).collect();
    line("no name", fitting(&parts, ", ", room(width)), Style::new())
}

fn lost(picture: &Picture, theme: Theme) -> Line<'static> {
    let losses = losses(&picture.now, picture.before.as_deref());
    let is_now = |rate: &Option<Rate>| rate.is_some_and(|rate| !rate.is_zero());
    let now: Vec<String> = losses
        .iter()
        .filter(|loss| is_now(&loss.rate))
        .take(NAMED_MAX)
        .map(|loss| format!("{} {}/s", plain(&loss.what), shown(loss.rate)))
        .collect();
    if !now.is_empty() {
        return line("LOSSES", now.join(", "), theme.bad());
    }
    if picture.now.status.interfaces.is_empty() {
        return line("losses", "not told by this daemon".to_owned(), Style::new());
    }
    if losses.is_empty() {
        return line("losses", "none".to_owned(), theme.good());
    }
    let before = losses.iter().take(NAMED_MAX);
    let before = before.map(|loss| format!("{} {}", plain(&loss.what), prefixed(loss.total)));
    let is_known = losses.iter().all(|loss| loss.rate.is_some());
    let when = if is_known { "none now; before" } else { "in all" };
    let text = format!("{when}: {}", before.collect::<Vec<_>>().join(", "));
    line("losses", text, Style::new())
}

fn honesty(picture: &Picture, theme: Theme) -> Line<'static> {
    let Some(Honesty { looks, packets_off, bytes_off, packets_unsure }) =
        picture.now.status.records.honesty
    else {
        return line("honesty", "not told by this daemon".to_owned(), Style::new());
    };
    if packets_off > 0 || bytes_off > 0 {
        let text =
            format!("{packets_off} packets, {bytes_off} bytes in no record and no flow, or in two");
        return line("HONESTY", text, theme.bad());
    }
    let text = match (looks, packets_unsure) {
        (0, _) => "not looked at yet".to_owned(),
        (_, 0) => format!("every packet is in one record or flow ({looks} looks)"),
        (_, unsure) => format!("every packet is in one record or flow but for {unsure} just come"),
    };
    line("honesty", text, if looks > 0 { theme.good() } else { Style::new() })
}

fn export(picture: &Picture, theme: Theme) -> Option<Line<'static>> {
    let exports = &picture.now.status.exports;
    let ill: Vec<String> = exports
        .iter()
        .filter(|export| !exports::is_well(export))
        .map(|export| {
            let state = if export.open { "open" } else { "NOT OPEN" };
            let trouble = plain(export.trouble.as_deref().unwrap_or("no receiver"));
            format!("{} {state}: {trouble}", plain(&export.name))
        })
        .collect();
    if exports.is_empty() {
        return None;
    }
    Some(if ill.is_empty() {
        line("exports", format!("{} open", exports.len()), theme.good())
    } else {
        line("EXPORTS", ill.join("; "), theme.bad())
    })
}
