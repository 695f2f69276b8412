//! Ways round the filter that keep to a port: flows end, or are told of, with their first packet.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Verdict};
use sensor_lab::lab::{Family, Lab};
use sensor_lab::process::{self, Running};
use sensor_lab::sensor::{self, Sensor, Setup};
use serde_json::Value;

use super::{POLICY, lan, record, say, setup, status};

const HEAR: &str = include_str!("hear.py");

/// Sends a datagram and waits for its answer. Arguments: address, port.
pub(super) const CALL: &str = "
import socket, sys
end = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
end.settimeout(1)
end.sendto(b'hello', (sys.argv[1], int(sys.argv[2])))
try:
    end.recv(2048)
    print('answered')
except TimeoutError:
    print('silent')
";

/// Connects and says something. Arguments: address, port.
pub(super) const CONNECT: &str = "
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as end:
        end.settimeout(3)
        end.sendall(b'hello')
        print('answered' if end.recv(2048) else 'closed')
except ConnectionRefusedError:
    print('refused')
except TimeoutError:
    print('silent')
";

const TUNNEL: u16 = 1194;
const TOLD: u16 = 41_641;
pub(super) const FREE: u16 = 9998;

/// A blocked connection is refused at once, not left to time out.
const REFUSED_MAX: Duration = Duration::from_secs(1);

fn tunnels() -> Setup {
    let mut setup = Setup { policy: format!("{POLICY}\n{LISTS}"), ..setup() };
    setup.policy = setup.policy.replace(
        "block = [\"gambling\"]",
        "block = [\"gambling\", \"tunnels\"]\nalert = [\"networks\"]",
    );
    setup.files.push(("lists/tunnels.txt".to_owned(), "udp/1194\ntcp/1194\n".to_owned()));
    setup.files.push(("lists/networks.txt".to_owned(), "udp/41641\ntcp/41641\n".to_owned()));
    setup
}

const LISTS: &str = r#"
[[category]]
id = "tunnels"
title = "Tunnels"
covers = "Ways round the filter"

[[category]]
id = "networks"
title = "Networks"
covers = "Private networks"

[[list]]
id = "tunnels"
file = "lists/tunnels.txt"
categories = ["tunnels"]

[[list]]
id = "networks"
file = "lists/networks.txt"
categories = ["networks"]
"#;

/// What the server hears.
pub(super) struct Ear {
    heard: PathBuf,
    _running: Running,
}

impl Ear {
    pub(super) fn open(lab: &Lab, ports: &[u16]) -> Result<Self> {
        let heard = lab.directory().join("heard");
        let mut python = lab.server().python(HEAR);
        python.args(ports.iter().map(u16::to_string));
        let running = Running::start(&mut python, &heard)?;
        process::wait_until("the server's ports", process::SHORT, || {
            Ok(std::fs::read_to_string(&heard)?.contains("listening").then_some(()))
        })?;
        Ok(Self { heard, _running: running })
    }

    pub(super) fn of(&self, event: &str, port: u16) -> Result<usize> {
        let text = std::fs::read_to_string(&self.heard)?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        Ok(lines.iter().filter(|line| line["event"] == event && line["port"] == port).count())
    }
}

pub(super) fn ask(lab: &Lab, script: &str, family: Family, port: u16) -> Result<String> {
    let mut python = lab.client().python(script);
    python.args([family.server().to_string(), port.to_string()]);
    Ok(process::finish(&mut python, process::SHORT)?.stdout.trim().to_owned())
}

#[test]
fn a_listed_port_is_blocked_or_told_as_its_category_is() -> Result<()> {
    let lab = Lab::build()?;
    let ports = [TUNNEL, TOLD, FREE];
    let ear = Ear::open(&lab, &ports)?;
    let mut sensor = Sensor::start(&lab, &sensor::binary()?, &tunnels())?;
    for family in [Family::V4, Family::V6] {
        for port in ports {
            let blocked = port == TUNNEL;
            let begun = Instant::now();
            let connected = ask(&lab, CONNECT, family, port)?;
            let took = begun.elapsed();
            assert_eq!(
                connected,
                if blocked { "refused" } else { "answered" },
                "{port} {family:?}"
            );
            if blocked {
                say(&format!("{family:?}: refused within {took:?}, Python's start included"));
                assert!(took < REFUSED_MAX, "{took:?}");
            }
            let answered = ask(&lab, CALL, family, port)?;
            assert_eq!(answered, if blocked { "silent" } else { "answered" }, "{port} {family:?}");
        }
        for (port, verdict, list) in [
            (TUNNEL, Verdict::Block, Some("tunnels")),
            (TOLD, Verdict::Alert, Some("networks")),
            (FREE, Verdict::Undecided, None),
        ] {
            for protocol in [6, 17] {
                let what =
                    format!("the record of a flow to {port}, protocol {protocol}, {family:?}");
                let record = record(&sensor, &what, |one| {
                    (one.protocol, one.peer, one.peer_port) == (protocol, family.server(), port)
                })?;
                assert_eq!((record.verdict, record.list.as_deref()), (verdict, list), "{record:?}");
                let by_port = record.no_name == NoName::ListedPort;
                assert_eq!(by_port, port == TUNNEL, "{record:?}");
                assert_eq!(record.categories.len(), usize::from(list.is_some()), "{record:?}");
            }
        }
    }
    for heard in ["datagram", "connection"] {
        assert_eq!((ear.of(heard, TOLD)?, ear.of(heard, FREE)?), (2, 2), "{heard}");
        assert_eq!(ear.of(heard, TUNNEL)?, 0, "{heard}");
    }
    let ingress = lan(&status(&sensor)?)?.ingress.clone();
    assert_eq!(ingress.no_name.get("listed-port"), Some(&4), "{ingress:?}");
    assert!(ingress.conserved, "{ingress:?}");
    let why = sensor.cli(&["why", "udp/1194", "--group", "students"])?;
    assert!(why.starts_with("udp/1194: block\n") && why.contains("tunnels.txt:1"), "{why}");

    // What blocks goes on without the daemon.
    sensor.kill()?;
    assert_eq!(ask(&lab, CONNECT, Family::V4, TUNNEL)?, "refused");
    assert_eq!(ask(&lab, CALL, Family::V6, TUNNEL)?, "silent");
    assert_eq!((ear.of("datagram", TUNNEL)?, ear.of("connection", TUNNEL)?), (0, 0));
    Ok(())
}
