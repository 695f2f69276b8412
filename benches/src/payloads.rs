//! First segments as browsers send them.

use sensor_lab::frames::{Hello, in_records};
use sensor_lab::quic::{Content, DATAGRAM_MIN, Initial, short};

/// Bytes of a browser's hello with its record header: padded to this (RFC 7685).
const HELLO_BYTES: usize = 517;

/// Where the server name stands among the extensions; browsers send them in random order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamePlace {
    First,
    Last,
}

/// A TLS 1.3 hello with seventeen extensions, in one record.
pub(crate) fn client_hello(name: &str, place: NamePlace) -> Vec<u8> {
    let mut hello = Hello { session_id: 32, ciphers: 16, ..Hello::of(name) };
    let mut others = OTHERS.to_vec();
    hello.after.clone_from(&others);
    others.push((21, HELLO_BYTES.saturating_sub(hello.bytes().len() + 4)));
    match place {
        NamePlace::First => hello.after = others,
        NamePlace::Last => (hello.before, hello.after) = (others, Vec::new()),
    }
    hello.bytes()
}

/// A hello with a post-quantum key share and a grease ECH, as Chrome sends it: about 1.8 KB. The name is
/// the last extension, in the second segment.
pub(crate) fn post_quantum_hello(name: &str) -> Vec<u8> {
    let mut before = OTHERS.map(|(kind, length)| (kind, if kind == 51 { 1263 } else { length }));
    before.reverse();
    let before = [before.as_slice(), &[(0xfe0d, 282), (0x44cd, 5)]].concat();
    let hello = Hello { session_id: 32, ciphers: 16, ..Hello::of(name) };
    Hello { before, after: Vec::new(), ..hello }.bytes()
}

/// The hello that takes most work of those that fit one segment of 1,448 bytes: each record has one
/// byte, the extensions before the name are empty.
pub(crate) fn hello_in_one_byte_records(name: &str) -> Vec<u8> {
    /// Bytes of the message, each with a record header of five.
    const MESSAGE: usize = 1448 / 6;
    /// Kinds nobody has assigned.
    const FREE_KINDS: std::ops::Range<u16> = 100..200;
    let of = |before: Vec<_>| {
        let hello = Hello { session_id: 32, ciphers: 16, ..Hello::of(name) };
        Hello { before, after: Vec::new(), ..hello }.bytes()
    };
    let room = MESSAGE.saturating_sub(of(Vec::new()).len() - 5);
    let mut before: Vec<_> = FREE_KINDS.take(room / 4).map(|kind| (kind, 0)).collect();
    if let Some((_, length)) = before.last_mut() {
        *length = room % 4;
    }
    in_records(&of(before), &[1; MESSAGE])
}

/// Bytes of the connection IDs of browsers, and of short headers then.
pub(crate) const CONNECTION_ID: [u8; 8] = *b"\x83\x94\xc8\xf0\x3e\x51\x57\x08";

/// A client's Initial of 1,200 bytes with a hello of 512.
pub(crate) fn initial(name: &str) -> Vec<u8> {
    let hello = client_hello(name, NamePlace::Last).split_off(5);
    initial_of(vec![Content::whole(&hello)], 0)
}

/// The two Initials of a hello with a post-quantum key share; the name is in the second.
pub(crate) fn initials_of_two(name: &str) -> [Vec<u8>; 2] {
    /// What fits beside headers and tag.
    const FIRST: usize = 1100;
    let hello = post_quantum_hello(name).split_off(5);
    let piece = |from, to| vec![Content::piece(&hello, from, to)];
    [initial_of(piece(0, FIRST), 0), initial_of(piece(FIRST, hello.len()), 1)]
}

fn initial_of(frames: Vec<Content>, number: u32) -> Vec<u8> {
    let initial = Initial { source: Vec::new(), ..Initial::of(frames) };
    initial.numbered(number).to_connection(&CONNECTION_ID).padded_to(DATAGRAM_MIN)
}

/// A packet of a connection that is up.
pub(crate) fn short_header_packet() -> Vec<u8> {
    short(&CONNECTION_ID, DATAGRAM_MIN)
}

/// A page request of a browser, about 450 bytes: Host follows the request line.
pub(crate) fn request(name: &str) -> Vec<u8> {
    format!("{REQUEST_LINE}Host: {name}\r\n{HEADERS}\r\n").into_bytes()
}

