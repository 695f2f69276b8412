//! Datagrams of clients, and the hello in them.

mod connection;
mod initial;
mod mutations;
mod random;
pub(super) mod samples;

use sensor_lab::frames::Hello;

use super::*;
use crate::cursor::Window;
use crate::step::Step;
use connection::{Client, Refused, Steps, keys_of, open};
use initial::{Initial, header_of, own_keys, varint};
use random::random;
use samples::{CLIENT_INITIAL_V1, CLIENT_INITIAL_V2, CONNECTION_ID, CRYPTO_FRAME, RETRY, bytes};

fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    [&[6][..], &varint(offset as u64, 4), &varint(data.len() as u64, 2), data].concat()
}

/// A hello as QUIC carries it.
fn hello(name: &str) -> Vec<u8> {
    Hello { before: vec![(51, 1263)], ..Hello::with_name_last(name) }.bytes()[5..].to_vec()
}

#[test]
fn keys_of_the_standards() {
    for (version, key, iv, hp) in [
        (
            1,
            "1f369613dd76d5467730efcbe3b1a22d",
            "fa044b2f42a3fd3b46fb255c",
            "9f50449e04a0e810283a1e9933adedd2",
        ),
        (
            0x6b33_43cf,
            "8b1a0bc121284290a29e0971b5cd045d",
            "91f73e2351d8fa91660e909f",
            "45b95e15235d6f45a6b19cbcb0294ba9",
        ),
        // draft-ietf-quic-tls-29 appendix A.1.
        (
            0xff00_001d,
            "175257a31eb09dea9366d8bb79ad80ba",
            "6b26114b9cba2b63a9e8dd4f",
            "9ddd12c994c0698b89374a9c077a3077",
        ),
    ] {
        let packet = Initial { version, keys: Some(Keys::default()), ..Initial::of(0) };
        let (header, window) = header_of(&packet.protect(&[0; 1200]));
        let mut id = ConnectionId::default();
        id.take(&header, &window);
        let (keys, steps) = keys_of(&id, header.version());
        let of =
            |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
        assert_eq!((of(&keys.key), of(&keys.iv)), (bytes(key), bytes(iv)));
        assert_eq!(of(&keys.hp), bytes(hp));
        assert_eq!(steps, KEY_STEPS_MAX);
    }
}

#[test]
fn initials_of_the_standards_are_read() {
    let mut payload = bytes(CRYPTO_FRAME);
    payload.resize(1162, 0);
    for packet in [CLIENT_INITIAL_V1, CLIENT_INITIAL_V2].map(bytes) {
        let (header, mut window) = header_of(&packet);
        assert_eq!((header.destination_at, header.destination_length), (6, 8));
        assert_eq!((header.source_length, header.token_length), (0, 0));
        assert_eq!((header.number_at, header.end), (18, 1200));
        let keys = own_keys(&header, &window);
        let opening = open(&header, &keys, 0, &mut window).0.unwrap();
        assert_eq!(opening.number, 2);
        let plain = opening.payload_at as usize..opening.payload_end as usize;
        assert_eq!(window.bytes[plain], payload);

        let mut client = Client::default();
        assert_eq!(client.take(&packet), Ok(Step::Found));
        assert_eq!(client.names(), ["example.com"]);
        let Steps { keys, opening, frames } = client.steps;
        // What a datagram costs.
        assert_eq!((keys, opening, frames), (56, 3 + 73 + 1, 3 + 29 + 1));
    }
}

#[test]
fn connection_ids_of_every_length_give_their_keys() {
    for length in 0..=20 {
        let initial = Initial { destination: vec![0xc1; length], ..Initial::of(0) };
        let mut client = Client::default();
        let packet = initial.protect(&crypto(0, &hello("id.example")));
        assert_eq!(client.take(&packet), Ok(Step::Found), "{length}");
        assert_eq!(client.names(), ["id.example"]);
    }
    let too_long =
        Initial { destination: vec![1; 21], keys: Some(Keys::default()), ..Initial::of(0) };
    let packet = too_long.protect(&[0; 1200]);
    assert_eq!(Client::default().take(&packet), Err(Refused::Unread(Unread::Malformed)));
}

