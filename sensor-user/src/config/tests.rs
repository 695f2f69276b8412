//! Files that load, and what is said about files that do not.

use std::path::Path;

use sensor_ebpf::abi::Anomaly;

use super::knobs::KNOBS;
use super::{Config, LogLevel, Side};

const MINIMAL: &str = "[[interface]]\nname = \"lan0\"\n";

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("sensor.toml"), "Gate_Way.college.example\n")
        .unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    Config::parse(text, Path::new("sensor.toml"), "gw").unwrap_err().to_string()
}

#[test]
fn defaults_fill_a_minimal_file() {
    insta::assert_snapshot!(parse(MINIMAL).effective_toml());
}

#[test]
fn the_effective_file_loads_to_the_same_configuration() {
    let odd = "[sensor]\nname = \"gw-1\"\n[[interface]]\nname = \"a\\\"b\"\nside = \"tap\"\nzone = 7\n\
               [[interface]]\nname = \"lan1\"\nmode = \"native\"\n[flow]\nlinger_ms = 0\n\
               [normaliser]\nobserve = [\"urgent\", \"md5\"]\n\
               [policy]\nkeys = [\"/etc/a.pub\"]\n[policy.guard]\nnever_block = [\"A.example.\"]\n\
               [identity]\ndomains = [\"COLLEGE\"]\nneighbours = true\n[identity.radius]\nlisten = \"[::1]:1813\"\n\
               clients = [\"10.0.0.0/24\", \"::1\"]\n\
               [identity.user_id]\nlisten = \"127.0.0.1:5006\"\nclients = [\"127.0.0.1\"]\n\
               [identity.leases]\nkea = [\"/var/a.csv\", \"/var/b.csv\"]\n\
               [store]\ndir = \"/srv/a b/é\"\n[log]\nlevel = \"warn\"\n";
    for config in [parse(MINIMAL), parse(odd)] {
        assert_eq!(parse(&config.effective_toml()), config);
    }
    let config = parse(odd);
    assert_eq!(config.interface[0].side, Side::Tap);
    assert_eq!(config.interface[0].zone, 7);
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.policy.guard.never_block, ["a.example"]);
}

#[test]
fn json_has_the_keys_of_the_file() {
    let json = serde_json::to_value(parse(MINIMAL)).unwrap();
    assert_eq!(json["interface"][0]["side"], "lan");
    assert_eq!(json["normaliser"]["observe"], serde_json::json!([]));
    assert_eq!(json["flow"]["tcp_idle_timeout_s"], 600);
    assert_eq!(json["kernel"]["bpffs"], "/sys/fs/bpf/campus-sensor");
}

#[test]
fn memory_follows_the_sizes() {
    let memory = parse(MINIMAL).kernel_memory();
    insta::assert_debug_snapshot!(memory);
    let larger = format!("{MINIMAL}[kernel]\nflows_max = 1048576\n");
    let larger = parse(&larger).kernel_memory();
    // The last bucket may not be full.
    assert!(larger[1].1.abs_diff(4 * memory[1].1) < 16_384, "{larger:?}");
}

#[test]
fn numbers_hold_at_their_bounds() {
    // Those of a section that may be there several times have tests of their own.
    let once = |table: &str| table != "interface" && !table.starts_with("export");
    for knob in KNOBS.iter().filter(|knob| once(knob.table)) {
        for value in [knob.min, knob.max, knob.default] {
            // Where one timeout bounds the other, both are moved.
            let other =
                if knob.key == "idle_timeout_s" { "tcp_idle_timeout_s = 86400\n" } else { "" };
            let other =
                if knob.key == "tcp_idle_timeout_s" { "idle_timeout_s = 5\n" } else { other };
            parse(&format!("{MINIMAL}[{}]\n{other}{} = {value}\n", knob.table, knob.key));
        }
        for value in [i64::from(knob.min) - 1, i64::from(knob.max) + 1, i64::MIN, i64::MAX] {
            let said = refusal(&format!("{MINIMAL}[{}]\n{} = {value}\n", knob.table, knob.key));
            assert!(said.starts_with("sensor.toml:4: "), "{said}");
            assert!(said.contains("out of range; give "), "{said}");
        }
    }
}

#[test]
fn every_number_is_documented_with_unit_default_and_bounds() {
    let source = concat!(include_str!("mod.rs"), include_str!("export.rs"));
    let source = source.replace("\n    /// ", " ");
    for knob in KNOBS {
        let field = format!("pub {}: ", knob.key);
        // Some keys are in several tables.
        let pairs = source.lines().zip(source.lines().skip(1));
        let mut docs = pairs.filter(|(_, line)| line.contains(&field)).map(|(doc, _)| doc);
        let told =
            format!("; {}, default {}, {}..={}.", knob.unit, knob.default, knob.min, knob.max);
        assert!(docs.any(|doc| doc.contains(&told)), "{}.{}: {told}", knob.table, knob.key);
    }
}

#[test]
fn what_is_observed_is_not_dropped() {
    let bit = |anomaly: Anomaly| 1 << anomaly as u8;
    let all = Anomaly::ALL.iter().fold(0, |mask, anomaly| mask | bit(*anomaly));
    let dropped = |text: &str| parse(&format!("{MINIMAL}{text}")).normaliser.dropped();
    assert_eq!(dropped(""), all);
    assert_eq!(dropped("[normaliser]\nobserve = []"), all);
    for anomaly in Anomaly::ALL {
        let text = format!("[normaliser]\nobserve = [{:?}]", anomaly.name());
        assert_eq!(dropped(&text), all & !bit(*anomaly), "{}", anomaly.name());
    }
    let every: Vec<&str> = Anomaly::ALL.iter().map(|anomaly| anomaly.name()).collect();
    assert_eq!(dropped(&format!("[normaliser]\nobserve = {every:?}")), 0);
}

