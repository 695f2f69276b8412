//! Requests as clients make them, right and wrong.

use std::net::{IpAddr, SocketAddr};

use super::Accounting;
use super::packet::{BYTES_MAX, request};
use crate::identity::name::Domains;
use crate::identity::{Directory, Refusal};

const SECRET: &[u8] = b"a secret";
const MINUTE_US: i64 = 60_000_000;
const START: u8 = 1;
const STOP: u8 = 2;
const INTERIM: u8 = 3;
const ON: u8 = 7;
const MAC: &[u8] = b"00-53-00-00-00-41:campus";

struct Client {
    accounting: Accounting,
    directory: Directory,
    from: SocketAddr,
    identifier: u8,
}

impl Client {
    fn new() -> Self {
        let clients = vec!["192.0.2.0/28".parse().unwrap()];
        let domains = Domains::new(&["college.example".to_owned()]);
        Self {
            accounting: Accounting::new(clients, SECRET.to_vec(), domains, 3600),
            directory: Directory::default(),
            from: "192.0.2.1:40000".parse().unwrap(),
            identifier: 0,
        }
    }

    fn send(&mut self, packet: &[u8], minute: i64) -> Option<Vec<u8>> {
        self.accounting.take(packet, self.from, &self.directory, minute * MINUTE_US)
    }

    /// Sends a request of a session and checks its answer.
    fn account(&mut self, status: u8, session: &str, more: &[(u8, &[u8])], minute: i64) {
        self.identifier += 1;
        let status = [0, 0, 0, status];
        let mut attributes: Vec<(u8, &[u8])> = vec![(40, &status), (44, session.as_bytes())];
        attributes.extend(more);
        let packet = request(self.identifier, &attributes, SECRET);
        let answer = self.send(&packet, minute).unwrap();
        assert_eq!(answer[..4], [5, self.identifier, 0, 20]);
    }

    /// `user mac` at an address of 10.0.0.0/24.
    fn at(&self, address: &str, minute: i64) -> String {
        let address: IpAddr = address.parse().unwrap();
        let Some(one) = self.directory.resolve(address, minute * MINUTE_US) else {
            return "nobody".to_owned();
        };
        let mac = one.mac.map(|mac| mac.to_string()).unwrap_or_default();
        format!("{} {mac}", one.user.unwrap_or_default())
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.directory.refused(refusal)
    }
}

const SMITH: &[(u8, &[u8])] = &[(1, b"A.Smith@college.example"), (31, MAC), (8, &[10, 0, 0, 5])];
const IS_SMITH: &str = "a.smith 00:53:00:00:00:41";

#[test]
fn a_session_begins_and_ends() {
    let mut client = Client::new();
    client.account(START, "1", SMITH, 10);
    client.account(INTERIM, "1", SMITH, 30);
    client.account(STOP, "1", SMITH, 50);
    assert_eq!(client.at("10.0.0.5", 9), "nobody");
    for minute in [10, 30, 49] {
        assert_eq!(client.at("10.0.0.5", minute), IS_SMITH);
    }
    assert_eq!(client.at("10.0.0.5", 50), "nobody");
    assert!(client.directory.amendments().is_empty());
    assert_eq!(client.directory.counts().1, 2);
}

#[test]
fn a_session_without_news_is_given_up() {
    let mut client = Client::new();
    client.account(START, "1", SMITH, 10);
    client.account(INTERIM, "1", &[SMITH, &[(46, &[0, 0, 4, 176])]].concat(), 30);
    assert_eq!(client.at("10.0.0.5", 89), IS_SMITH);
    assert_eq!(client.at("10.0.0.5", 90), "nobody");
}

#[test]
fn a_session_gets_its_address_later_and_another_one_after_that() {
    let mut client = Client::new();
    client.account(START, "1", &SMITH[..2], 10);
    client.account(INTERIM, "1", SMITH, 11);
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let moved: &[(u8, &[u8])] = &[SMITH[0], SMITH[1], (8, &[10, 0, 0, 6]), (168, &v6)];
    client.account(INTERIM, "1", moved, 20);
    assert_eq!(client.at("10.0.0.5", 10), "nobody");
    assert_eq!(client.at("10.0.0.5", 19), IS_SMITH);
    assert_eq!(client.at("10.0.0.5", 20), "nobody");
    assert_eq!(client.at("10.0.0.6", 21), IS_SMITH);
    assert_eq!(client.at("2001:db8::7", 21), IS_SMITH);
}

#[test]
fn a_stop_tells_of_a_session_whose_start_was_lost() {
    let mut client = Client::new();
    client.account(START, "0", &[(1, b"b.jones"), (8, &[10, 0, 0, 9])], 1);
    // 1200 s, sent a minute late.
    let lasted: &[(u8, &[u8])] = &[(46, &[0, 0, 4, 176]), (41, &[0, 0, 0, 60])];
    client.account(STOP, "1", &[SMITH, lasted].concat(), 61);
    assert_eq!(client.at("10.0.0.5", 39), "nobody");
    assert_eq!(client.at("10.0.0.5", 40), IS_SMITH);
    assert_eq!(client.at("10.0.0.5", 60), "nobody");
    assert_eq!(client.directory.amendments().len(), 1);
    // Its start, which comes after all, tells nothing new, and does not bring it back.
    client.account(START, "1", &[SMITH, &[(41, &[0, 0, 5, 100])]].concat(), 62);
    assert_eq!(client.at("10.0.0.5", 62), "nobody");
    assert_eq!(client.refused(Refusal::RadiusStale), 1);
    // A session of the same name that begins later is another one.
    client.account(START, "1", SMITH, 70);
    assert_eq!(client.at("10.0.0.5", 65), "nobody");
    assert_eq!(client.at("10.0.0.5", 71), IS_SMITH);
}

