//! `[dns]`: how queries are answered at the gateway.
//!
//! A group's own table decides, else the policy's, else the default. Of the last two, groups that block
//! no category take only what blocked names are answered with: nobody there goes round a resolver to get
//! at something.

use std::net::{Ipv4Addr, Ipv6Addr};

use sensor_ebpf::abi::{BlockedAnswer, DnsRules, DomainEntry, HttpsRecords};
use sensor_ebpf::dns::CANARIES;
use serde::Deserialize;
use toml::Spanned;

use super::Policy;
use super::error::{Fault, PolicyError};
use super::source::Source;

/// The table as it is written. What it leaves out has its default.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDns {
    #[serde(default)]
    answer: RawAnswer,
    sinkhole4: Option<Ipv4Addr>,
    sinkhole6: Option<Ipv6Addr>,
    #[serde(default)]
    https_records: RawHttpsRecords,
    #[serde(default = "yes")]
    canaries: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAnswer {
    #[default]
    NxDomain,
    NoData,
    Sinkhole,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawHttpsRecords {
    #[default]
    Keep,
    NoData,
    Rename,
}

const fn yes() -> bool {
    true
}

/// The policy's own table, or the default.
pub(crate) fn of_policy(
    source: &Source,
    raw: Option<&Spanned<RawDns>>,
) -> Result<DnsRules, PolicyError> {
    raw.map_or(Ok(DnsRules { canaries: 1, ..DnsRules::default() }), |raw| read(source, raw))
}

/// A table as the kernel takes it.
pub(crate) fn read(source: &Source, raw: &Spanned<RawDns>) -> Result<DnsRules, PolicyError> {
    let fail = |fault| Err(source.fail(&raw.span(), fault));
    let RawDns { answer, sinkhole4, sinkhole6, https_records, canaries } = *raw.get_ref();
    let has_address = sinkhole4.is_some() || sinkhole6.is_some();
    if has_address != (answer == RawAnswer::Sinkhole) {
        return fail(if has_address { Fault::SinkholeUnused } else { Fault::NoSinkhole });
    }
    if sinkhole4.is_some_and(|v4| v4.is_unspecified())
        || sinkhole6.is_some_and(|v6| v6.is_unspecified())
    {
        return fail(Fault::SinkholeUnspecified);
    }
    Ok(DnsRules {
        answer: match answer {
            RawAnswer::NxDomain => BlockedAnswer::NxDomain,
            RawAnswer::NoData => BlockedAnswer::NoData,
            RawAnswer::Sinkhole => BlockedAnswer::Sinkhole,
        } as u8,
        https_records: match https_records {
            RawHttpsRecords::Keep => HttpsRecords::Keep,
            RawHttpsRecords::NoData => HttpsRecords::NoData,
            RawHttpsRecords::Rename => HttpsRecords::Rename,
        } as u8,
        canaries: u8::from(canaries),
        reserved: 0,
        sinkhole4: sinkhole4.map_or([0; 4], |v4| v4.octets()),
        sinkhole6: sinkhole6.map_or([0; 16], |v6| v6.octets()),
    })
}

impl Policy {
    /// The canaries with their entries: what is said of them otherwise stays as it is.
    pub fn canaries(&self) -> impl Iterator<Item = (&str, DomainEntry)> + Clone {
        CANARIES.into_iter().map(|name| {
            let nothing = DomainEntry::default();
            let listed = self.covering_first(name).map_or(nothing, |listed| listed.entry);
            (name, DomainEntry { canary: 1, ..listed })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_error, load};
    use super::*;

    fn rules(table: &str, group: &str) -> DnsRules {
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
            dns = { answer = "nodata", canaries = false }
        "#;
        let text = format!("version = \"1\"\ndefault_group = \"student\"\n{table}\n{groups}");
        let policy = load(&[("policy.toml", &text)]).unwrap();
        policy.masks(policy.group_named(group).unwrap()).dns
    }

    #[test]
    fn a_groups_own_table_decides_then_the_policys_then_the_default() {
        let sinkhole = "[dns]\nanswer = \"sinkhole\"\nsinkhole4 = \"192.0.2.53\"\n\
            https_records = \"nodata\"";
        let default = DnsRules { canaries: 1, ..DnsRules::default() };
        let table = DnsRules {
            answer: BlockedAnswer::Sinkhole as u8,
            https_records: HttpsRecords::NoData as u8,
            sinkhole4: [192, 0, 2, 53],
            ..default
        };
        let nothing = DnsRules::default();
        // Their answers are the policy's all the same: rules for all groups may block a name.
        let staff = DnsRules { https_records: 0, canaries: 0, ..table };
        let own = DnsRules { answer: BlockedAnswer::NoData as u8, ..nothing };
        for (text, group, expected) in [
            ("", "default", default),
            ("", "student", default),
            ("", "staff", nothing),
            ("", "lab", own),
            (sinkhole, "student", table),
            (sinkhole, "staff", staff),
            (sinkhole, "lab", own),
        ] {
            assert_eq!(rules(text, group), expected, "{group} with {text}");
        }
    }

    #[test]
    fn canaries_keep_what_is_said_of_them() {
        let policy = "version = \"1\"\ndefault_group = \"all\"\n\
            group = [{ name = \"all\" }]\n\
            block = [{ name = \"icloud.com\", reason = \"x\" }]";
        let policy = load(&[("policy.toml", policy)]).unwrap();
        let found: Vec<_> = policy
            .canaries()
            .map(|(name, entry)| (name, entry.canary, policy.list_name(entry.list)))
            .collect();
        assert_eq!(
            found,
            [
                ("use-application-dns.net", 1, "none"),
                ("mask.icloud.com", 1, "local-block"),
                ("mask-h2.icloud.com", 1, "local-block"),
            ]
        );
    }

    #[test]
    fn faults_of_answers() {
        let group = "\n[[group]]\nname = \"staff\"";
        for (table, expected) in [
            (
                "[dns]\nanswer = \"sinkhole\"",
                "policy.toml:3: answer `sinkhole` has no address: write sinkhole4 or sinkhole6",
            ),
            (
                "[dns]\nsinkhole4 = \"192.0.2.1\"",
                "policy.toml:3: a sinkhole is given and not used: write answer = \"sinkhole\"",
            ),
            (
                "[dns]\nanswer = \"sinkhole\"\nsinkhole6 = \"::\"",
                "policy.toml:3: a sinkhole is the unspecified address: \
                    write one that a machine has, or another answer",
            ),
            (
                "[dns]\nanswer = \"refused\"",
                "policy.toml:4: unknown variant `refused`, expected one of `nxdomain`, `nodata`, \
                    `sinkhole`: rules/README.md shows the grammar",
            ),
        ] {
            check_error(&format!("{table}{group}"), expected);
        }
    }
}
