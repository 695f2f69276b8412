//! `campus-sensor why`: the verdict for a name, a port or an address, for a reason there is no name, or of a record, and
//! what it rests on.

mod recorded;

use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use sensor_ebpf::abi::NoName;
use serde::Serialize;

use self::recorded::RecordNumber;
use super::table::write_json;
use crate::policy::member::{Device, Mac, user};
use crate::policy::{GroupId, Policy, no_name};
use crate::record::display_name;

/// Which name, for whom.
#[derive(Debug, Default, Args)]
pub struct WhyArgs {
    /// Name to explain, port, such as udp/1194, or address or prefix
    #[arg(required_unless_present_any = ["reason", "record"])]
    pub name: Option<String>,
    /// Explain what happens to flows without a name for this reason, such as oversize
    #[arg(long, conflicts_with = "name", value_parser = reason)]
    pub reason: Option<NoName>,
    /// Explain a record by its number, or by its boot and number as records have them: BOOT/NUMBER
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["name", "reason", "group", "at", "device"])]
    pub record: Option<RecordNumber>,
    /// Group to explain it for; the default group without it
    #[arg(long, conflicts_with = "device")]
    pub group: Option<String>,
    /// Moment to explain it for: 2026-11-23T09:30 in the policy's time zone, or with an offset; now without it
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Device whose group to explain it for
    #[arg(long, value_name = "ADDRESS")]
    pub device: Option<IpAddr>,
    /// Who is logged in at the device
    #[arg(long, requires = "device")]
    pub user: Option<String>,
    /// A role of theirs; may be given again
    #[arg(long = "role", value_name = "ROLE", requires = "user")]
    pub roles: Vec<String>,
    /// MAC address of the device
    #[arg(long, requires = "device", value_parser = mac)]
    pub mac: Option<Mac>,
    /// VLAN of the device
    #[arg(long, requires = "device")]
    pub vlan: Option<u16>,
    /// Interface that the device is behind
    #[arg(long, requires = "device")]
    pub interface: Option<String>,
}

fn mac(text: &str) -> Result<Mac, String> {
    text.parse().map_err(|()| "write one such as 00:53:0a:00:00:07".to_owned())
}

/// A reason that can be explained, by its name.
fn reason(text: &str) -> Result<NoName, String> {
    no_name::explained(text).ok_or_else(|| format!("give one of {}", no_name::names().join(", ")))
}

/// Writes the explanation.
pub fn why(
    policy_file: &Path,
    store: &Path,
    args: &WhyArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut policy = Policy::load(policy_file)?;
    if let Some(number) = &args.record {
        return write(&recorded::explain(number, store, policy)?, json, out);
    }
    if let Some(text) = &args.at {
        let Some(at) = policy.moment(text) else {
            bail!("{:?} is no time: write one such as 2026-11-23T09:30", display_name(text))
        };
        policy.turn(at);
    }
    let group = group_of(&policy, args)?;
    if let Some(reason) = args.reason {
        return write(&policy.why_no_name(reason, group), json, out);
    }
    let name = args.name.as_deref().unwrap_or_default();
    let today = jiff::Zoned::now().date();
    let why = policy.why(name, group, today).with_context(|| display_name(name).into_owned())?;
    write(&why, json, out)
}

fn write(why: &(impl Display + Serialize), json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        write_json(why, out)?;
    } else {
        writeln!(out, "{why}")?;
    }
    Ok(())
}

fn group_of(policy: &Policy, args: &WhyArgs) -> anyhow::Result<GroupId> {
    match (&args.group, args.device) {
        (Some(name), _) => {
            let Some(group) = policy.group_named(name) else {
                let names: Vec<&str> = policy.groups().map(|(_, name, _, _)| name).collect();
                bail!("the policy has no group {name:?}; it has {}", names.join(", "))
            };
            Ok(group)
        }
        (None, Some(address)) => {
            let name = |text: &String| user(text).with_context(|| format!("{text:?} is no name"));
            let roles = args.roles.iter().map(name).collect::<anyhow::Result<Vec<_>>>()?;
            let who = args.user.as_ref().map(name).transpose()?;
            let (mac, vlan, interface) = (args.mac, args.vlan, args.interface.as_deref());
            let user = who.as_deref();
            Ok(policy.group_of_device(&Device {
                address,
                user,
                roles: &roles,
                mac,
                vlan,
                interface,
            }))
        }
        (None, None) => Ok(GroupId(0)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::{WhyArgs, why};

    #[derive(Parser, Debug)]
    struct Command {
        #[command(flatten)]
        why: WhyArgs,
    }

    const POLICY: &str = "version = \"7\"\ndefault_group = \"student\"\n\
        [[category]]\nid = \"drugs\"\ntitle = \"\"\ncovers = \"\"\n\
        [[group]]\nname = \"student\"\nblock = [\"drugs\"]\n\
        [[group]]\nname = \"guest\"\nprefixes = [\"10.9.0.0/16\"]\nroles = [\"visitor\"]\n";

    fn run(arguments: &[&str], json: bool) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, POLICY).unwrap();
        let args = Command::try_parse_from(["why"].iter().chain(arguments))
            .map_err(|error| error.to_string())?
            .why;
        let mut out = Vec::new();
        why(&file, folder.path(), &args, json, &mut out).map_err(|error| format!("{error:#}"))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_name_or_a_reason_is_explained() {
        for (arguments, expected) in [
            (&["a.example"][..], "a.example: allow\n"),
            (&["--reason", "oversize"], "oversize: block\n"),
            (&["--reason", "oversize", "--group", "guest"], "oversize: undecided\n"),
            (&["--reason", "oversize", "--device", "10.9.0.1"], "oversize: undecided\n"),
            (&["--reason", "oversize", "--device", "10.8.0.1"], "oversize: block\n"),
            (
                &["--reason=oversize", "--device=10.8.0.1", "--user=x", "--role=Visitor"],
                "oversize: undecided\n",
            ),
            (&["198.51.100.7"], "198.51.100.7/32: allow\n"),
            (&["--reason", "no-sni", "--group", "student"], "no-sni: undecided\n"),
        ] {
            let said = run(arguments, false).unwrap();
            assert!(said.starts_with(expected), "{arguments:?}: {said}");
        }
    }

    #[test]
    fn usage_that_makes_no_question_is_refused() {
        for (arguments, expected) in [
            (&[][..], "required arguments were not provided"),
            (&["a.example", "--reason", "oversize"], "cannot be used with"),
            (&["--reason", "not-tls"], "give one of no-sni, malformed, mid-stream, oversize, "),
            (&["--reason", "oversize", "--group", "staff"], "no group \"staff\"; it has default, "),
        ] {
            let said = run(arguments, false).unwrap_err();
            assert!(said.contains(expected), "{arguments:?}: {said}");
        }
    }

    #[test]
    fn json_has_the_reason() {
        let said: Value =
            serde_json::from_str(&run(&["--reason", "evasion"], true).unwrap()).unwrap();
        let expected = json!({
            "reason": "evasion", "verdict": "block", "group": "default", "policy": "7",
            "because": "the default of a policy without [no_name]",
        });
        assert_eq!(said, expected);
    }
}
