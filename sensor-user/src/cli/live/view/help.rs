//! The page that says which keys there are, and what the figures mean.

use ratatui::text::{Line, Span, Text};

use super::super::keys::HELP;
use super::Theme;

/// What the figures mean.
const FIGURES: [&str; 6] = [
    "down is to the device, up from it; bits are of whole frames, without FCS.",
    "By device, name, verdict: what flows gained in the last seconds, not records.",
    "flows/s of a device began; of a name or verdict they came to it.",
    "Names are those flows give themselves, by TLS, QUIC, HTTP and DNS questions.",
    "24 h: records of the last 24 hours, as in `status`.",
    "Sums of another time: `top --by device --since 1h`.",
];

pub(super) fn text() -> Text<'static> {
    let key = |(key, does): &(&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!("  {key:20}"), Theme::STRONG), Span::raw(*does)])
    };
    let figure = |text: &&'static str| Line::raw(format!("  {text}"));
    let blank = std::iter::once(Line::raw(""));
    HELP.iter().map(key).chain(blank).chain(FIGURES.iter().map(figure)).collect()
}
