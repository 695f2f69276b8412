//! A configuration as `check-config` prints it, and what it costs.

use std::fmt::{Display, Write as _};
use std::mem::size_of;
use std::path::Path;

use sensor_ebpf::abi::table::Line;
use sensor_ebpf::abi::{
    ANSWERED_MAX, AnsweredKey, AnsweredName, FlowEntry, LISTED_PREFIXES_MAX, LOGINS_MAX,
    MEMBERS_MAX, MemberKey, StoredName,
};
use sensor_ebpf::flow_table::{self, WAYS};
use sensor_ebpf::slot::Slot;

use super::check::{
    AUDIT_DEFAULT, BPFFS_DEFAULT, POLICY_DEFAULT, POLICY_DIR_DEFAULT, PSEUDONYM_KEY_DEFAULT,
    SOCKET_DEFAULT, STORE_DEFAULT, anomaly_names,
};
use super::knobs::{self, Knob};
use super::{Config, Export, ExportKind, Target};
use crate::engine::Image;
use crate::export::fields::Fields;
use crate::export::protocol;

/// Column comments start in, for lines that leave room.
const COMMENT_COLUMN: usize = 44;

impl Config {
    /// Every key with the value in force, as a file that loads to this very configuration.
    /// Comments tell unit, default and bounds.
    pub fn effective_toml(&self) -> String {
        let mut file = File(String::new());
        file.table("[sensor]");
        file.text("name", &self.sensor.name, "1 to 63 of a-z, 0-9 and -; default: the host's name");
        for interface in &self.interface {
            file.table("[[interface]]");
            file.text("name", &interface.name, "at most 15 bytes; required");
            file.text("side", interface.side.name(), "lan or tap; default lan");
            file.text("mode", interface.mode.name(), "auto, native or generic; default auto");
            file.number(knobs::ZONE, u32::from(interface.zone));
        }
        file.table("[kernel]");
        file.path("bpffs", &self.kernel.bpffs, BPFFS_DEFAULT);
        file.number(knobs::FLOWS, self.kernel.flows_max);
        file.number(knobs::NAMES, self.kernel.names_max);
        file.number(knobs::DOMAINS, self.kernel.domains_max);
        file.number(knobs::HANDSHAKE_SLOTS, self.kernel.handshake_slots);
        file.number(knobs::VERDICT_RING, self.kernel.verdict_ring_kib);
        file.number(knobs::FLOW_END_RING, self.kernel.flow_end_ring_kib);
        file.table("[normaliser]");
        let observe = self.normaliser.observe.iter().map(|anomaly| anomaly.name());
        let counted = format!("counted, not dropped: some of {}; default none", anomaly_names());
        file.line("observe", toml::Value::from(observe.collect::<Vec<_>>()), counted);
        file.table("[quic]");
        file.line("read", self.quic.read, "true or false; default true; with the next start");
        file.number(knobs::QUIC_INITIALS, self.quic.initials_per_second);
        file.number(knobs::QUIC_HOLD, self.quic.hold_s);
        file.table("[flow]");
        file.number(knobs::IDLE_TIMEOUT, self.flow.idle_timeout_s);
        file.number(knobs::TCP_IDLE_TIMEOUT, self.flow.tcp_idle_timeout_s);
        file.number(knobs::ACTIVE_TIMEOUT, self.flow.active_timeout_s);
        file.number(knobs::LINGER, self.flow.linger_ms);
        file.number(knobs::BLOCKED_HOLD, self.flow.blocked_hold_s);
        file.number(knobs::SWEEP_INTERVAL, self.flow.sweep_interval_ms);
        file.table("[policy]");
        let super::Policy { file: policy, dir, keys, guard } = &self.policy;
        file.path("file", policy, POLICY_DEFAULT);
        file.path("dir", dir, POLICY_DIR_DEFAULT);
        let list = |texts: &[String]| toml::Value::from(texts.to_vec());
        file.line("keys", list(keys), "public keys of minisign, or files; default none");
        file.table("[policy.guard]");
        file.number(knobs::GROWTH, guard.growth_max_percent);
        file.number(knobs::OVER_BLOCK, guard.over_block_max_percent);
        file.line(
            "never_block",
            list(&guard.never_block),
            "beside the helplines built in; default none",
        );
        self.identity.write(&mut file);
        file.table("[privacy]");
        let super::Privacy { pseudonyms, key_file, audit_file } = &self.privacy;
        file.text("pseudonyms", pseudonyms.name(), "off, keyed or daily; default off");
        file.path("key_file", key_file, PSEUDONYM_KEY_DEFAULT);
        file.path("audit_file", audit_file, AUDIT_DEFAULT);
        let super::Spool { dir, size_mib, days, key_file } = &self.spool;
        file.table("[spool]");
        file.path("dir", dir, "spool below store.dir");
        file.number(knobs::SPOOL_SIZE, *size_mib);
        file.number(knobs::SPOOL_DAYS, *days);
        let key_file = key_file.as_deref().unwrap_or_else(|| Path::new(""));
        file.path("key_file", key_file, "none: not encrypted");
        file.table("[store]");
        file.path("dir", &self.store.dir, STORE_DEFAULT);
        file.number(knobs::RETENTION, self.store.retention_days);
        for export in &self.export {
            file.export(export);
        }
        file.table("[control]");
        file.path("socket", &self.control.socket, SOCKET_DEFAULT);
        file.table("[log]");
        file.text(
            "level",
            self.log.level.name(),
            "error, warn, info, debug or trace; default info",
        );
        file.0
    }

