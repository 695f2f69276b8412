//! From the file as written to a configuration that holds: bounds, and what values owe one another.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use sensor_ebpf::abi::{Anomaly, INTERFACES_MAX};
use toml::Spanned;

use super::check_export::exports;
use super::error::Problems;
use super::identity;
use super::knobs::{self, Knob};
use super::raw::{RawConfig, RawFlow, RawGuard, RawInterface, RawKernel, RawNormaliser, RawPolicy};
use super::{
    AttachMode, Config, Control, Flow, Guard, Interface, Kernel, Log, LogLevel, Normaliser, Policy,
    Privacy, Quic, Sensor, Side, Spool, Store,
};
use crate::bundle::key;
use crate::policy::name;

/// Bytes of the longest interface name: `IFNAMSIZ` less the final zero.
const INTERFACE_NAME_MAX: usize = 15;

/// Bytes of the longest sensor name: one DNS label.
pub(super) const SENSOR_NAME_MAX: usize = 63;

/// Bytes of the longest socket path: `sun_path` less the final zero.
const SOCKET_PATH_MAX: usize = 107;

pub(super) const BPFFS_DEFAULT: &str = "/sys/fs/bpf/campus-sensor";
pub(super) const POLICY_DEFAULT: &str = "/etc/campus-sensor/policy.toml";
pub(super) const POLICY_DIR_DEFAULT: &str = "/var/lib/campus-sensor/policy";
pub(super) const STORE_DEFAULT: &str = "/var/lib/campus-sensor";
pub(super) const SPOOL_DIR: &str = "spool";
pub(super) const PSEUDONYM_KEY_DEFAULT: &str = "/etc/campus-sensor/pseudonym.key";
pub(super) const AUDIT_DEFAULT: &str = "/var/lib/campus-sensor/reidentified.jsonl";
pub(super) const SOCKET_DEFAULT: &str = "/run/campus-sensor/control.sock";

/// Checks everything and tells all that is wrong. Where a value is wrong its default stands in, so
/// that the rest can be checked too; the caller throws such a configuration away.
pub(super) fn check(raw: RawConfig, host_name: &str, problems: &mut Problems<'_>) -> Config {
    let store = path(raw.store.dir, "store.dir", STORE_DEFAULT, problems);
    let is_given = |file: &Spanned<PathBuf>| !file.get_ref().as_os_str().is_empty();
    let key_file = raw.spool.key_file.filter(is_given);
    Config {
        sensor: Sensor { name: sensor_name(raw.sensor.name, host_name, problems) },
        interface: interfaces(raw.interface, problems),
        kernel: kernel(raw.kernel, problems),
        normaliser: normaliser(&raw.normaliser, problems),
        quic: Quic {
            read: raw.quic.read.unwrap_or(true),
            initials_per_second: number(
                raw.quic.initials_per_second.as_ref(),
                knobs::QUIC_INITIALS,
                problems,
            ),
            hold_s: number(raw.quic.hold_s.as_ref(), knobs::QUIC_HOLD, problems),
        },
        flow: flow(&raw.flow, problems),
        policy: policy(raw.policy, problems),
        identity: identity::check(raw.identity, problems),
        privacy: Privacy {
            pseudonyms: raw.privacy.pseudonyms.unwrap_or_default(),
            key_file: path(
                raw.privacy.key_file,
                "privacy.key_file",
                PSEUDONYM_KEY_DEFAULT,
                problems,
            ),
            audit_file: path(raw.privacy.audit_file, "privacy.audit_file", AUDIT_DEFAULT, problems),
        },
        spool: Spool {
            dir: path(raw.spool.dir, "spool.dir", store.join(SPOOL_DIR), problems),
            size_mib: number(raw.spool.size_mib.as_ref(), knobs::SPOOL_SIZE, problems),
            days: number(raw.spool.days.as_ref(), knobs::SPOOL_DAYS, problems),
            key_file: key_file.map(|file| path(Some(file), "spool.key_file", "", problems)),
        },
        store: Store {
            dir: store,
            retention_days: number(raw.store.retention_days.as_ref(), knobs::RETENTION, problems),
        },
        export: exports(raw.export, problems),
        control: Control { socket: socket(raw.control.socket, problems) },
        log: Log { level: raw.log.level.unwrap_or(LogLevel::Info) },
    }
}

/// The configured name, or what of the host's name a sensor may be called.
fn sensor_name(
    name: Option<Spanned<String>>,
    host_name: &str,
    problems: &mut Problems<'_>,
) -> String {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let Some(name) = name else {
        let label = host_name.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
        let name: String = label
            .bytes()
            .filter(|byte| fits(*byte))
            .take(SENSOR_NAME_MAX)
            .map(char::from)
            .collect();
        return if name.is_empty() { "sensor".to_owned() } else { name };
    };
    let place = name.span();
    let name = name.into_inner();
    if name.is_empty() || name.len() > SENSOR_NAME_MAX || !name.bytes().all(fits) {
        problems.at(
            &place,
            format!("sensor.name {name:?} is not 1 to {SENSOR_NAME_MAX} of a-z, 0-9 and -"),
            "choose a name like \"gw-1\": records carry it",
        );
    }
    name
}

