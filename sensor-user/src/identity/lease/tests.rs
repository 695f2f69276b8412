//! Files as servers write them, whole, in half, and spoilt.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;

use super::follow::Follower;
use super::{Format, Read};
use crate::identity::{Directory, Refusal};

/// 2026-03-10T12:00:00Z.
const NOON_S: i64 = 1_773_144_000;

const KEA4: &str = "\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
10.0.0.5,00:53:00:00:00:41,01:00:53:00:00:00:41,3600,1773147600,1,0,0,laptop,0,,0
10.0.0.6,00:53:00:00:00:42,,3600,1773147600,1,0,0,,0,,0
10.0.0.7,00:53:00:00:00:43,,3600,1773147600,1,0,0,printer,0,,0
10.0.0.7,00:53:00:00:00:43,,3600,1773147600,1,0,0,printer,2,,0
10.0.0.8,00:53:00:00:00:44,,3600,1773143999,1,0,0,gone,0,,0
10.0.0.9,00:53:00:00:00:45,,4294967295,1,1,0,0,for-ever,0,,0
10.0.0.5,02:53:00:00:00:46,,3600,1773148000,1,0,0,Phone.,0,,0
";

const KEA6: &str = "\
address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id
2001:db8::5,00:01:00:01:aa,3600,1773147600,1,1800,0,7,128,0,0,laptop,00:53:00:00:00:41,0,,1,2,0
2001:db8::6,00:01:00:01:bb,3600,1773147600,1,1800,0,7,128,0,0,tablet,,0,,,,0
";

const DNSMASQ: &str = "\
1773147600 00:53:00:00:00:41 10.0.0.5 laptop 01:00:53:00:00:00:41
0 00:53:00:00:00:42 10.0.0.6 * *
1773143999 00:53:00:00:00:43 10.0.0.7 gone *
duid 00:01:00:01:2a:aa
1773147600 1234567 2001:db8::5 laptop 00:01:00:01:2a:bb
";

const DHCPD: &str = "\
# The format of this file is documented in the dhcpd.leases(5) manual page.
authoring-byte-order little-endian;
server-duid \"\\000\\001\";
lease 10.0.0.5 {
  starts 2 2026/03/10 11:30:00;
  ends 2 2026/03/10 13:00:00;
  cltt 2 2026/03/10 11:30:00;
  binding state active;
  next binding state free;
  hardware ethernet 00:53:00:00:00:41;
  uid \"\\001\\000S\\000\";
  client-hostname \"laptop\";
}
lease 10.0.0.6 {
  starts epoch 1773142200; # Tue Mar 10 11:30:00 2026
  ends never;
  binding state active;
  hardware ethernet 00:53:00:00:00:42;
  on expiry {
    set x = \"}\";
  }
  client-hostname \"printer\";
}
lease 10.0.0.7 {
  starts 2 2026/03/10 11:30:00;
  ends 2 2026/03/10 13:00:00;
  binding state active;
  hardware ethernet 00:53:00:00:00:43;
}
failover peer \"x\" state {
  my state normal;
}
lease 10.0.0.7 {
  starts 2 2026/03/10 11:30:00;
  ends 2 2026/03/10 11:45:00;
  binding state free;
  hardware ethernet 00:53:00:00:00:43;
}
";

const FILES: [(Format, &str); 4] =
    [(Format::Kea, KEA4), (Format::Kea, KEA6), (Format::Dnsmasq, DNSMASQ), (Format::Dhcpd, DHCPD)];

fn read(format: Format, texts: &[&str]) -> Read {
    let files: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    format.read(&files, NOON_S)
}

/// `address mac name from..until`, a line each; times from noon on, s.
fn shown(read: &Read) -> Vec<String> {
    let leases = read.leases.iter().map(|(address, lease)| {
        let mac = lease.mac.map_or("-".to_owned(), |mac| mac.to_string());
        let name = lease.host_name.clone().unwrap_or_else(|| "-".to_owned());
        let time = |time: Option<i64>| time.map(|at| (at - NOON_S).to_string()).unwrap_or_default();
        format!("{address} {mac} {name} {}..{}", time(lease.from_s), time(lease.until_s))
    });
    leases.collect()
}

