//! `[no_name]`: what happens to a flow whose name could not be read, by the reason it has none.
//!
//! A group's own table decides, else the policy's, else the default. The last two are for groups that
//! block a category: where nothing is blocked, nobody has a reason to hide a name.

use std::fmt;

use sensor_ebpf::abi::{GroupMasks, NO_NAMES, NoName, Verdict};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::{Fault, Place, PolicyError, shown};
use super::source::Source;
use super::{GroupId, Policy};

/// Reasons that can be judged. The others say that there was nothing to judge yet, are true of most
/// traffic, or are the sensor's own doing.
pub const JUDGED: [NoName; 25] = [
    NoName::NoSni,
    NoName::Malformed,
    NoName::MidStream,
    NoName::Oversize,
    NoName::Evasion,
    NoName::SlotFull,
    NoName::SlotShare,
    NoName::SlotLost,
    NoName::Fragment,
    NoName::ExtensionHeaders,
    NoName::MptcpJoin,
    NoName::NoQuery,
    NoName::DnsTruncated,
    NoName::DnsMalformed,
    NoName::DnsCompression,
    NoName::Http2,
    NoName::HttpFraming,
    NoName::QuicVersion,
    NoName::QuicNegotiation,
    NoName::QuicKeys,
    NoName::QuicBudget,
    NoName::QuicHeld,
    NoName::QuicUnsupported,
    NoName::Gquic,
    NoName::Dtls,
];

/// Reasons that are blocked where a policy has no `[no_name]`: what no known browser does by itself,
/// and what hides a name from the sensor. `rules/policy.toml` says why of each.
const BLOCKED_BY_DEFAULT: [NoName; 15] = [
    NoName::Oversize,
    NoName::Evasion,
    NoName::SlotShare,
    NoName::SlotLost,
    NoName::Fragment,
    NoName::ExtensionHeaders,
    NoName::MptcpJoin,
    NoName::HttpFraming,
    // Browsers go on with TCP, where the name is read.
    NoName::QuicVersion,
    NoName::QuicNegotiation,
    NoName::QuicKeys,
    NoName::QuicBudget,
    NoName::QuicHeld,
    NoName::QuicUnsupported,
    NoName::Gquic,
];

// Each reason is a bit of a mask.
const _: () = assert!(NO_NAMES <= u64::BITS as usize);

/// The table as it is written. Both lists are required: one left out by mistake would block nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawNoName {
    block: Vec<Spanned<String>>,
    alert: Vec<Spanned<String>>,
}

/// What is said of the reasons, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoNameRules {
    block: u64,
    alert: u64,
    origin: Origin,
}

/// Where rules were written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// `[group.no_name]`, which begins here.
    Group(Place),
    /// `[no_name]`, which begins here.
    Policy(Place),
    /// Nowhere: the default.
    Default,
    /// Nowhere, and the group blocks no category.
    NothingBlocked,
}

impl NoNameRules {
    /// Rules of a group without a table of its own that blocks nothing.
    pub(crate) const NONE: Self = Self { block: 0, alert: 0, origin: Origin::NothingBlocked };

    /// The policy's own table, or the default.
    pub(crate) fn of_policy(
        source: &Source,
        raw: Option<&Spanned<RawNoName>>,
    ) -> Result<Self, PolicyError> {
        let Some(raw) = raw else {
            let block = BLOCKED_BY_DEFAULT.iter().fold(0, |mask, reason| mask | bit(*reason));
            return Ok(Self { block, alert: 0, origin: Origin::Default });
        };
        Self::read(source, raw.get_ref(), Origin::Policy(source.place(&raw.span())))
    }

    /// A group's own table.
    pub(crate) fn of_group(source: &Source, raw: &Spanned<RawNoName>) -> Result<Self, PolicyError> {
        Self::read(source, raw.get_ref(), Origin::Group(source.place(&raw.span())))
    }

    /// Blocks a reason that another rule of the group is about.
    pub(crate) const fn block(masks: GroupMasks, reason: NoName) -> GroupMasks {
        GroupMasks { block_no_name: masks.block_no_name | bit(reason), ..masks }
    }

    /// These rules as masks, beside those of categories.
    pub(crate) fn with(&self, masks: GroupMasks) -> GroupMasks {
        GroupMasks { block_no_name: self.block, alert_no_name: self.alert, ..masks }
    }