fn interfaces(raw: Vec<Spanned<RawInterface>>, problems: &mut Problems<'_>) -> Vec<Interface> {
    if raw.is_empty() {
        problems.missing(
            "no interface is named",
            "add an [[interface]] section with name = \"…\" for every LAN-facing interface",
        );
    }
    let mut first_lines = HashMap::new();
    let mut checked = Vec::with_capacity(raw.len());
    for (index, entry) in raw.into_iter().enumerate() {
        let section = entry.span();
        let entry = entry.into_inner();
        if index == INTERFACES_MAX as usize {
            problems.at(
                &section,
                format!("more than {INTERFACES_MAX} interfaces"),
                "watch the bridge ports or VLAN trunks instead of each VLAN",
            );
        }
        let Some(name) = entry.name else {
            problems.at(&section, "an interface without a name", "add name = \"…\" to it");
            continue;
        };
        let place = name.span();
        let name = name.into_inner();
        if let Some(reason) = bad_interface_name(&name) {
            problems.at(
                &place,
                format!("interface.name {name:?} {reason}"),
                "use a name that `ip link` shows",
            );
        }
        let line = problems.line(&place);
        if let Some(first) = first_lines.insert(name.clone(), line) {
            problems.at(
                &place,
                format!("interface {name:?} is named twice, first in line {first}"),
                "remove one of the two sections",
            );
        }
        checked.push(Interface {
            name,
            side: entry.side.unwrap_or(Side::Lan),
            mode: entry.mode.unwrap_or(AttachMode::Auto),
            zone: u16::try_from(number(entry.zone.as_ref(), knobs::ZONE, problems))
                .unwrap_or_default(),
        });
    }
    checked
}

/// The kernel's own rules for interface names, `dev_valid_name`.
fn bad_interface_name(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    if name.len() > INTERFACE_NAME_MAX {
        return Some(format!("is longer than {INTERFACE_NAME_MAX} bytes"));
    }
    let forbidden = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'/' | b':');
    if name == "." || name == ".." || name.bytes().any(forbidden) {
        return Some("is not a name the kernel gives".to_owned());
    }
    None
}

fn kernel(raw: RawKernel, problems: &mut Problems<'_>) -> Kernel {
    Kernel {
        bpffs: bpffs(raw.bpffs, problems),
        flows_max: number(raw.flows_max.as_ref(), knobs::FLOWS, problems),
        names_max: number(raw.names_max.as_ref(), knobs::NAMES, problems),
        domains_max: number(raw.domains_max.as_ref(), knobs::DOMAINS, problems),
        handshake_slots: number(raw.handshake_slots.as_ref(), knobs::HANDSHAKE_SLOTS, problems),
        verdict_ring_kib: ring(raw.verdict_ring_kib.as_ref(), knobs::VERDICT_RING, problems),
        flow_end_ring_kib: ring(raw.flow_end_ring_kib.as_ref(), knobs::FLOW_END_RING, problems),
    }
}

fn normaliser(raw: &RawNormaliser, problems: &mut Problems<'_>) -> Normaliser {
    let mut observe = Vec::new();
    for name in &raw.observe {
        let text = name.get_ref();
        let Some(anomaly) = Anomaly::ALL.iter().find(|anomaly| anomaly.name() == text) else {
            problems.at(
                &name.span(),
                format!("normaliser.observe names {text:?}, which is no anomaly"),
                format!("give some of {}", anomaly_names()),
            );
            continue;
        };
        if observe.contains(anomaly) {
            let message = format!("normaliser.observe names {text:?} twice");
            problems.at(&name.span(), message, "remove one of the two");
            continue;
        }
        observe.push(*anomaly);
    }
    Normaliser { observe }
}

/// All anomalies, for people.
pub(super) fn anomaly_names() -> String {
    Anomaly::ALL.iter().map(|anomaly| anomaly.name()).collect::<Vec<_>>().join(", ")
}

fn flow(raw: &RawFlow, problems: &mut Problems<'_>) -> Flow {
    let flow = Flow {
        idle_timeout_s: number(raw.idle_timeout_s.as_ref(), knobs::IDLE_TIMEOUT, problems),
        tcp_idle_timeout_s: number(
            raw.tcp_idle_timeout_s.as_ref(),
            knobs::TCP_IDLE_TIMEOUT,
            problems,
        ),
        active_timeout_s: number(raw.active_timeout_s.as_ref(), knobs::ACTIVE_TIMEOUT, problems),
        linger_ms: number(raw.linger_ms.as_ref(), knobs::LINGER, problems),
        blocked_hold_s: number(raw.blocked_hold_s.as_ref(), knobs::BLOCKED_HOLD, problems),
        sweep_interval_ms: number(raw.sweep_interval_ms.as_ref(), knobs::SWEEP_INTERVAL, problems),
    };
    let place = raw.tcp_idle_timeout_s.as_ref().or(raw.idle_timeout_s.as_ref()).map(Spanned::span);
    if let Some(place) = place
        && flow.tcp_idle_timeout_s < flow.idle_timeout_s
    {
        problems.at(
            &place,
            format!(
                "flow.tcp_idle_timeout_s ({}) is shorter than flow.idle_timeout_s ({})",
                flow.tcp_idle_timeout_s, flow.idle_timeout_s
            ),
            "an established connection is never dropped sooner than other flows: raise the one or \
             lower the other",
        );
    }
    flow
}

