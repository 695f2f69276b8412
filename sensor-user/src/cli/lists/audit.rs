//! `campus-sensor lists audit`: who put what in force, and whether the log is whole.

use std::io::Write;

use anyhow::bail;
use serde::Serialize;
use serde_json::json;

use crate::bundle::audit::{self, Action, Became, Entry, Log};
use crate::bundle::{BundleError, Site};
use crate::cli::table::{Column, write_json, write_table};
use crate::config::Config;

/// A line of the log, by its number.
#[derive(Serialize)]
struct Line<'a> {
    line: usize,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// Writes the log, oldest first; fails where it is not what was written.
pub(super) fn audit(config: &Config, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let site = Site::of(&config.policy.dir);
    let path = site.audit_file();
    let log = audit::read(&path)?;
    let kept = site.kept()?;
    if json {
        for (line, entry) in &log.entries {
            write_json(&Line { line: *line, entry }, out)?;
        }
        let Log { cut, broken, head, .. } = &log;
        let broken = broken.as_ref().map(|(line, why)| json!({ "line": line, "why": why }));
        let said = json!({
            "in_force": site.in_force()?, "kept": kept, "cut": cut, "broken": broken, "head": head,
        });
        write_json(&said, out)?;
    } else {
        table(&log, out)?;
        let numbers: Vec<String> = kept.iter().map(u64::to_string).collect();
        let in_force = site.in_force()?.map_or("none".to_owned(), |number| number.to_string());
        let kept = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
        writeln!(out, "in force: {in_force}; kept: {kept}")?;
        for line in &log.cut {
            writeln!(out, "line {line} is half a line: the power failed while it was written")?;
        }
        if log.broken.is_none() {
            writeln!(out, "the log is whole, up to {}", log.head)?;
        }
    }
    out.flush()?;
    if let Some((line, why)) = log.broken {
        let reason = format!("line {line} is not what was written, {why}");
        bail!(BundleError::Audit { path, reason });
    }
    Ok(())
}

fn table(log: &Log, out: &mut impl Write) -> anyhow::Result<()> {
    if log.entries.is_empty() {
        writeln!(out, "nothing was applied yet")?;
        return Ok(());
    }
    let columns = [
        Column::Word("at"),
        Column::Text("who", 10),
        Column::Word("what"),
        Column::Number("from"),
        Column::Number("to"),
        Column::Text("policy", 12),
        Column::Text("reason", 20),
    ];
    let rows = log.entries.iter().map(|(_, entry)| {
        let number =
            |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
        let what = match (entry.action, entry.became) {
            (_, Became::Refused) => "refused",
            (Action::Apply, Became::InForce | Became::NextStart) => "apply",
            (Action::Rollback, Became::InForce | Became::NextStart) => "rollback",
        };
        let author = entry.author.as_ref().map(|author| format!(" ({author})"));
        let accepted = match &*entry.accepted {
            [] => String::new(),
            accepted => format!(" (accepted: {})", accepted.join(", ")),
        };
        let reason = entry.why.as_ref().or(entry.reason.as_ref()).cloned().unwrap_or_default();
        vec![
            entry.at.clone(),
            format!("{}{}", entry.who, author.unwrap_or_default()),
            what.to_owned(),
            number(entry.from),
            number(entry.to),
            entry.to_policy.clone().unwrap_or_default(),
            format!("{reason}{accepted}"),
        ]
    });
    write_table(&columns, rows, out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Action, Became, Entry, Log, table};

    #[test]
    fn a_table_says_who_did_what() {
        let entry = |to, action, became| Entry {
            at: "2026-03-10T12:00:00Z".to_owned(),
            who: "root".to_owned(),
            action,
            became,
            to: Some(to),
            to_policy: Some(format!("2026-03-10.{to}")),
            reason: Some("term".to_owned()),
            ..Entry::default()
        };
        let mut accepted = entry(1, Action::Apply, Became::InForce);
        accepted.accepted = vec!["growth".to_owned(), "over-blocking".to_owned()];
        let mut refused = entry(1, Action::Rollback, Became::Refused);
        (refused.from, refused.why) = (Some(1), Some("\u{1b}[31mno".to_owned()));
        let mut back = entry(2, Action::Rollback, Became::NextStart);
        (back.from, back.author) = (Some(3), Some("b.jones".to_owned()));
        let entries = (1..).zip([accepted, refused, back]).collect();
        let mut out = Vec::new();
        table(&Log { entries, ..Log::default() }, &mut out).unwrap();
        table(&Log::default(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