/// The same with a large cookie and Host as the last header, about 1,200 bytes into the head.
pub(crate) fn request_with_late_host(name: &str) -> Vec<u8> {
    const HOST_AT: usize = 1200;
    let before = format!("{REQUEST_LINE}{HEADERS}Cookie: session=\r\n").len();
    let cookie = "5e1f0c9a".repeat((HOST_AT - before) / 8);
    format!("{REQUEST_LINE}{HEADERS}Cookie: session={cookie}\r\nHost: {name}\r\n\r\n").into_bytes()
}

const REQUEST_LINE: &str = "GET /courses/2026/spring/index.html HTTP/1.1\r\n";

const HEADERS: &str = "Connection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/143.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
    image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n";

/// Fifteen extensions of a browser and their lengths; the server name and the padding come to them.
const OTHERS: [(u16, usize); 15] = [
    (0x0a0a, 0),
    (23, 0),
    (0xff01, 1),
    (10, 10),
    (11, 2),
    (35, 0),
    (16, 14),
    (5, 5),
    (13, 18),
    (18, 0),
    (51, 43),
    (45, 2),
    (43, 5),
    (27, 3),
    (0x1a1a, 1),
];

#[cfg(test)]
mod tests {
    use sensor_ebpf::cursor::Window;
    use sensor_ebpf::http::RequestReader;
    use sensor_ebpf::step::Step;
    use sensor_ebpf::tls::HelloReader;

    use super::*;

    const NAME: &str = "media.images.example.com";

    /// Extensions of a hello from `client_hello`, by their kinds.
    fn kinds(hello: &[u8]) -> Vec<u16> {
        // Record, handshake, version, random, session, ciphers, compression, length.
        let mut rest = &hello[5 + 4 + 2 + 32 + 33 + 34 + 2 + 2..];
        let mut kinds = Vec::new();
        while let [kind_high, kind_low, length_high, length_low, behind @ ..] = rest {
            kinds.push(u16::from_be_bytes([*kind_high, *kind_low]));
            rest = &behind[usize::from(u16::from_be_bytes([*length_high, *length_low]))..];
        }
        kinds
    }

    #[test]
    fn a_hello_is_read_and_looks_like_a_browsers() {
        for (place, at) in [(NamePlace::First, 0), (NamePlace::Last, 16)] {
            let hello = client_hello(NAME, place);
            assert_eq!(hello.len(), HELLO_BYTES);
            let kinds = kinds(&hello);
            assert_eq!(kinds.len(), 17);
            assert_eq!(kinds.iter().position(|kind| *kind == 0), Some(at));
            let mut reader = HelloReader::new();
            reader.begin();
            assert_eq!(reader.read(&Window::new(&hello)), Step::Found);
            let length = reader.name_length() as usize;
            assert_eq!(&reader.name()[..length], NAME.as_bytes());
        }
    }

    #[test]
    fn hellos_of_several_segments_or_many_records_are_read() {
        let whole = post_quantum_hello(NAME);
        assert!((1800..1900).contains(&whole.len()), "{} bytes", whole.len());
        let name_at = whole.windows(NAME.len()).position(|bytes| bytes == NAME.as_bytes());
        assert!(name_at.unwrap() > 1428);
        let records = hello_in_one_byte_records(NAME);
        assert_eq!(records.len(), 1446);
        for hello in [whole, records] {
            let mut reader = HelloReader::new();
            reader.begin();
            assert_eq!(reader.read(&Window::new(&hello)), Step::Found);
            assert_eq!(&reader.name()[..NAME.len()], NAME.as_bytes());
        }
    }

    #[test]
    fn a_request_is_read_and_has_the_length_it_should() {
        let check = |request: Vec<u8>, host_at: usize, length: usize| {
            let mut reader = RequestReader::default();
            assert_eq!(reader.read(&Window::new(&request)), Step::Found);
            assert_eq!(&reader.name()[..reader.name_length() as usize], NAME.as_bytes());
            let found_at = request.windows(NAME.len()).position(|at| at == NAME.as_bytes());
            assert!(found_at.unwrap().abs_diff(host_at) < 20, "host at {found_at:?}");
            assert!(request.len().abs_diff(length) < 25, "{} bytes", request.len());
        };
        check(request(NAME), 52, 450);
        check(request_with_late_host(NAME), 1206, 1230);
    }
}