#[test]
fn each_format_is_read() {
    let check = |format, text, expected: &[&str]| {
        let read = read(format, &[text]);
        assert_eq!(shown(&read), expected, "{format:?}");
        assert_eq!(read.refused, [], "{format:?}");
    };
    check(
        Format::Kea,
        KEA4,
        &[
            "10.0.0.5 02:53:00:00:00:46 phone 400..4000",
            "10.0.0.6 00:53:00:00:00:42 - 0..3600",
            "10.0.0.9 00:53:00:00:00:45 for-ever -6068111294..",
        ],
    );
    check(
        Format::Kea,
        KEA6,
        &["2001:db8::5 00:53:00:00:00:41 laptop 0..3600", "2001:db8::6 - tablet 0..3600"],
    );
    check(
        Format::Dnsmasq,
        DNSMASQ,
        &[
            "10.0.0.5 00:53:00:00:00:41 laptop ..3600",
            "10.0.0.6 00:53:00:00:00:42 - ..",
            "2001:db8::5 - laptop ..3600",
        ],
    );
    check(
        Format::Dhcpd,
        DHCPD,
        &[
            "10.0.0.5 00:53:00:00:00:41 laptop -1800..3600",
            "10.0.0.6 00:53:00:00:00:42 printer -1800..",
        ],
    );
}

#[test]
fn later_files_count() {
    let header = KEA4.lines().next().unwrap();
    let released =
        format!("{header}\n10.0.0.5,02:53:00:00:00:46,,3600,1773148000,1,0,0,phone,2,,0\n");
    let read = read(Format::Kea, &[KEA4, &released]);
    assert!(!read.leases.contains_key(&IpAddr::from([10, 0, 0, 5])));
    assert_eq!(read.leases.len(), 2);
}

#[test]
fn half_a_line_waits_for_its_other_half() {
    for (format, text) in FILES {
        let whole = read(format, &[text]);
        for end in 0..text.len() {
            let cut = read(format, &[&text[..end]]);
            assert_eq!(cut.refused, [], "{format:?} cut at {end}");
        }
        assert_eq!(read(format, &[text, ""]), whole);
    }
    // What a half line was of stays as it was.
    let cut = KEA4.rfind("02:53").unwrap() + 5;
    let read = read(Format::Kea, &[&KEA4[..cut]]);
    assert_eq!(shown(&read)[0], "10.0.0.5 00:53:00:00:00:41 laptop 0..3600");
}

#[test]
fn a_line_that_is_none_is_refused_and_the_rest_is_taken() {
    let check = |format, text: &str, wrong: &str, refused: (usize, &str), left: usize| {
        let read = read(format, &[&text.replacen(wrong, "?", 1)]);
        assert_eq!(read.refused, [(refused.0, refused.1.to_owned())], "{wrong}");
        assert_eq!(read.leases.len(), left, "{wrong}");
    };
    check(Format::Kea, KEA4, "10.0.0.6", (3, "it has no address"), 2);
    check(Format::Kea, KEA4, "00:53:00:00:00:42", (3, "its hwaddr is no MAC address"), 2);
    check(Format::Kea, KEA4, "1773147600", (2, "it has no time"), 3);
    let lacks = "the header lacks a column of Kea's lease files";
    check(Format::Kea, KEA4, "hostname", (1, lacks), 0);
    check(Format::Dnsmasq, DNSMASQ, "1773147600", (1, "it has no time or no address"), 2);
    check(
        Format::Dnsmasq,
        DNSMASQ,
        " 00:53:00:00:00:42 10.0.0.6 * *",
        (2, "it has fewer than four fields"),
        2,
    );
    check(Format::Dhcpd, DHCPD, "2026/03/10 11:30:00", (5, "it has a time that is none"), 1);
    check(Format::Dhcpd, DHCPD, "10.0.0.5", (4, "it is a lease of no address"), 1);
    check(Format::Dhcpd, DHCPD, "00:53:00:00:00:41", (10, "it has no MAC address"), 1);
}