    fn read(source: &Source, raw: &RawNoName, origin: Origin) -> Result<Self, PolicyError> {
        let mut named = 0;
        let mut mask = |reasons: &[Spanned<String>]| {
            let mut mask = 0;
            for text in reasons {
                let fail = |fault| Err(source.fail(&text.span(), fault));
                let Some(reason) = judged(text.get_ref()) else {
                    let (id, known) = (shown(text.get_ref()), names().join(", "));
                    return fail(Fault::UnknownReason { id, known });
                };
                if named & bit(reason) != 0 {
                    return fail(Fault::ReasonTwice(reason.name()));
                }
                named |= bit(reason);
                mask |= bit(reason);
            }
            Ok(mask)
        };
        Ok(Self { block: mask(&raw.block)?, alert: mask(&raw.alert)?, origin })
    }
}

/// The reason of a name, if it can be judged.
pub fn judged(name: &str) -> Option<NoName> {
    JUDGED.into_iter().find(|reason| reason.name() == name)
}

/// The reason of a name, if there is something to explain about it: [`NoName::QuicRefused`] is a rule of its own.
pub fn explained(name: &str) -> Option<NoName> {
    judged(name).or((name == NoName::QuicRefused.name()).then_some(NoName::QuicRefused))
}

/// Names of the reasons that can be judged.
pub fn names() -> Vec<&'static str> {
    JUDGED.iter().map(|reason| reason.name()).collect()
}

const fn bit(reason: NoName) -> u64 {
    1 << reason as u8
}

/// Why a flow without a name is judged as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WhyNoName {
    /// The name of the [`NoName`] asked for.
    pub reason: &'static str,
    /// The name of its [`Verdict`].
    pub verdict: &'static str,
    /// Group it was judged for.
    pub group: String,
    /// Version of the policy.
    pub policy: String,
    /// What decided, and where it is written.
    pub because: String,
}

impl Policy {
    /// Decides a flow by the reason it has no name: what the kernel says of it, said in user space.
    pub fn decide_no_name(&self, reason: NoName, group: GroupId) -> Verdict {
        let masks = self.masks(group);
        if masks.block_no_name & bit(reason) != 0 {
            Verdict::Block
        } else if masks.alert_no_name & bit(reason) != 0 {
            Verdict::Alert
        } else {
            Verdict::Undecided
        }
    }

    /// Explains that decision.
    pub fn why_no_name(&self, reason: NoName, group: GroupId) -> WhyNoName {
        let verdict = self.decide_no_name(reason, group);
        let table = match self.group(group).map(|group| &group.no_name.origin) {
            _ if reason == NoName::QuicRefused => "the group's `quic`".to_owned(),
            Some(Origin::Group(place)) => format!("[group.no_name] {place}"),
            Some(Origin::Policy(place)) => format!("[no_name] {place}"),
            Some(Origin::Default) => "the default of a policy without [no_name]".to_owned(),
            Some(Origin::NothingBlocked) | None => "the group blocks no category".to_owned(),
        };
        let passes = if verdict == Verdict::Undecided { ": it passes, and is counted" } else { "" };
        WhyNoName {
            reason: reason.name(),
            verdict: verdict.name(),
            group: self.group_name(group).to_owned(),
            policy: self.version.clone(),
            because: table + passes,
        }
    }
}