#[test]
fn packet_numbers_of_every_length_are_read() {
    let hello = hello("number.example");
    let (first, second) = hello.split_at(700);
    for (number, number_bytes, next) in
        [(0, 1, 1), (0, 4, 255), (0xfff0, 2, 0x1_0003), (0xfff_fff0, 4, 0x1000_0000), (9, 3, 2)]
    {
        let mut client = Client::default();
        let initial = Initial { number_bytes, ..Initial::of(number) };
        assert_eq!(client.take(&initial.protect(&crypto(0, first))), Ok(Step::Pause));
        let initial = Initial { number_bytes: number_bytes.min(2), ..Initial::of(next) };
        assert_eq!(client.take(&initial.protect(&crypto(700, second))), Ok(Step::Found));
        assert_eq!(client.names(), ["number.example"]);
    }
}

#[test]
fn what_is_no_initial_has_its_reason() {
    let sample = bytes(CLIENT_INITIAL_V1);
    let with_version = |version: u32| {
        let mut packet = sample.clone();
        packet[1..5].copy_from_slice(&version.to_be_bytes());
        packet
    };
    let changed = |at: usize, byte: u8| {
        let mut packet = sample.clone();
        packet[at] = byte;
        packet
    };
    for (what, datagram, reason) in [
        ("nothing", Vec::new(), Unread::NotQuic),
        ("a short header", changed(0, 0x40), Unread::NotQuic),
        ("a first byte", vec![0xc0], Unread::NotQuic),
        ("version negotiation", with_version(0), Unread::Negotiation),
        ("a version to be refused", with_version(0x1a2a_3a4a), Unread::UnknownVersion),
        ("draft-28", with_version(0xff00_001c), Unread::UnknownVersion),
        ("no connection IDs of another version", vec![0xff; 300], Unread::NotQuic),
        ("a header that is cut", sample[..17].to_vec(), Unread::Truncated),
        ("a packet that is cut", sample[..1199].to_vec(), Unread::Truncated),
        ("a token behind the datagram", changed(15, 0x7f), Unread::Truncated),
        (
            "a packet too short for a sample",
            [&sample[..16], &[19], &[0; 19]].concat(),
            Unread::Malformed,
        ),
        (
            "a payload of no bytes",
            Initial { number_bytes: 4, ..Initial::of(0) }.protect(&[]),
            Unread::Malformed,
        ),
        ("a frame of 1-RTT", Initial::of(0).protect(&[0x1e; 30]), Unread::Malformed),
        ("a frame that is cut", Initial::of(0).protect(&[0, 0, 0, 0, 6, 0]), Unread::Malformed),
        ("a piece behind the packet", Initial::of(0).protect(&[6, 0, 9, 1, 2]), Unread::Malformed),
        ("an ACK without end", Initial::of(0).protect(&[2, 0, 0, 63, 0, 0, 0]), Unread::Malformed),
        (
            "a piece behind any hello",
            Initial::of(0).protect(&crypto(1 << 17, b"far")),
            Unread::Oversize,
        ),
    ] {
        assert_eq!(Client::default().take(&datagram), Err(Refused::Unread(reason)), "{what}");
    }
}

#[test]
fn packets_beside_the_initial_are_passed_over() {
    let initial = Initial::of(0).protect(&crypto(0, &hello("beside.example")));
    let other = |kind: u8| {
        let header = [0xc0 | kind << 4, 0, 0, 0, 1, 1, 9, 0];
        [&header[..], &varint(30, 2), &[0xee; 30]].concat()
    };
    let short = [0x41; 40];
    for (what, parts) in [
        ("0-RTT behind", [&initial[..], &other(1), &[]]),
        ("0-RTT and Handshake before", [&other(1), &other(2), &initial]),
        ("a short header behind", [&initial, &other(2), &short]),
        ("zeroes behind", [&initial, &[0; 200], &[]]),
    ] {
        let mut client = Client::default();
        client.take(&parts.concat()).unwrap();
        assert_eq!(client.names(), ["beside.example"], "{what}");
    }
    // As many packets as a window can hold.
    let mut least = [0xe0, 0, 0, 0, 1, 0, 0, 0].repeat(crate::cursor::WINDOW / 8);
    assert_eq!(Client::default().take(&least), Ok(Step::Pause));
    least.truncate(4090);
    assert_eq!(Client::default().take(&least), Err(Refused::Unread(Unread::Truncated)));
}