fn policy(raw: RawPolicy, problems: &mut Problems<'_>) -> Policy {
    let mut keys = Vec::new();
    for key in raw.keys {
        let text = key.get_ref();
        // A file is read when it is needed: it may be on its way while the rest is checked.
        if !text.starts_with('/') && !key::is_public_key(text) {
            problems.at(
                &key.span(),
                format!("policy.keys names {text:?}, which is no public key of minisign"),
                "write the second line of its .pub file, RW…, or the absolute path of that file",
            );
        }
        keys.push(key.into_inner());
    }
    Policy {
        file: path(raw.file, "policy.file", POLICY_DEFAULT, problems),
        dir: path(raw.dir, "policy.dir", POLICY_DIR_DEFAULT, problems),
        keys,
        guard: guard(raw.guard, problems),
    }
}

fn guard(raw: RawGuard, problems: &mut Problems<'_>) -> Guard {
    let mut never_block = Vec::new();
    for name in raw.never_block {
        let text = name.get_ref();
        match name::canonical(text) {
            Ok(canonical) => never_block.push(canonical.into_owned()),
            Err(error) => problems.at(
                &name.span(),
                format!("policy.guard.never_block names {text:?}"),
                format!("it {error}"),
            ),
        }
    }
    Guard {
        growth_max_percent: number(raw.growth_max_percent.as_ref(), knobs::GROWTH, problems),
        over_block_max_percent: number(
            raw.over_block_max_percent.as_ref(),
            knobs::OVER_BLOCK,
            problems,
        ),
        never_block,
    }
}

/// A number within its bounds, or its default.
pub(super) fn number(value: Option<&Spanned<i64>>, knob: Knob, problems: &mut Problems<'_>) -> u32 {
    let Some(value) = value else {
        return knob.default;
    };
    match u32::try_from(*value.get_ref()) {
        Ok(number) if (knob.min..=knob.max).contains(&number) => number,
        Ok(_) | Err(_) => {
            let Knob { table, key, unit, min, max, default } = knob;
            problems.at(
                &value.span(),
                format!("{table}.{key} = {} is out of range", value.get_ref()),
                format!("give {min} to {max} ({unit}); the default is {default}"),
            );
            knob.default
        }
    }
}

/// The size of a ring, which the kernel wants to be a power of two.
fn ring(value: Option<&Spanned<i64>>, knob: Knob, problems: &mut Problems<'_>) -> u32 {
    let size_kib = number(value, knob, problems);
    if let Some(value) = value
        && !size_kib.is_power_of_two()
    {
        let above = size_kib.next_power_of_two();
        problems.at(
            &value.span(),
            format!("{}.{} = {size_kib} is not a power of two", knob.table, knob.key),
            format!("give {} or {above} KiB", above / 2),
        );
    }
    size_kib
}

/// An absolute path.
pub(super) fn path(
    value: Option<Spanned<PathBuf>>,
    key: &str,
    default: impl Into<PathBuf>,
    problems: &mut Problems<'_>,
) -> PathBuf {
    let Some(value) = value else {
        return default.into();
    };
    if !value.get_ref().is_absolute() {
        problems.at(
            &value.span(),
            format!("{key} \"{}\" is not an absolute path", value.get_ref().display()),
            "begin it with /: the daemon has no directory of its own",
        );
    }
    value.into_inner()
}

/// A directory of the BPF file system.
fn bpffs(value: Option<Spanned<PathBuf>>, problems: &mut Problems<'_>) -> PathBuf {
    if let Some(value) = &value
        && value.get_ref().as_os_str().as_bytes().contains(&b'.')
    {
        problems.at(
            &value.span(),
            format!("kernel.bpffs \"{}\" has a dot in it", value.get_ref().display()),
            "choose a path without dots: the BPF file system refuses them",
        );
    }
    path(value, "kernel.bpffs", BPFFS_DEFAULT, problems)
}

/// A path a Unix socket can be bound to.
fn socket(value: Option<Spanned<PathBuf>>, problems: &mut Problems<'_>) -> PathBuf {
    if let Some(value) = &value
        && value.get_ref().as_os_str().len() > SOCKET_PATH_MAX
    {
        problems.at(
            &value.span(),
            format!("control.socket is longer than {SOCKET_PATH_MAX} bytes"),
            "choose a shorter path: that is all a Unix socket address holds",
        );
    }
    path(value, "control.socket", SOCKET_DEFAULT, problems)
}
