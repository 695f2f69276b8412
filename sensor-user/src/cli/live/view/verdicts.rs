//! What was decided, and why flows have no name: now, and in the records of the last day.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::style::Style;
use sensor_ebpf::abi::Verdict;

use super::super::app::{App, Picture};
use super::super::rates::{Rate, shown};
use super::Theme;
use super::table::{Column, Row, Shorten, Table};
use crate::assembly::rates::Sums;
use crate::control::top::Top;
use crate::names::{Tally, percent};

pub(super) fn tables(app: &App, picture: &Picture, top: &Top, theme: Theme) -> Vec<Table> {
    vec![verdicts(app, top, theme), reasons(app, picture, top)]
}

fn verdicts(app: &App, top: &Top, theme: Theme) -> Table {
    let over = Duration::from_millis(top.over_ms);
    let bits = |bytes| shown(Rate::of(bytes, over).map(Rate::bits));
    let style = |name: &str, sums: &Sums| {
        let is = |verdict: Verdict| verdict.name() == name && sums.packets() > 0;
        if is(Verdict::Block) {
            theme.bad()
        } else if is(Verdict::Alert) {
            theme.warn()
        } else {
            Style::new()
        }
    };
    let mut verdicts: Vec<_> =
        top.verdicts.iter().filter(|(name, _)| app.lets_through(&[name])).collect();
    verdicts.sort_by_key(|(_, sums)| Reverse(sums.bytes()));
    let row = |(name, sums): (&String, &Sums)| Row {
        style: style(name, sums),
        label: super::plain(name).into_owned(),
        cells: vec![
            bits(sums.bytes_to_lan),
            bits(sums.bytes_to_peer),
            shown(Rate::of(sums.packets(), over)),
            shown(Rate::of(sums.flows, over)),
        ],
    };
    let columns = vec![
        Column::Number("down bit/s", 10),
        Column::Number("up bit/s", 8),
        Column::Number("pkt/s", 6),
        Column::Number("flows/s", 7),
    ];
    let rows = verdicts.into_iter().map(row).collect();
    Table { title: "verdict", shorten: Shorten::Front, columns, rows, empty: "nothing decided" }
}

/// By reason: now, and in the recent records.
fn reasons(app: &App, picture: &Picture, top: &Top) -> Table {
    let over = Duration::from_millis(top.over_ms);
    let recent = recent(picture);
    let whole = recent.values().fold(Tally::default(), |sum, tally| plus(sum, *tally));
    let all: u64 = top.reasons.values().map(Sums::bytes).fold(0, u64::saturating_add);
    let names = top.reasons.keys().chain(recent.keys());
    let mut reasons: Vec<&String> = names.filter(|name| app.lets_through(&[name])).collect();
    let now = |reason: &String| top.reasons.get(reason).copied().unwrap_or_default();
    let then = |reason: &String| recent.get(reason).copied().unwrap_or_default();
    reasons.sort_by_key(|reason| (Reverse((now(reason).bytes(), then(reason).bytes)), *reason));
    reasons.dedup();
    let row = |reason: &String| {
        let (now, then) = (now(reason), then(reason));
        Row {
            label: super::plain(reason).into_owned(),
            cells: vec![
                shown(Rate::of(now.bytes(), over).map(Rate::bits)),
                shown(Rate::of(now.flows, over)),
                percent(now.bytes(), all),
                percent(then.flows, whole.flows),
                percent(then.bytes, whole.bytes),
            ],
            style: Style::new(),
        }
    };
    let columns = vec![
        Column::Number("bit/s", 8),
        Column::Number("flows/s", 7),
        Column::Number("of bits", 8),
        Column::Number("24 h flows", 10),
        Column::Number("24 h bytes", 10),
    ];
    let rows = reasons.into_iter().map(row).collect();
    let title = "name, or why there is none";
    Table { title, shorten: Shorten::Front, columns, rows, empty: "no flow" }
}

/// Records of the last day on all interfaces.
pub(super) fn recent(picture: &Picture) -> BTreeMap<String, Tally> {
    let mut sums: BTreeMap<String, Tally> = BTreeMap::new();
    for interface in &picture.now.status.interfaces {
        for (reason, tally) in &interface.names.recent {
            let sum = sums.entry(reason.clone()).or_default();
            *sum = plus(*sum, *tally);
        }
    }
    sums
}

/// Both together.
pub(super) const fn plus(one: Tally, other: Tally) -> Tally {
    Tally {
        flows: one.flows.saturating_add(other.flows),
        bytes: one.bytes.saturating_add(other.bytes),
    }
}