impl fmt::Display for WhyNoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.reason, self.verdict)?;
        writeln!(f, "  group      {}", self.group)?;
        writeln!(f, "  policy     {}", self.policy)?;
        writeln!(f, "  because    {}", self.because)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_error, load};
    use super::*;

    /// A policy of four groups, with `[no_name]` as given.
    fn policy(table: &str) -> Policy {
        let groups = r#"
            [[category]]
            id = "drugs"
            title = ""
            covers = ""
            [[group]]
            name = "student"
            block = ["drugs"]
            [[group]]
            name = "staff"
            alert = ["drugs"]
            [[group]]
            name = "lab"
            block = ["drugs"]
            [group.no_name]
            block = ["malformed"]
            alert = ["oversize"]
            [[group]]
            name = "guest"
            no_name = { block = ["mid-stream"], alert = [] }
        "#;
        let text = format!("version = \"1\"\ndefault_group = \"student\"\n{table}\n{groups}");
        load(&[("policy.toml", &text)]).unwrap()
    }

    fn named(mask: u64) -> String {
        let reasons = NoName::ALL.iter().filter(|reason| mask & bit(**reason) != 0);
        reasons.map(|reason| reason.name()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_groups_own_table_decides_then_the_policys_then_the_default() {
        let default = "oversize evasion slot-share slot-lost fragment extension-headers mptcp-join \
                       http-framing quic-version quic-negotiation quic-keys quic-budget \
                       quic-held quic-unsupported gquic";
        let table = "[no_name]\nblock = [\"slot-full\"]\nalert = [\"no-sni\", \"evasion\"]";
        let nothing = "[no_name]\nblock = []\nalert = []";
        for (table, group, block, alert) in [
            ("", "default", default, ""),
            ("", "student", default, ""),
            ("", "staff", "", ""),
            ("", "lab", "malformed", "oversize"),
            ("", "guest", "mid-stream", ""),
            (table, "default", "slot-full", "no-sni evasion"),
            (table, "student", "slot-full", "no-sni evasion"),
            (table, "staff", "", ""),
            (table, "lab", "malformed", "oversize"),
            (nothing, "student", "", ""),
            (nothing, "guest", "mid-stream", ""),
        ] {
            let policy = policy(table);
            let masks = policy.masks(policy.group_named(group).unwrap());
            let found = (named(masks.block_no_name), named(masks.alert_no_name));
            assert_eq!(found, (block.to_owned(), alert.to_owned()), "{group} with {table:?}");
        }
    }

    #[test]
    fn every_reason_is_decided_by_its_masks() {
        let every = names().join("\", \"");
        for (table, reason, expected) in [
            (format!("[no_name]\nblock = [\"{every}\"]\nalert = []"), None, "block"),
            (format!("[no_name]\nblock = []\nalert = [\"{every}\"]"), None, "alert"),
            ("[no_name]\nblock = []\nalert = []".to_owned(), None, "undecided"),
            (String::new(), Some(NoName::Named), "undecided"),
            (String::new(), Some(NoName::Truncated), "undecided"),
        ] {
            let policy = policy(&table);
            let student = policy.group_named("student").unwrap();
            for reason in reason.map_or(JUDGED.to_vec(), |reason| vec![reason]) {
                let verdict = policy.decide_no_name(reason, student);
                assert_eq!(verdict.name(), expected, "{} with {table}", reason.name());
            }
        }
    }

    #[test]
    fn explanations_name_table_and_line() {
        let table = "[no_name]\nblock = [\"evasion\"]\nalert = []";
        for (table, group, expected) in [
            (table, "student", "evasion: block … because    [no_name] policy.toml:3"),
            (
                table,
                "lab",
                "evasion: undecided … because    [group.no_name] policy.toml:20: \
                    it passes, and is counted",
            ),
            (
                table,
                "staff",
                "evasion: undecided … because    the group blocks no category: \
                    it passes, and is counted",
            ),
            (
                "",
                "default",
                "evasion: block … because    the default of a policy without [no_name]",
            ),
        ] {
            let policy = policy(table);
            let group = policy.group_named(group).unwrap();
            let folder = format!("{}/", policy.lists()[0].file.parent().unwrap().display());
            let said = policy.why_no_name(NoName::Evasion, group).to_string().replace(&folder, "");
            let lines: Vec<&str> = said.lines().map(str::trim).collect();
            assert_eq!(format!("{} … {}", lines[0], lines[3]), expected);
        }
    }

    #[test]
    fn faults_of_reasons() {
        let known = "no-sni, malformed, mid-stream, oversize, evasion, slot-full, slot-share, \
            slot-lost, fragment, extension-headers, mptcp-join, no-query, dns-truncated, \
            dns-malformed, dns-compression, http2, http-framing, quic-version, quic-negotiation, \
            quic-keys, quic-budget, quic-held, quic-unsupported, gquic, dtls";
        let group = "\n[[group]]\nname = \"staff\"";
        for wrong in ["not-tls", "truncated", "named", "no-host", "Oversize", ""] {
            check_error(
                &format!("[no_name]\nblock = [\n\"{wrong}\"]\nalert = []{group}"),
                &format!(
                    "policy.toml:5: `{wrong}` is no reason to judge a flow without a name by: \
                        write one of {known}"
                ),
            );
        }
        let twice =
            "policy.toml:5: reason `evasion` is named twice: keep it in one of block, alert";
        check_error(
            &format!("[no_name]\nblock = [\"evasion\"]\nalert = [\"evasion\"]{group}"),
            twice,
        );
        check_error(
            &format!("[no_name]\nalert = []\nblock = [\"evasion\", \"evasion\"]{group}"),
            twice,
        );
        check_error(
            &format!("{group}\n[group.no_name]\nblock = [\"fragments\"]\nalert = []"),
            &format!(
                "policy.toml:7: `fragments` is no reason to judge a flow without a name by: \
                    write one of {known}"
            ),
        );
        check_error(
            &format!("[no_name]\nalert = []{group}"),
            "policy.toml:3: missing field `block`: rules/README.md shows the grammar",
        );
        check_error(
            &format!("[no_name]\nblock = []\nalert = []\nallow = []{group}"),
            "policy.toml:6: unknown field `allow`, expected `block` or `alert`: \
                rules/README.md shows the grammar",
        );
    }
}