#[test]
fn opening_a_packet_leaves_the_next_one_as_it_is() {
    for length in 1..40 {
        let first = Initial::of(0).protect(&vec![0; length + 4]);
        let second = Initial::of(1).protect(&crypto(0, &hello("second.example")));
        let (header, mut window) = header_of(&[&first[..], &second].concat());
        let keys = own_keys(&header, &window);
        assert!(open(&header, &keys, 0, &mut window).0.is_ok());
        assert_eq!(window.bytes[header.end as usize..window.length as usize], second);
    }
}

#[test]
fn a_hello_is_whole_with_the_last_byte_of_its_last_extension() {
    let stream =
        Hello { after: vec![(51, 1263)], ..Hello::of("first.example") }.bytes()[5..].to_vec();
    for cut in [stream.len() - 1200, 1000, stream.len() - 1] {
        let mut client = Client::default();
        let first = Initial::of(0).protect(&crypto(0, &stream[..cut]));
        assert_eq!(client.take(&first), Ok(Step::Pause), "{cut}");
        assert_eq!(client.names(), ["first.example"]);
        let second = Initial::of(1).protect(&crypto(cut, &stream[cut..]));
        assert_eq!(client.take(&second), Ok(Step::Found), "{cut}");
        assert_eq!(client.streams[0].slot.next, stream.len() as u32);
    }
}

#[test]
fn behind_a_retry_its_connection_id_makes_the_keys() {
    let retry = bytes(RETRY);
    let window = Window::new(&retry);
    let mut packets = Datagram::default();
    packets.begin();
    assert_eq!(packets.step(&window), Ok(Packet::Retry));
    let source = packets.header.source_at as usize..;
    let source = &window.bytes[source][..packets.header.source_length as usize];
    assert_eq!(source, bytes("f067a5502a4262b5"));
    assert_eq!(packets.step(&window), Ok(Packet::End));

    let hello = hello("retried.example");
    let mut client = Client::default();
    assert_eq!(client.take(&Initial::of(0).protect(&crypto(0, &hello[..99]))), Ok(Step::Pause));
    let again =
        Initial { destination: source.to_vec(), token: b"token".to_vec(), ..Initial::of(1) };
    assert_eq!(client.take(&again.protect(&crypto(0, &hello))), Ok(Step::Found));
    assert_eq!(client.names(), ["retried.example"]);
}

#[test]
fn the_first_connection_id_makes_the_keys_when_the_server_has_chosen_another() {
    let hello = hello("chosen.example");
    let first = Initial::of(0).protect(&crypto(0, &hello[..1000]));
    let (header, window) = header_of(&first);
    let keys = Some(own_keys(&header, &window));
    let second = Initial { destination: vec![0x5e; 8], keys, ..Initial::of(1) };
    let mut client = Client::default();
    assert_eq!(client.take(&first), Ok(Step::Pause));
    assert_eq!(client.take(&second.protect(&crypto(1000, &hello[1000..]))), Ok(Step::Found));
    assert_eq!(client.names(), ["chosen.example"]);
}

#[test]
fn connections_of_one_pair_of_ports_hide_nothing_of_each_other() {
    let (real, decoy) = (hello("real.example"), hello("decoy.example"));
    let other = |number| Initial { destination: vec![0xdc; 9], ..Initial::of(number) };
    let mut client = Client::default();
    assert_eq!(client.take(&Initial::of(0).protect(&crypto(0, &real[..1000]))), Ok(Step::Pause));
    assert_eq!(client.take(&other(0).protect(&crypto(0, &decoy[..999]))), Ok(Step::Pause));
    assert_eq!(client.take(&Initial::of(1).protect(&crypto(1000, &real[1000..]))), Ok(Step::Found));
    assert_eq!(client.names(), ["real.example"]);
    assert_eq!(client.take(&other(1).protect(&crypto(999, &decoy[999..]))), Ok(Step::Found));
    assert_eq!(client.names(), ["real.example", "decoy.example"]);
}

