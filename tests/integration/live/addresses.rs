//! Lists of addresses: flows end with the packet that opens them, those that live with their next one.

use std::fs;

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Verdict};
use sensor_lab::lab::{Family, Lab};
use sensor_lab::process;
use sensor_lab::sensor::{self, Sensor, Setup};

use super::ports::{CALL, CONNECT, Ear, FREE, ask};
use super::{POLICY, lan, record, setup, status};

/// Sends an echo request and waits for its answer. Argument: address.
const ECHO: &str = "
import socket, struct, sys
six = ':' in sys.argv[1]
end = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 58 if six else 1)
end.settimeout(1)
head = struct.pack('>BBHHH', 128 if six else 8, 0, 0, 7, 1)
check = 0 if six else 0xffff - sum(struct.unpack('>4H', head))
end.sendto(head[:2] + struct.pack('>H', check) + head[4:], (sys.argv[1], 0))
try:
    while True:
        said, _ = end.recvfrom(2048)
        if (said[0] if six else said[20]) == (129 if six else 0):
            print('answered')
            break
except TimeoutError:
    print('silent')
";

const LISTS: &str = r#"
[[category]]
id = "hosts"
title = "Hosts"
covers = "Machines nobody should talk to"

[[list]]
id = "hosts"
file = "lists/hosts.txt"
categories = ["hosts"]
"#;

fn listing(addresses: &str) -> Setup {
    let mut setup = Setup { policy: format!("{POLICY}\n{LISTS}"), ..setup() };
    setup.policy =
        setup.policy.replace("block = [\"gambling\"]", "block = [\"gambling\", \"hosts\"]");
    setup.files.push(("lists/hosts.txt".to_owned(), addresses.to_owned()));
    setup
}

fn echo(lab: &Lab, family: Family) -> Result<String> {
    let mut python = lab.client().python(ECHO);
    python.arg(family.server().to_string());
    Ok(process::finish(&mut python, process::SHORT)?.stdout.trim().to_owned())
}

#[test]
fn a_listed_address_is_blocked_whatever_is_asked_there() -> Result<()> {
    let lab = Lab::build()?;
    let ear = Ear::open(&lab, &[FREE])?;
    let mut sensor = Sensor::start(&lab, &sensor::binary()?, &listing("192.0.2.1\n"))?;
    let all = |lab: &Lab, family| -> Result<[String; 3]> {
        Ok([ask(lab, CONNECT, family, FREE)?, ask(lab, CALL, family, FREE)?, echo(lab, family)?])
    };
    for family in [Family::V4, Family::V6] {
        assert_eq!(all(&lab, family)?, ["answered"; 3], "{family:?}: another address is listed");
    }
    // A prefix of the one family, an address of the other.
    let hosts = sensor.directory().join("lists/hosts.txt");
    fs::write(&hosts, format!("{}\nfd77:2::/64\n", Family::V4.server()))?;
    sensor.cli(&["reload"])?;
    for family in [Family::V4, Family::V6] {
        assert_eq!(all(&lab, family)?, ["refused", "silent", "silent"], "{family:?}");
        for protocol in [6, 17, if family == Family::V4 { 1 } else { 58 }] {
            let what = format!("the record of protocol {protocol}, {family:?}");
            let record = record(&sensor, &what, |one| {
                (one.protocol, one.peer) == (protocol, family.server())
                    && one.verdict == Verdict::Block
            })?;
            assert_eq!(record.no_name, NoName::ListedAddress, "{record:?}");
            assert_eq!(record.list.as_deref(), Some("hosts"), "{record:?}");
            assert_eq!(record.categories, ["hosts"], "{record:?}");
            let why = sensor.cli(&["why", "--record", &record.sequence.to_string()])?;
            assert!(why.contains("lists/hosts.txt:") && why.contains(": block"), "{why}");
        }
    }
    for heard in ["datagram", "connection"] {
        assert_eq!(ear.of(heard, FREE)?, 2, "those from before: {heard}");
    }
    let ingress = lan(&status(&sensor)?)?.ingress.clone();
    assert!(ingress.no_name.get("listed-address").is_some_and(|count| *count >= 6), "{ingress:?}");
    assert!(ingress.conserved, "{ingress:?}");

    // What blocks goes on without the daemon.
    sensor.kill()?;
    assert_eq!(all(&lab, Family::V4)?, ["refused", "silent", "silent"]);
    Ok(())
}
