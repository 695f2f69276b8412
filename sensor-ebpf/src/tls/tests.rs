//! Hellos, and the name found in them.

use sensor_lab::frames::Hello;
use tls_parser::{TlsExtension, TlsMessage, TlsMessageHandshake};

use super::*;

/// What a reader made of a stream that came in pieces.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    name: Option<Vec<u8>>,
    end: Step,
}

/// Reads a stream cut into pieces.
fn read_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Read, Box<HelloReader>) {
    let mut reader = Box::new(HelloReader::new());
    reader.begin();
    let mut end = Step::Pause;
    'pieces: for piece in pieces {
        for chunk in piece.chunks(crate::cursor::WINDOW) {
            let window = Window::new(chunk);
            reader.resume(0);
            end = reader.read(&window);
            let stuck = end == Step::Pause && reader.step(&window) != Step::Pause;
            assert!(!stuck, "a window takes a bounded number of steps");
            if end != Step::Pause {
                break 'pieces;
            }
        }
    }
    let name = reader.is_named().then(|| reader.name()[..reader.name_length() as usize].to_vec());
    (Read { name, end }, reader)
}

/// The name in a record that is there as a whole, or why there is none.
fn read(record: &[u8]) -> Result<String, NoName> {
    let (read, _) = read_pieces([record]);
    match (read.name, read.end) {
        (Some(name), _) => Ok(String::from_utf8_lossy(&name).into_owned()),
        (None, Step::Stop(reason)) => Err(reason),
        (None, Step::Found) => Err(NoName::NoSni),
        (None, Step::Pause | Step::More) => Err(NoName::Truncated),
    }
}

#[test]
fn names_wherever_they_lie() {
    let check =
        |hello: Hello, expected: &str| assert_eq!(read(&hello.bytes()).as_deref(), Ok(expected));
    check(Hello::of("first.example"), "first.example");
    check(Hello::with_name_last("last.example"), "last.example");
    check(Hello { session_id: 0, ciphers: 1, ..Hello::of("short.example") }, "short.example");
    check(Hello { before: vec![(51, 1263)], ..Hello::of("hybrid.example") }, "hybrid.example");
    check(Hello { before: vec![(21, 0); 300], ..Hello::of("301st.example") }, "301st.example");
    // The longest name; bytes that are no name's are the judge's matter.
    let longest = "x".repeat(255);
    check(Hello::of(&longest), &longest);
    check(Hello::of("a b\n"), "a b\n");
}

#[test]
fn hellos_without_a_name_have_their_reason() {
    let hello = || Hello::of("a.example");
    let changed = |at: usize, byte: u8| {
        let mut record = hello().bytes();
        record[at] = byte;
        record
    };
    let name_extension = 9 + 2 + 32 + 1 + 32 + 2 + 62 + 2 + 2;
    let rows = [
        ("no name", Hello { name: None, ..hello() }.bytes(), NoName::NoSni),
        ("an empty name", Hello::of("").bytes(), NoName::Malformed),
        ("a name of 256 bytes", Hello::of(&"x".repeat(256)).bytes(), NoName::Malformed),
        ("another name type alone", changed(name_extension + 6, 1), NoName::Malformed),
        ("a name beyond its extension", changed(name_extension + 8, 200), NoName::Malformed),
        ("an extension beyond the hello", changed(name_extension + 2, 0xff), NoName::Malformed),
        (
            "a session id of 33 bytes",
            Hello { session_id: 33, ..hello() }.bytes(),
            NoName::Malformed,
        ),
        ("an alert as long as a hello", changed(0, 21), NoName::NotTls),
        ("application data", changed(0, 23), NoName::NotTls),
        ("SSL 2", changed(1, 2), NoName::NotTls),
        ("a server hello", changed(5, 2), NoName::NotTls),
        ("nothing", Vec::new(), NoName::Truncated),
    ];
    for (what, record, reason) in rows {
        assert_eq!(read(&record), Err(reason), "{what}");
    }
}

#[test]
fn a_hello_cut_before_its_name_ends_is_truncated() {
    let record = Hello::with_name_last("cut.example").bytes();
    for length in 0..record.len() {
        let found = read(&record[..length]);
        assert_eq!(found, Err(NoName::Truncated), "cut at {length}");
    }
    // What comes after the name is not waited for.
    let record = Hello::of("whole.example").bytes();
    let name_end = record.windows(13).position(|at| at == b"whole.example").unwrap() + 13;
    assert_eq!(read(&record[..name_end]).as_deref(), Ok("whole.example"));
    assert_eq!(read(&record[..name_end - 1]), Err(NoName::Truncated));
}

#[test]
fn a_message_without_records_is_read_wherever_it_is_cut() {
    let record =
        Hello { before: vec![(51, 1263)], ..Hello::with_name_last("bare.example") }.bytes();
    let message = &record[RECORD_HEADER as usize..];
    let (_, of_record) = read_pieces([&record[..]]);
    for cut in 0..message.len() {
        let mut reader = Box::new(HelloReader::new());
        reader.begin_message();
        let (first, second) = message.split_at(cut);
        assert_eq!(reader.read(&Window::new(first)), Step::Pause, "cut at {cut}");
        reader.resume(0);
        assert_eq!(reader.read(&Window::new(second)), Step::Found, "cut at {cut}");
        assert_eq!(&reader.name()[..reader.name_length() as usize], b"bare.example");
        let suites = reader.offer().cipher_suites_length;
        assert_eq!(suites, of_record.offer().cipher_suites_length);
        let suites = ..usize::from(suites);
        assert_eq!(reader.offer().cipher_suites[suites], of_record.offer().cipher_suites[suites]);
    }
    // A message of records does not begin as one of them.
    let mut reader = Box::new(HelloReader::new());
    reader.begin_message();
    assert_eq!(reader.read(&Window::new(&record)), Step::Stop(NoName::NotTls));
}

/// What tls-parser, the reference, finds.
fn reference(record: &[u8]) -> Option<Vec<u8>> {
    let (_, plaintext) = tls_parser::parse_tls_plaintext(record).ok()?;
    let hello = plaintext.msg.iter().find_map(|message| {
        let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = message else {
            return None;
        };
        Some(hello)
    })?;
    let (_, extensions) = tls_parser::parse_tls_extensions(hello.ext?).ok()?;
    extensions.into_iter().find_map(|extension| {
        let TlsExtension::SNI(names) = extension else { return None };
        names.first().map(|(_, name)| name.to_vec())
    })
}

#[test]
fn the_reference_reads_the_same_name() {
    // Of every legal shape: what comes before and after the name, in all sizes near the edges.
    let lengths = [0, 1, 2, 32, 255, 256, 1216];
    let mut compared = 0;
    for before in lengths {
        for after in lengths {
            for session_id in [0, 1, 32] {
                for ciphers in [1, 17, 128] {
                    for name in ["a", "a.example", &"x.".repeat(120)] {
                        let hello = Hello {
                            name: Some(name.as_bytes().to_vec()),
                            before: vec![(0x3a3a, before), (65_037, before)],
                            after: vec![(16, 3), (0x1a1a, after)],
                            session_id,
                            ciphers,
                        };
                        let record = hello.bytes();
                        let expected = reference(&record).expect("the reference reads it");
                        assert_eq!(read(&record).map(String::into_bytes), Ok(expected));
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(compared, 7 * 7 * 3 * 3 * 3);
}
