//! What one direction of an interface has seen, and why the interface itself counts otherwise.

use std::collections::BTreeMap;
use std::fmt;

use sensor_ebpf::abi::{Accounting, Anomaly, Direction, Happening, NoName, Volume};
use serde::{Deserialize, Serialize};

use crate::kernel::counters::Totals;

/// One direction of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionStatus {
    /// Packets seen.
    pub packets: u64,
    /// Wire bytes seen.
    pub bytes: u64,
    /// Packets and bytes by where they went, those that are not zero.
    pub accounted: BTreeMap<String, [u64; 2]>,
    /// Happenings that are not zero.
    pub happened: BTreeMap<String, u64>,
    /// Hellos, flows and packets that gave no name, by every reason.
    pub no_name: BTreeMap<String, u64>,
    /// Segments no correct receiver would take, dropped or not, by every anomaly.
    pub anomalies: BTreeMap<String, u64>,
    /// Everything seen went somewhere.
    pub conserved: bool,
    /// Packets the interface had in the last seconds, and the program saw none; 0 where it sees.
    pub unseen: u64,
    /// What the interface itself counts.
    #[serde(default)]
    pub on_interface: OnInterface,
}

/// One direction of an interface since the daemon began to look, as it was a second ago.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnInterface {
    /// Packets by the kernel's count.
    pub packets: u64,
    /// Bytes by the kernel's count, in which drivers do not agree.
    pub bytes: u64,
    /// Packets and bytes this is more than the program has seen, or less, by cause: `joined-frames`, `blocked-dropped`,
    /// `sent-back`, `queue-dropped`, `queued`, `link-header`, `frame-check-sequence`, `unexplained`.
    pub more: BTreeMap<String, [i64; 2]>,
}

impl fmt::Display for OnInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        let Self { packets, bytes, more } = self;
        let equal = if more.is_empty() { ", as seen" } else { ", other than seen for" };
        writeln!(f, "    interface {packets} packets, {bytes} bytes{equal}")?;
        for (cause, [packets, bytes]) in more {
            writeln!(f, "      {cause:22}{packets:>+12} packets {bytes:>+16} bytes")?;
        }
        Ok(())
    }
}

impl From<&Totals> for DirectionStatus {
    fn from(totals: &Totals) -> Self {
        let Volume { packets, bytes } = totals.seen();
        let accounted = Accounting::ALL
            .iter()
            .map(|accounting| (accounting.name().to_owned(), totals.accounted(*accounting)))
            .filter(|(_, volume)| volume.packets != 0)
            .map(|(name, volume)| (name, [volume.packets, volume.bytes]))
            .collect();
        let happened = Happening::ALL
            .iter()
            .map(|happening| (happening.name().to_owned(), totals.happened(*happening)))
            .filter(|(_, count)| *count != 0)
            .collect();
        let no_name = NoName::ALL
            .iter()
            .filter(|reason| **reason != NoName::Named)
            .map(|reason| (reason.name().to_owned(), totals.no_name(*reason)))
            .collect();
        let anomalies = Anomaly::ALL
            .iter()
            .map(|anomaly| (anomaly.name().to_owned(), totals.anomaly(*anomaly)))
            .collect();
        let conserved = totals.is_conserved();
        Self {
            packets,
            bytes,
            accounted,
            happened,
            no_name,
            anomalies,
            conserved,
            ..Self::default()
        }
    }
}

impl DirectionStatus {
    /// Writes it as `status` does.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, direction: Direction) -> fmt::Result {
        let conserved = if self.conserved { "all accounted for" } else { "NOT ALL ACCOUNTED FOR" };
        writeln!(
            f,
            "  {:8}{} packets, {} bytes, {conserved}",
            direction.name(),
            self.packets,
            self.bytes
        )?;
        if self.unseen > 0 {
            writeln!(
                f,
                "    BLIND   {} packets passed in ten seconds, and none was seen",
                self.unseen
            )?;
        }
        for (name, [packets, bytes]) in &self.accounted {
            writeln!(f, "    {name:24}{packets:>12} packets {bytes:>16} bytes")?;
        }
        for (name, count) in &self.happened {
            writeln!(f, "    {name:24}{count:>12}")?;
        }
        write_counts(f, "no name", &self.no_name)?;
        write_counts(f, "anomalies", &self.anomalies)?;
        write!(f, "{}", self.on_interface)
    }
}

/// The counts that are not zero, below a heading.
fn write_counts(
    f: &mut fmt::Formatter<'_>,
    heading: &str,
    counts: &BTreeMap<String, u64>,
) -> fmt::Result {
    let mut counts = counts.iter().filter(|(_, count)| **count != 0).peekable();
    if counts.peek().is_some() {
        writeln!(f, "    {heading}")?;
    }
    for (name, count) in counts {
        writeln!(f, "      {name:22}{count:>12}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows a direction as `status` does.
    struct Shown(DirectionStatus);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.write(f, Direction::Ingress)
        }
    }

    fn totals(no_name: &[(NoName, u64)], anomalies: &[(Anomaly, u64)]) -> Totals {
        let mut totals = Totals::default();
        for (reason, count) in no_name {
            totals.0.no_name[*reason as usize] = *count;
        }
        for (anomaly, count) in anomalies {
            totals.0.anomalies[*anomaly as usize] = *count;
        }
        totals
    }

    #[test]
    fn people_are_shown_the_reasons_that_occurred() {
        let head = "  ingress 0 packets, 0 bytes, all accounted for\n";
        for (no_name, anomalies, expected) in [
            (&[][..], &[][..], ""),
            (
                &[(NoName::ExtensionHeaders, 7), (NoName::NoSni, 12)],
                &[],
                "    no name\n      \
                       extension-headers                7\n      \
                       no-sni                          12\n",
            ),
            (
                &[(NoName::Oversize, 1)],
                &[(Anomaly::Md5, 1_000_000)],
                "    no name\n      \
                       oversize                         1\n    \
                     anomalies\n      \
                       md5                        1000000\n",
            ),
        ] {
            let shown = Shown((&totals(no_name, anomalies)).into()).to_string();
            assert_eq!(shown, format!("{head}{expected}"));
        }
    }

    #[test]
    fn json_has_every_reason_and_anomaly() {
        let totals = totals(&[(NoName::Evasion, 3)], &[(Anomaly::Urgent, 4)]);
        let json = serde_json::to_value(DirectionStatus::from(&totals)).unwrap();
        for reason in NoName::ALL.iter().filter(|reason| **reason != NoName::Named) {
            let expected = if *reason == NoName::Evasion { 3 } else { 0 };
            assert_eq!(json["no_name"][reason.name()], expected, "{}", reason.name());
        }
        assert!(json["no_name"].get("named").is_none());
        for anomaly in Anomaly::ALL {
            let expected = if *anomaly == Anomaly::Urgent { 4 } else { 0 };
            assert_eq!(json["anomalies"][anomaly.name()], expected, "{}", anomaly.name());
        }
    }
}