#[test]
fn a_forged_packet_number_hides_nothing() {
    let hello = hello("number.example");
    let mut client = Client::default();
    let forged = Initial { number_bytes: 4, ..Initial::of(0x7fff_ffff) };
    assert_eq!(client.take(&forged.protect(&[0; 30])), Ok(Step::Pause));
    let initial = Initial { number_bytes: 1, ..Initial::of(0) };
    assert_eq!(client.take(&initial.protect(&crypto(0, &hello))), Ok(Step::Found));
    assert_eq!(client.names(), ["number.example"]);
}

#[test]
fn a_version_that_was_negotiated_has_keys_of_the_first_connection_id() {
    let hello = hello("negotiated.example");
    let mut client = Client::default();
    assert_eq!(client.take(&Initial::of(0).protect(&crypto(0, &hello[..1000]))), Ok(Step::Pause));
    let version = 0x6b33_43cf;
    let keys_from = Initial { version, keys: Some(Keys::default()), ..Initial::of(1) };
    let (header, window) = header_of(&keys_from.protect(&[0; 40]));
    let keys = Some(own_keys(&header, &window));
    let second = Initial { destination: vec![0x5e; 8], version, keys, ..Initial::of(1) };
    assert_eq!(client.take(&second.protect(&crypto(1000, &hello[1000..]))), Ok(Step::Found));
    assert_eq!(client.names(), ["negotiated.example"]);
}

#[test]
fn what_other_keys_make_of_a_packet_is_refused() {
    let payload = [crypto(0, &hello("other.example")), vec![0; 100]].concat();
    let mut wrong = 0;
    for seed in 0..300 {
        let mut random = random(seed);
        let keys = Keys { hp: core::array::from_fn(|_| random(1 << 30) as u32), ..Keys::default() };
        let packet = Initial { keys: Some(keys), ..Initial::of(0) }.protect(&payload);
        match Client::default().take(&packet) {
            Err(Refused::Unread(Unread::WrongKeys)) => wrong += 1,
            Err(Refused::Unread(Unread::Malformed | Unread::Oversize)) => {}
            taken => panic!("{taken:?}"),
        }
    }
    // Three of four by the Reserved Bits.
    assert!((200..250).contains(&wrong), "{wrong}");
}

#[test]
fn two_versions_of_a_byte_are_an_evasion() {
    let (allowed, blocked) = (hello("allowed.example"), hello("blocked.example"));
    for (name, first) in [("read", 0..allowed.len()), ("waiting", 700..allowed.len())] {
        let mut client = Client::default();
        let decoy = Initial::of(0).protect(&crypto(first.start, &allowed[first]));
        assert!(client.take(&decoy).is_ok());
        let from = allowed.len() - 40;
        let other = Initial::of(1).protect(&crypto(from, &blocked[from..]));
        assert_eq!(client.take(&other), Err(Refused::Evasion), "{name}");
    }
}

#[test]
fn long_integers_are_read_as_servers_read_them() {
    let hello = hello("long.example");
    for bytes in [2, 4, 8] {
        let frame =
            [varint(6, bytes), varint(0, bytes), varint(hello.len() as u64, bytes)].concat();
        let payload = [varint(0, bytes), varint(1, bytes), frame, hello.clone()].concat();
        assert_eq!(Client::default().take(&Initial::of(0).protect(&payload)), Ok(Step::Found));
    }
}

#[test]
fn pieces_out_of_the_window_are_left_out() {
    let mut client = Client::default();
    let far = Initial::of(0).protect(&crypto(4090, b"seven b"));
    assert_eq!(client.take(&far), Err(Refused::LeftOut));
    // A hello of 6000 bytes, in order: what lies 4096 bytes back is kept no more.
    let long = Hello { before: vec![(21, 5500)], ..Hello::of("x.example") }.bytes()[5..].to_vec();
    for (number, part) in (1..).zip(long[..5500].chunks(1000)) {
        let packet = Initial::of(number).protect(&crypto((number as usize - 1) * 1000, part));
        assert_eq!(client.take(&packet), Ok(Step::Pause));
    }
    let old = Initial::of(9).protect(&crypto(100, &long[100..900]));
    assert_eq!(client.take(&old), Err(Refused::LeftOut));
}