#[test]
fn hosts_without_a_usable_name_still_have_a_sensor() {
    let named = |host| Config::parse(MINIMAL, Path::new(""), host).unwrap().sensor.name;
    assert_eq!(named("GW-7.example.ac.uk"), "gw-7");
    assert_eq!(named("\u{fc}\n"), "sensor");
    assert_eq!(named(""), "sensor");
}

#[test]
fn an_unreadable_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/sensor.toml")).unwrap_err();
    insta::assert_snapshot!(error);
}

#[test]
fn refusals_name_file_line_and_remedy() {
    let cases: &[(&str, &str)] = &[
        ("no interface", ""),
        ("interface without a name", "[[interface]]\nside = \"lan\"\n"),
        ("empty interface name", "[[interface]]\nname = \"\"\n"),
        ("long interface name", "[[interface]]\nname = \"sixteen-letters-\"\n"),
        ("interface name with a slash", "[[interface]]\nname = \"lan/0\"\n"),
        ("duplicate interface", "[[interface]]\nname = \"a\"\n\n[[interface]]\nname = \"a\"\n"),
        ("zone out of range", "[[interface]]\nname = \"a\"\nzone = 65536\n"),
        ("unknown side", "[[interface]]\nname = \"a\"\nside = \"lann\"\n"),
        ("unknown mode", "[[interface]]\nname = \"a\"\nmode = \"offload\"\n"),
        ("misspelt key", "[[interface]]\nname = \"a\"\n[flow]\nidle_timout_s = 60\n"),
        ("misspelt table", "[[interface]]\nname = \"a\"\n[kernle]\n"),
        ("key of another table", "[[interface]]\nname = \"a\"\n[sensor]\nretention_days = 3\n"),
        ("key of no table", "[sensor]\ncolour = \"red\"\n"),
        ("negative number", "[[interface]]\nname = \"a\"\n[flow]\nactive_timeout_s = -1\n"),
        ("text for a number", "[[interface]]\nname = \"a\"\n[kernel]\nflows_max = \"many\"\n"),
        ("number for a text", "[sensor]\nname = 7\n"),
        (
            "ring of no power of two",
            "[[interface]]\nname = \"a\"\n[kernel]\nverdict_ring_kib = 100\n",
        ),
        ("relative path", "[[interface]]\nname = \"a\"\n[store]\ndir = \"data\"\n"),
        (
            "dot in the BPF file system",
            "[[interface]]\nname = \"a\"\n[kernel]\nbpffs = \"/sys/fs/bpf/a.b\"\n",
        ),
        (
            "unknown anomaly",
            "[[interface]]\nname = \"a\"\n[normaliser]\nobserve = [\"md5\",\n\"urgnt\"]\n",
        ),
        (
            "anomaly twice",
            "[[interface]]\nname = \"a\"\n[normaliser]\nobserve = [\"md5\", \"md5\"]\n",
        ),
        ("anomaly for a list", "[[interface]]\nname = \"a\"\n[normaliser]\nobserve = \"md5\"\n"),
        ("slots", "[[interface]]\nname = \"a\"\n[kernel]\nhandshake_slots = 63\n"),
        ("sensor name", "[sensor]\nname = \"Gate Way\"\n[[interface]]\nname = \"a\"\n"),
        ("timeouts at odds", "[[interface]]\nname = \"a\"\n[flow]\nidle_timeout_s = 700\n"),
        (
            "key that is none",
            "[[interface]]\nname = \"a\"\n[policy]\nkeys = [\"/etc/a.pub\",\n\"RWQ\"]\n",
        ),
        (
            "never_block with a URL",
            "[[interface]]\nname = \"a\"\n[policy.guard]\nnever_block = [\"https://a.example\"]\n",
        ),
        (
            "address without a port",
            "[[interface]]\nname = \"a\"\n[identity.radius]\nclients = [\"::1\"]\nlisten = \"::1\"\n",
        ),
        (
            "lease file of no directory",
            "[[interface]]\nname = \"a\"\n[identity.leases]\nkea = [\"/a\", \"leases.csv\"]\n",
        ),
        (
            "nobody may send",
            "[[interface]]\nname = \"a\"\n[identity.radius]\nlisten = \"[::1]:1813\"\n",
        ),
        (
            "client with host bits",
            "[[interface]]\nname = \"a\"\n[identity.radius]\nclients = [\"10.0.0.1/8\", \"here\"]\n",
        ),
        (
            "domain with an at sign",
            "[[interface]]\nname = \"a\"\n[identity]\ndomains = [\"@college.example\"]\n",
        ),
        ("syntax", "[[interface]]\nname = lan0\n"),
        ("key twice", "[store]\nretention_days = 1\nretention_days = 2\n"),
        ("unknown level", "[[interface]]\nname = \"a\"\n[log]\nlevel = \"information\"\n"),
        (
            "several at once",
            "[[interface]]\nname = \"a\"\nzone = -1\n[store]\nretention_days = 0\n",
        ),
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|(case, text)| format!("{case}\n  {}", refusal(text).replace('\n', "\n  ")))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_socket_path_must_fit_its_address() {
    let said = refusal(&format!("{MINIMAL}[control]\nsocket = \"/{}\"\n", "s".repeat(107)));
    assert!(said.contains("control.socket is longer than 107 bytes"), "{said}");
}

#[test]
fn the_sixty_fifth_interface_is_refused() {
    use std::fmt::Write as _;
    let mut text = String::new();
    for index in 0..65 {
        writeln!(text, "[[interface]]\nname = \"v{index}\"").unwrap();
    }
    let said = refusal(&text);
    assert!(said.starts_with("sensor.toml:129: more than 64 interfaces"), "{said}");
}
