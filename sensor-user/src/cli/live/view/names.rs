//! Names, by what flows with them have now.

use std::cmp::Reverse;

use sensor_ebpf::abi::NoName;

use super::super::app::App;
use super::devices::{of_sums, order, sums_columns};
use super::table::{Shorten, Table};
use super::{Theme, plain};
use crate::assembly::rates::Sums;
use crate::control::top::Top;

/// What has no name is a row too. No name has a space: they are escaped.
const UNNAMED: &str = "(no usable name)";

/// What a group keeps no log of.
const UNLOGGED: &str = "(not logged)";

pub(super) fn table(app: &App, top: &Top, theme: Theme) -> Table {
    let name = |row: &crate::control::top::NameRow| (plain(&row.name).into_owned(), row.sums);
    let mut names: Vec<(String, Sums)> = top.names.iter().map(name).collect();
    let (mut unnamed, mut unlogged) = (Sums::default(), Sums::default());
    for (reason, sums) in &top.reasons {
        if reason == NoName::Unlogged.name() {
            unlogged += *sums;
        } else if reason != NoName::Named.name() {
            unnamed += *sums;
        }
    }
    let summed = [(UNNAMED, unnamed), (UNLOGGED, unlogged), ("(all others)", top.names_others)];
    let summed = summed.into_iter().filter(|(_, sums)| *sums != Sums::default());
    names.extend(summed.map(|(name, sums)| (name.to_owned(), sums)));
    names.retain(|(name, _)| app.lets_through(&[name]));
    names.sort_by_cached_key(|(name, sums)| (Reverse(order(app.sort, sums)), name.clone()));
    let row = |(name, sums): (String, Sums)| of_sums(top, name, &sums, None, theme);
    let rows = names.into_iter().map(row).collect();
    let (title, empty) = ("name", "no flow has packets");
    Table { title, shorten: Shorten::Front, columns: sums_columns(), rows, empty }
}
