//! `campus-sensor lists diff`: what a bundle would change, and what it would have decided otherwise of late.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::{
    CategoryChange, Change, Counts, Diff, DryRun, ListChange, Manifest, TableChange, Unpacked,
    Written, changes,
};
use crate::cli::table::{Column, write_json, write_table};
use crate::config::Config;
use crate::policy::Policy;
use crate::progress;
use crate::record::display_name;

/// What to compare.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campus-sensor lists diff 8.bundle                with what is in force, and tried on the records of 7 days
  campus-sensor lists diff 8.bundle 7.bundle --names 20")]
pub struct DiffArgs {
    /// The bundle
    pub new: PathBuf,
    /// Another bundle to compare it with; what is in force without it
    pub old: Option<PathBuf>,
    /// So many names that come and go in each list; never those that are protected
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub names: usize,
    /// Try it on the records of so many days; 0 for none
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub days: u32,
}

/// All that differs.
#[derive(Serialize)]
struct Difference<'a> {
    bundle: &'a Manifest,
    is_verified: bool,
    /// Version of the policy that it is compared with; null where nothing is in force.
    from_policy: Option<&'a str>,
    #[serde(flatten)]
    diff: &'a Diff,
    tables: &'a [TableChange],
    dry_run: Option<&'a DryRun>,
}

/// Compares, and tries the bundle on the records.
pub(super) fn diff(
    config: &Config,
    args: &DiffArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    diff_at(Timestamp::now(), config, args, json, out)
}

/// The same at a given time.
fn diff_at(
    now: Timestamp,
    config: &Config,
    args: &DiffArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // Who has keys wants to see what can be applied.
    let keys = (!config.policy.keys.is_empty()).then_some(&*config.policy.keys);
    let mut new = Unpacked::open(&args.new, keys)?;
    let mut old = Old::open(config, args, keys)?;
    let (new_file, old_file) = (new.policy_file(), old.file());
    let before = old.policy();
    let diff = Diff::of(before, &new.policy, args.names);
    let written = before.zip(old_file.as_deref());
    let written = written.map(|(policy, file)| Written { policy, file });
    let tables = changes(written, Written { policy: &new.policy, file: &new_file })?;
    let version = before.map(|policy| policy.version().to_owned());
    let dry_run = match args.days {
        0 => None,
        days => {
            let store = &config.store.dir;
            Some(DryRun::of(store, days, now, old.policy_mut(), &mut new.policy)?)
        }
    };
    progress::clear();
    let difference = Difference {
        bundle: &new.manifest,
        is_verified: keys.is_some(),
        from_policy: version.as_deref(),
        diff: &diff,
        tables: &tables,
        dry_run: dry_run.as_ref(),
    };
    if json {
        return Ok(write_json(&difference, out)?);
    }
    write(&difference, out)
}

/// What a bundle is compared with.
enum Old {
    Nothing,
    InForce(Box<Policy>, PathBuf),
    Bundle(Box<Unpacked>),
}

impl Old {
    fn open(config: &Config, args: &DiffArgs, keys: Option<&[String]>) -> anyhow::Result<Self> {
        let file = &config.policy.file;
        Ok(match &args.old {
            Some(bundle) => Self::Bundle(Box::new(Unpacked::open(bundle, keys)?)),
            None if file.exists() => Self::InForce(Box::new(Policy::load(file)?), file.clone()),
            None => Self::Nothing,
        })
    }

    fn policy(&self) -> Option<&Policy> {
        match self {
            Self::Nothing => None,
            Self::InForce(policy, _) => Some(policy),
            Self::Bundle(bundle) => Some(&bundle.policy),
        }
    }

    fn policy_mut(&mut self) -> Option<&mut Policy> {
        match self {
            Self::Nothing => None,
            Self::InForce(policy, _) => Some(policy),
            Self::Bundle(bundle) => Some(&mut bundle.policy),
        }
    }

    fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Nothing => None,
            Self::InForce(_, file) => Some(file.clone()),
            Self::Bundle(bundle) => Some(bundle.policy_file()),
        }
    }
}

fn write(difference: &Difference<'_>, out: &mut impl Write) -> anyhow::Result<()> {
    let Difference { bundle, is_verified, from_policy, diff, tables, dry_run } = difference;
    let Manifest { number, policy, created, author, reason, .. } = bundle;
    let signature =
        if *is_verified { "signature verified" } else { "signature not verified: no keys" };
    writeln!(out, "bundle {number}, policy {policy}, of {created} by {}", display_name(author))?;
    writeln!(out, "  for {}; {signature}", display_name(reason))?;
    writeln!(out, "compared with {}\n", from_policy.unwrap_or("nothing: none is in force"))?;
    let Counts { before, after, added, removed } = diff.names;
    writeln!(out, "{before} names before, {after} after: {added} added, {removed} removed")?;
    let categories = diff.categories.iter().filter(|one| one.counts.differ());
    let categories = categories.map(|CategoryChange { category, counts }| (&**category, *counts));
    counts("category", categories, out)?;
    let lists = diff.lists.iter().map(|one| (&*one.list, one.counts));
    counts("list", lists, out)?;
    for ListChange { list, added_names, removed_names, .. } in &diff.lists {
        for (sign, names) in [('+', added_names), ('-', removed_names)] {
            for name in names {
                writeln!(out, "  {sign} {name} ({list})")?;
            }
        }
    }
    for TableChange { table, name, change } in *tables {
        match name.as_deref() {
            Some("") => writeln!(out, "{change}: {table}")?,
            Some(name) => writeln!(out, "{change}: {table} {name}")?,
            None => writeln!(out, "{change}: {table} of a protected name")?,
        }
    }
    if let Some(run) = dry_run {
        write_run(run, out)?;
    }
    Ok(())
}

fn counts<'a>(
    what: &'static str,
    rows: impl Iterator<Item = (&'a str, Counts)>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let rows = rows.map(|(id, Counts { before, after, added, removed })| {
        let numbers = [before, after, added, removed].map(|number| number.to_string());
        [id.to_owned()].into_iter().chain(numbers).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let columns = [
        Column::Text(what, 16),
        Column::Number("before"),
        Column::Number("after"),
        Column::Number("added"),
        Column::Number("removed"),
    ];
    writeln!(out)?;
    write_table(&columns, rows, out)?;
    Ok(())
}

fn write_run(run: &DryRun, out: &mut impl Write) -> anyhow::Result<()> {
    let DryRun { days, flows, passed, left_out, changed, to_block, to_pass } = run;
    writeln!(
        out,
        "\ntried on the flows with a name of {days} days: {flows}, of which {passed} pass"
    )?;
    if *left_out > 0 {
        writeln!(out, "left out, because there are too many: {left_out}")?;
    }
    writeln!(out, "another verdict: {changed} flows")?;
    for (what, change) in [("would be blocked", to_block), ("would pass", to_pass)] {
        let Change { flows, devices, names, top } = change;
        writeln!(out, "{what}: {flows} flows, {devices} devices, {names} names")?;
        if top.is_empty() {
            continue;
        }
        let rows = top.iter().map(|one| {
            let name = one.name.clone().unwrap_or_else(|| "(protected)".to_owned());
            vec![name, one.flows.to_string(), one.devices.to_string()]
        });
        let columns =
            [Column::Text("name", 24), Column::Number("flows"), Column::Number("devices")];
        write_table(&columns, rows, out)?;
    }
    Ok(())
}