#[test]
fn a_client_that_begins_anew_has_no_sessions() {
    let mut client = Client::new();
    client.account(START, "1", SMITH, 10);
    client.account(START, "2", &[(32, b"ap-2"), (1, b"b.jones"), (8, &[10, 0, 0, 6])], 10);
    client.account(ON, "", &[], 20);
    assert_eq!(client.at("10.0.0.5", 21), "nobody");
    assert_eq!(client.at("10.0.0.6", 21), "b.jones ");
}

#[test]
fn what_is_sent_again_is_answered_and_counts_once() {
    let mut client = Client::new();
    let packet = request(7, &[&[(40, &[0, 0, 0, 1][..]), (44, b"1")], SMITH].concat(), SECRET);
    let answer = client.send(&packet, 10).unwrap();
    let learnt = client.directory.counts().0.learnt;
    assert_eq!(client.send(&packet, 11).unwrap(), answer);
    assert_eq!(client.directory.counts().0.learnt, learnt);
    assert_eq!(client.refused(Refusal::RadiusDuplicate), 1);
    // A client that has begun anew sends the same to the byte.
    client.account(ON, "", &[], 12);
    assert_eq!(client.at("10.0.0.5", 12), "nobody");
    assert_eq!(client.send(&packet, 16).unwrap(), answer);
    assert_eq!(client.at("10.0.0.5", 16), IS_SMITH);
    assert_eq!(client.refused(Refusal::RadiusDuplicate), 1);
}

#[test]
fn the_time_of_an_event_is_believed_if_it_can_be() {
    let mut client = Client::new();
    let check = |client: &mut Client, session: &str, more: (u8, u32), from: i64| {
        let (user, value) = (format!("user-{session}"), more.1.to_be_bytes());
        let address = [10, 0, 1, session.parse().unwrap()];
        let attributes: &[(u8, &[u8])] = &[(1, user.as_bytes()), (8, &address), (more.0, &value)];
        client.account(START, session, attributes, 3000);
        let address = IpAddr::from(address).to_string();
        assert_eq!(client.at(&address, from - 1), "nobody", "{session}");
        assert_eq!(client.at(&address, from), format!("{user} "), "{session}");
    };
    check(&mut client, "1", (41, 120), 2998);
    check(&mut client, "2", (55, 2990 * 60), 2990);
    check(&mut client, "3", (55, 0), 3000);
    check(&mut client, "4", (55, 4000 * 60), 3000);
    check(&mut client, "5", (41, u32::MAX), 3000);
}

#[test]
fn whoever_does_not_know_the_secret_is_not_answered() {
    let mut client = Client::new();
    let attributes: &[(u8, &[u8])] = &[(40, &[0, 0, 0, 1]), (44, b"1"), (1, b"a"), (31, MAC)];
    let mut check = |packet: &[u8], from: &str, refusal: Refusal| {
        client.from = from.parse().unwrap();
        assert_eq!(client.send(packet, 10), None, "{refusal:?}");
        assert_eq!(client.refused(refusal), 1, "{refusal:?}");
    };
    let right = request(1, attributes, SECRET);
    let here = "192.0.2.1:1";
    check(&right, "192.0.2.16:1", Refusal::RadiusClient);
    check(&request(1, attributes, b"another"), here, Refusal::RadiusSecret);
    let mut asks = right.clone();
    asks[0] = 1;
    check(&asks, here, Refusal::RadiusCode);
    check(&right[..right.len() - 1], here, Refusal::RadiusMalformed);
    // A Message-Authenticator that is wrong under a Request Authenticator that is right.
    let signed = request(1, &[attributes, &[(80, &[0; 16])]].concat(), SECRET);
    let mut wrong = signed.clone();
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    wrong[4..20].fill(0);
    let hash = md5::Digest::finalize(md5::Digest::chain_update(
        md5::Digest::chain_update(<md5::Md5 as md5::Digest>::new(), &wrong),
        SECRET,
    ));
    wrong[4..20].copy_from_slice(&hash);
    check(&wrong, here, Refusal::RadiusMessage);
    assert_eq!(client.directory.counts().1, 0);
    client.from = here.parse().unwrap();
    assert!(client.send(&signed, 10).is_some());
    assert!(client.directory.counts().1 > 0);
}

#[test]
fn no_packet_is_too_odd_to_be_read() {
    let mut client = Client::new();
    let right = request(1, &[&[(40, &[0, 0, 0, 1][..]), (44, b"1")], SMITH].concat(), SECRET);
    for end in 0..right.len() {
        assert_eq!(client.send(&right[..end], 10), None);
    }
    for at in 0..right.len() {
        for value in [0, 1, 2, 3, 20, 127, 128, 255] {
            let mut packet = right.clone();
            packet[at] = value;
            let _answer = client.send(&packet, 10);
        }
    }
    assert_eq!(client.send(&[4; BYTES_MAX + 1], 10), None);
    // Whatever attributes one makes who knows the secret.
    for kind in (0..=u8::MAX).filter(|kind| *kind != 80) {
        for value in [&[][..], &[0], &[0xff; 4], &[0; 18], &[0x80; 253]] {
            let attributes = [(40, &[0, 0, 0, 3][..]), (44, b"7"), (kind, value)];
            assert!(client.send(&request(kind, &attributes, SECRET), 10).is_some());
        }
    }
    for status in 0..=20 {
        client.account(status, "", &[], 10);
    }
    assert!(client.refused(Refusal::RadiusSession) >= 19);
}
