//! What the verdict of a record rested on: what the record says, and what the policy on this machine says of it at that
//! time.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use sensor_ebpf::abi::NoName;
use serde::Serialize;

use crate::policy::no_name::{WhyNoName, explained};
use crate::policy::{Policy, Port, Why};
use crate::record::{Named as _, Record};
use crate::store::{Query, Reader};

/// Which record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordNumber {
    /// Boot id of the machine; the newest boot that has the number without it.
    boot: Option<String>,
    sequence: u64,
}

impl FromStr for RecordNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (boot, number) =
            text.rsplit_once('/').map_or((None, text), |(boot, number)| (Some(boot), number));
        let sequence = number.parse().map_err(|_error| {
            "write the `sequence` of a record, or its `boot`, a slash and its `sequence`".to_owned()
        })?;
        Ok(Self { boot: boot.map(str::to_owned), sequence })
    }
}

/// A record's verdict, and what the policy says.
#[derive(Serialize)]
pub(super) struct Explained {
    record: Said,
    /// Whether it was judged by the version of the policy that explains it.
    same_policy: bool,
    /// None: the record has nothing that could be judged.
    policy: Option<ByPolicy>,
}

/// What a record says of its verdict.
#[derive(Serialize)]
struct Said {
    sensor: String,
    boot: String,
    sequence: u64,
    /// When the flow began, RFC 3339.
    start: String,
    verdict: &'static str,
    name: Option<String>,
    no_name: &'static str,
    categories: Vec<String>,
    list: Option<String>,
    group: Option<String>,
    policy: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ByPolicy {
    Listed(Box<Why>),
    NoName(WhyNoName),
}

/// Finds a record and explains it by a policy, with the rules that held when its flow began.
pub(super) fn explain(
    number: &RecordNumber,
    store: &Path,
    mut policy: Policy,
) -> anyhow::Result<Explained> {
    let record = find(number, store)?;
    let at = Timestamp::from_microsecond(record.start_us).context("when the record began")?;
    policy.turn(at);
    let group = record.group.as_deref().and_then(|group| policy.group_named(group));
    let group = group.unwrap_or_else(|| policy.group_of(record.device));
    let asked = if record.no_name == NoName::ListedPort {
        Some(Port { protocol: record.protocol, number: record.peer_port }.to_string())
    } else if record.no_name == NoName::ListedAddress {
        Some(record.peer.to_string())
    } else {
        record.name.clone()
    };
    let today = policy.date(at);
    let by_policy = match asked {
        // A name that is none, as a stranger wrote it, is nowhere listed.
        Some(asked) => {
            policy.why(&asked, group, today).ok().map(|why| ByPolicy::Listed(why.into()))
        }
        None => explained(record.no_name.name())
            .map(|reason| ByPolicy::NoName(policy.why_no_name(reason, group))),
    };
    let same_policy = record.policy.as_deref() == Some(policy.version());
    Ok(Explained { record: Said::of(record, at), same_policy, policy: by_policy })
}

fn find(number: &RecordNumber, store: &Path) -> anyhow::Result<Record> {
    let RecordNumber { boot, sequence } = number;
    let query =
        Query { sequence: Some(*sequence), boot: boot.clone(), limit: Some(1), ..Query::default() };
    let found = Reader::open(store)?.flows(&query)?;
    let Some(record) = found.into_iter().next() else {
        bail!(
            "no record {sequence} is kept in {}; `flows --json` has their numbers",
            store.display()
        )
    };
    Ok(record)
}

impl Said {
    fn of(record: Record, at: Timestamp) -> Self {
        let Record { sensor, boot, sequence, name, categories, list, group, policy, .. } = record;
        Self {
            sensor,
            boot,
            sequence,
            start: at.to_string(),
            verdict: record.verdict.text(),
            name,
            no_name: record.no_name.text(),
            categories,
            list,
            group,
            policy,
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Said { sensor, sequence, start, verdict, name, no_name, .. } = &self.record;
        writeln!(f, "record {sequence} of {sensor}: {verdict}")?;
        writeln!(f, "  began      {start}")?;
        match name {
            Some(name) => writeln!(f, "  name       {name}")?,
            None => writeln!(f, "  name       none: {no_name}")?,
        }
        let Said { categories, list, group, policy, .. } = &self.record;
        let none = || "none".to_owned();
        let categories = if categories.is_empty() { none() } else { categories.join(", ") };
        writeln!(f, "  categories {categories}")?;
        writeln!(f, "  list       {}", list.clone().unwrap_or_else(none))?;
        writeln!(f, "  group      {}", group.clone().unwrap_or_else(none))?;
        writeln!(f, "  policy     {}", policy.clone().unwrap_or_else(none))?;
        let Some(by_policy) = &self.policy else {
            return writeln!(f, "\nnothing in it was judged by the policy");
        };
        let which = if self.same_policy {
            "the policy it was judged by"
        } else {
            "another version of the policy than the one it was judged by"
        };
        writeln!(f, "\nby {which}, then:\n")?;
        match by_policy {
            ByPolicy::Listed(why) => write!(f, "{why}"),
            ByPolicy::NoName(why) => write!(f, "{why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::{NameSource, Verdict};

    use super::*;
    use crate::record::sample::record;
    use crate::store::DayStore;

    const POLICY: &str = "version = \"7\"\ndefault_group = \"student\"\n\
        [[category]]\nid = \"gambling\"\ntitle = \"\"\ncovers = \"\"\n\
        [[list]]\nid = \"ours\"\nfile = \"ours.txt\"\ncategories = [\"gambling\"]\n\
        [[group]]\nname = \"student\"\nblock = [\"gambling\"]\n[[group]]\nname = \"staff\"\n";

    fn nameless(sequence: u64, no_name: NoName) -> Record {
        let group = Some("student".to_owned());
        Record { name: None, name_source: NameSource::None, no_name, group, ..record(sequence) }
    }

    #[test]
    fn a_record_is_explained_by_the_policy_of_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, POLICY).unwrap();
        let ours = "casino.example.org\n192.0.2.0/24\nudp/1194\n";
        std::fs::write(folder.path().join("ours.txt"), ours).unwrap();
        let dir = folder.path().join("store");
        let records = [
            Record { policy: Some("7".to_owned()), group: Some("student".to_owned()), ..record(1) },
            Record { group: Some("staff".to_owned()), ..record(2) },
            nameless(3, NoName::ListedAddress),
            Record { protocol: 17, peer_port: 1194, ..nameless(4, NoName::ListedPort) },
            nameless(5, NoName::Oversize),
            Record { verdict: Verdict::Undecided, ..nameless(6, NoName::NotTls) },
        ];
        let mut store = DayStore::open(&dir, "gw-1").unwrap();
        store.append(&records).unwrap();
        let explain = |number: &str| {
            let policy = Policy::load(&file).unwrap();
            explain(&number.parse().unwrap(), &dir, policy).map(|explained| explained.to_string())
        };
        for (number, expected) in [
            ("1", "casino.example.org: block\n"),
            ("2", "casino.example.org: allow\n"),
            ("3", "192.0.2.80/32: block\n"),
            ("4", "udp/1194: block\n"),
            ("5", "oversize: block\n"),
        ] {
            let said = explain(number).unwrap();
            assert!(said.starts_with(&format!("record {number} of gw-1: block\n")), "{said}");
            let which = if number == "1" { "by the policy it" } else { "by another version" };
            assert!(said.contains(which), "{said}");
            let (_, by_policy) = said.split_once("then:\n\n").unwrap();
            assert!(by_policy.starts_with(expected), "{number}: {by_policy}");
        }
        let said = explain(&format!("{}/6", records[5].boot)).unwrap();
        assert!(said.ends_with("\nnothing in it was judged by the policy\n"), "{said}");
        let error = explain("7").unwrap_err().to_string();
        assert!(error.starts_with("no record 7 is kept in "), "{error}");
        assert!(explain("other-boot/1").is_err());
        assert!("x".parse::<RecordNumber>().is_err());
    }
}
