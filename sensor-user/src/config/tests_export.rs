//! Exports that load, and what is said about those that do not.

use std::path::Path;

use sensor_ebpf::abi::Verdict;

use super::knobs::KNOBS;
use super::{Config, Directions, ExportKind, Target};
use crate::export::fields::Field;

const BEFORE: &str = "[[interface]]\nname = \"lan0\"\n[[export]]\n";

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("sensor.toml"), "gw").unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    let text = format!("{BEFORE}{text}");
    Config::parse(&text, Path::new("sensor.toml"), "gw").unwrap_err().to_string()
}

const EVE: &str = "name = \"eve\"\nkind = \"eve\"\ntarget = \"/var/log/eve.json\"\n";
const FLOWS: &str = "name = \"flows\"\nkind = \"ipfix\"\ntarget = \"udp://[2001:db8::1]:4739\"\n";
const LOG: &str = "name = \"log\"\nkind = \"syslog\"\ntarget = \"tcp://log.example:601\"\n";

#[test]
fn the_effective_file_loads_to_the_same_exports() {
    let text = format!(
        "{BEFORE}{EVE}fields = [\"name\", \"device\"]\n[export.filter]\nverdicts = [\"block\"]\n\
         protocols = [\"udp\", \"89\", \"200\"]\ngroups = [\"students\"]\ncategories = [\"adult\"]\n\
         [export.rotate]\nsize_mib = 7\nkeep = 0\n[[export]]\n{FLOWS}enterprise = 9\n\
         [export.ipfix]\ndomain = 4000000000\ndirections = \"biflow\"\n[[export]]\n{LOG}"
    );
    let config = parse(&text);
    assert_eq!(parse(&config.effective_toml()), config);
    let [eve, flows, log] = config.export.as_slice() else { panic!("{:?}", config.export) };
    assert_eq!(eve.target, Target::File("/var/log/eve.json".into()));
    assert_eq!(eve.filter.verdicts, [Verdict::Block]);
    assert_eq!(eve.filter.protocols, [17, 89, 200]);
    assert_eq!((eve.rotate.size_mib, eve.rotate.hours, eve.rotate.keep), (7, 24, 0));
    assert_eq!(eve.fields.iter().map(Field::name).collect::<Vec<_>>(), ["device", "name"]);
    assert_eq!((flows.enterprise, flows.ipfix.domain), (9, 4_000_000_000));
    assert_eq!(flows.ipfix.directions, Directions::Biflow);
    assert_eq!(log.kind, ExportKind::Syslog);
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(json["export"][0]["filter"]["protocols"], serde_json::json!(["udp", "ospf", "200"]));
    assert_eq!(json["export"][1]["target"], "udp://[2001:db8::1]:4739");
}

#[test]
fn defaults_fill_an_export() {
    let text = parse(&format!("{BEFORE}{FLOWS}[[export]]\n{EVE}")).effective_toml();
    let exports = text.find("[[export]]").unwrap()..text.find("[control]").unwrap();
    insta::assert_snapshot!(text[exports]);
}

#[test]
fn numbers_hold_at_their_bounds() {
    for knob in KNOBS.iter().filter(|knob| knob.table.starts_with("export")) {
        let export = if knob.table == "export.rotate" { EVE } else { FLOWS };
        let section =
            if knob.table == "export" { String::new() } else { format!("[{}]\n", knob.table) };
        for value in [knob.min, knob.max, knob.default] {
            parse(&format!("{BEFORE}{export}{section}{} = {value}\n", knob.key));
        }
        for value in [i64::from(knob.min) - 1, i64::from(knob.max) + 1, i64::MIN, i64::MAX] {
            let said = refusal(&format!("{export}{section}{} = {value}\n", knob.key));
            assert!(said.contains("out of range; give "), "{said}");
        }
    }
}

#[test]
fn targets_are_paths_or_hosts_with_a_port() {
    for text in ["/a", "tcp://a.example:1", "udp://192.0.2.1:65535", "tcp://[::1]:514"] {
        let target = Target::parse(text).unwrap();
        assert_eq!(target.to_string(), text);
    }
    for text in [
        "",
        "a",
        "./a",
        "a.example:1",
        "http://a:1",
        "tcp://a",
        "tcp://a:0",
        "tcp://a:65536",
        "tcp://:1",
        "tcp://::1:514",
        "tcp://[a]:1",
        "tcp://[::1]",
        "udp://a/b:1",
        "tcp://a b:1",
    ] {
        assert_eq!(Target::parse(text), None, "{text}");
    }
}

#[test]
fn refusals_name_file_line_and_remedy() {
    let cases = [
        String::new(),
        "name = \"x\"\nkind = \"netflow\"\n".to_owned(),
        "name = \"x\"\nkind = \"eve\"\ntarget = \"eve.json\"\n".to_owned(),
        "name = \"x\"\nkind = \"eve\"\ntarget = \"udp://a:1\"\n".to_owned(),
        "name = \"x\"\nkind = \"ipfix\"\ntarget = \"/tmp/flows\"\n".to_owned(),
        "name = \"A B\"\nkind = \"eve\"\ntarget = \"/eve\"\n".to_owned(),
        format!("{EVE}[[export]]\n{EVE}"),
        format!("{EVE}fields = [\"name\", \"payload\"]\n"),
        format!("{EVE}[export.filter]\nverdicts = [\"blocked\"]\nprotocols = [\"TCP\"]\n"),
        format!("{EVE}[export.ipfix]\ndomain = 2\n"),
        format!("{LOG}[export.rotate]\nkeep = 2\n"),
        format!("{EVE}enterprise = 9\n"),
        format!("{EVE}directions = \"biflow\"\n"),
        format!("{FLOWS}[export.ipfix]\ndirections = \"both\"\n"),
    ];
    let said: Vec<String> = cases.iter().map(|text| refusal(text)).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn the_seventeenth_export_is_refused() {
    let more: Vec<String> = (0..16)
        .map(|number| {
            format!("[[export]]\n{}", EVE.replace("eve\"\nk", &format!("e{number}\"\nk")))
        })
        .collect();
    let said = refusal(&format!("{EVE}{}", more.concat()));
    assert!(said.contains("more than 16 exports"), "{said}");
}