/// A generator of numbers that are the same every time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[test]
fn no_file_is_too_odd_to_be_read() {
    let mut random = Random(7);
    for (format, text) in FILES {
        for _turn in 0..2000 {
            let mut bytes = text.as_bytes().to_vec();
            for _change in 0..=random.below(12) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"\n{};,\"\\ #"[random.below(9)]),
                    _ => {
                        let from = random.below(bytes.len());
                        let piece = bytes[from..].iter().take(40).copied().collect::<Vec<_>>();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            for other in [Format::Kea, Format::Dnsmasq, Format::Dhcpd, format] {
                let read = other.read(&[bytes.clone()], NOON_S);
                assert!(read.leases.len() <= bytes.len() && read.refused.len() <= 3);
            }
        }
    }
}

#[test]
fn a_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kea-leases4.csv");
    let directory = Directory::default();
    let mut follower = Follower::new(Format::Kea, path.clone());
    let at = |second: i64| (NOON_S + second) * 1_000_000;
    let name = |address: [u8; 4], second: i64| {
        let identity = directory.resolve(address.into(), at(second));
        identity.and_then(|identity| identity.host_name)
    };
    follower.look(&directory, at(1));
    assert_eq!(directory.refused(Refusal::LeaseFile), 1);
    fs::write(&path, KEA4).unwrap();
    follower.look(&directory, at(2));
    assert_eq!(name([10, 0, 0, 5], 2).as_deref(), Some("phone"));
    let learnt = directory.counts().0.learnt;
    follower.look(&directory, at(3));
    assert_eq!(directory.counts().0.learnt, learnt, "nothing is new");
    // Half a line is waited for.
    let line = "10.0.0.20,00:53:00:00:00:4a,,3600,1773147610,1,0,0,tablet,0,,0\n";
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&line.as_bytes()[..30]).unwrap();
    follower.look(&directory, at(4));
    assert_eq!(name([10, 0, 0, 20], 4), None);
    file.write_all(&line.as_bytes()[30..]).unwrap();
    follower.look(&directory, at(11));
    assert_eq!(name([10, 0, 0, 20], 11).as_deref(), Some("tablet"));
    assert_eq!(directory.refused(Refusal::LeaseLine), 0);
    // It is cleaned up: what was is beside it now, and says the same.
    let count = directory.counts().1;
    fs::rename(&path, folder.path().join("kea-leases4.csv.1")).unwrap();
    fs::write(&path, format!("{}\n", KEA4.lines().next().unwrap())).unwrap();
    follower.look(&directory, at(12));
    assert_eq!(directory.counts().1, count);
    assert_eq!(name([10, 0, 0, 20], 12).as_deref(), Some("tablet"));
    // A lease is given back, a line is spoilt, and the rest stays.
    let released = line.replace(",0,,0", ",2,,0");
    fs::write(&path, format!("{}\n{released}nonsense\n", KEA4.lines().next().unwrap())).unwrap();
    follower.look(&directory, at(20));
    assert_eq!(name([10, 0, 0, 20], 19).as_deref(), Some("tablet"));
    assert_eq!(name([10, 0, 0, 20], 21), None);
    assert_eq!(name([10, 0, 0, 5], 21).as_deref(), Some("phone"));
    assert_eq!(directory.refused(Refusal::LeaseLine), 1);
    // A file that is gone says nothing.
    fs::remove_file(&path).unwrap();
    fs::remove_file(folder.path().join("kea-leases4.csv.1")).unwrap();
    follower.look(&directory, at(30));
    assert_eq!(name([10, 0, 0, 5], 30).as_deref(), Some("phone"));
}