    /// Bytes of kernel memory each sized map takes, at most: `recorded` grows with use, the others are taken whole
    /// at load. `domains` is what two policies take for a moment while one replaces the other, each with as many names as
    /// there may be; at rest it is one table of the names there are, which [`Image::bytes`] tells.
    ///
    /// A hash map costs its elements, `48 + key + value` bytes each with both rounded up to 8, and
    /// 16 bytes for each of its buckets, of which there are as many as the next power of two. An array
    /// costs its values, a ring its size and three pages. `answered`, `prefixes` and `members` have a
    /// fixed size; the last two take memory as policies list addresses and as people log in. Maps without a size
    /// here cost less than 6 MiB.
    pub fn kernel_memory(&self) -> Vec<(&'static str, u64)> {
        let Self { kernel, .. } = self;
        let buckets = flow_table::buckets(kernel.flows_max);
        vec![
            ("flow_tags", array(buckets + 1, size_of::<Line>())),
            ("flow_entries", array(buckets * WAYS, size_of::<FlowEntry>())),
            ("names", hash_map(kernel.names_max, size_of::<u64>(), size_of::<StoredName>())),
            // One in force, one being filled.
            ("domains", 2 * Image::bytes_max(kernel.domains_max)),
            (
                "answered",
                hash_map(ANSWERED_MAX, size_of::<AnsweredKey>(), size_of::<AnsweredName>()),
            ),
            ("prefixes", 2 * u64::from(LISTED_PREFIXES_MAX) * PREFIX_BYTES_MAX),
            (
                "members",
                hash_map(2 * (MEMBERS_MAX + LOGINS_MAX), size_of::<MemberKey>(), size_of::<u32>()),
            ),
            ("slots", array(kernel.handshake_slots, size_of::<Slot>())),
            ("verdicts", ring(kernel.verdict_ring_kib)),
            ("flow_ends", ring(kernel.flow_end_ring_kib)),
        ]
    }
}

/// Bytes of a prefix in a trie of the kernel: a node of its own, and at worst one where its way parts from others'.
const PREFIX_BYTES_MAX: u64 = 2 * 96;

/// Bytes of a preallocated hash map: `htab_map_mem_usage` of the kernel, less a few per CPU.
fn hash_map(entries: u32, key: usize, value: usize) -> u64 {
    const ELEMENT_HEAD: usize = 48;
    const BUCKET: u64 = 16;
    let element = ELEMENT_HEAD + key.next_multiple_of(8) + value.next_multiple_of(8);
    let entries = u64::from(entries);
    entries * element as u64 + entries.next_power_of_two() * BUCKET
}

/// Bytes of an array, less its head.
fn array(entries: u32, value: usize) -> u64 {
    u64::from(entries) * value.next_multiple_of(8) as u64
}

/// Bytes of a ring: its data and three pages, of 4 KiB where we run.
fn ring(size_kib: u32) -> u64 {
    u64::from(size_kib) * 1024 + 3 * 4096
}

/// A file being written.
pub(super) struct File(String);

impl File {
    pub(super) fn table(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(name);
        self.0.push('\n');
    }

    pub(super) fn line(&mut self, key: &str, value: impl Display, comment: impl Display) {
        let line = format!("{key} = {value}");
        writeln!(self.0, "{line:<COMMENT_COLUMN$} # {comment}")
            .expect("a String takes all that is written");
    }

    pub(super) fn text(&mut self, key: &str, value: &str, comment: &str) {
        self.line(key, toml::Value::from(value), comment);
    }

    pub(super) fn path(&mut self, key: &str, value: &Path, default: &str) {
        // Paths came from TOML, which is UTF-8.
        let value = toml::Value::from(value.to_string_lossy().into_owned());
        self.line(key, value, format_args!("default {default}"));
    }

    /// An export, with the sections that its kind and target have.
    fn export(&mut self, export: &Export) {
        let list = |texts: Vec<String>| toml::Value::from(texts);
        let Export { name, kind, target, fields, enterprise, filter, rotate, ipfix } = export;
        self.table("[[export]]");
        self.text("name", name, "1 to 63 of a-z, 0-9 and -; required");
        self.text("kind", kind.name(), "eve, ipfix or syslog; required");
        self.text("target", &target.to_string(), "a path, tcp://HOST:PORT or udp://HOST:PORT");
        if *fields != Fields::ALL {
            let names = fields.iter().map(|field| field.name().to_owned()).collect();
            self.line("fields", list(names), "fields of a record; default all");
        }
        if *kind != ExportKind::Eve {
            self.number(knobs::ENTERPRISE, *enterprise);
        }
        self.table("[export.filter]");
        let verdicts = filter.verdicts.iter().map(|verdict| verdict.name().to_owned()).collect();
        self.line("verdicts", list(verdicts), "undecided, allow, alert, block; default any");
        let protocols = filter.protocols.iter().map(|one| protocol::name(*one).into_owned());
        self.line("protocols", list(protocols.collect()), "IP protocols; default any");
        self.line("groups", list(filter.groups.clone()), "groups of the policy; default any");
        let categories = list(filter.categories.clone());
        self.line("categories", categories, "categories of the policy; default any");
        if let Target::File(_) = target {
            self.table("[export.rotate]");
            self.number(knobs::ROTATE_SIZE, rotate.size_mib);
            self.number(knobs::ROTATE_HOURS, rotate.hours);
            self.number(knobs::ROTATE_KEEP, rotate.keep);
        }
        if *kind == ExportKind::Ipfix {
            self.table("[export.ipfix]");
            self.number(knobs::DOMAIN, ipfix.domain);
            let comment = "uniflow or biflow; default uniflow";
            self.text("directions", ipfix.directions.name(), comment);
        }
    }

    pub(super) fn number(&mut self, knob: Knob, value: u32) {
        let Knob { key, unit, default, min, max, .. } = knob;
        self.line(key, value, format_args!("{unit}; default {default}, {min}..={max}"));
    }
}
