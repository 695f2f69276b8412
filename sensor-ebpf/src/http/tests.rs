//! Streams of requests, and the hosts found in them.

use super::*;
use crate::cursor::WINDOW;

/// What a stream tells, name by name, with the reasons for none between them.
type Told = Vec<Result<String, NoName>>;

/// Reads a stream that comes in pieces which end at `cuts`.
fn read_cut(stream: &[u8], cuts: &[usize]) -> (Told, State, u64) {
    let mut reader = RequestReader::default();
    let mut told = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        for piece in stream[from..to].chunks(WINDOW) {
            let window = Window::new(piece);
            reader.resume(0, 0);
            loop {
                match reader.read(&window) {
                    Step::Found => {
                        let name = &reader.name()[..reader.name_length() as usize];
                        told.push(Ok(String::from_utf8_lossy(name).into_owned()));
                    }
                    Step::Stop(reason) => {
                        told.push(Err(reason));
                        if reader.state() == State::Lost {
                            return (told, State::Lost, 0);
                        }
                    }
                    Step::Pause | Step::More => break,
                }
            }
        }
        from = to;
    }
    (told, reader.state, reader.left)
}

fn read(stream: &str) -> Told {
    read_cut(stream.as_bytes(), &[]).0
}

fn names(names: &[&str]) -> Told {
    names.iter().map(|name| Ok((*name).to_owned())).collect()
}

#[test]
fn hosts_wherever_they_stand() {
    let rows = [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost:a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nhOsT:\t a.example \r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\nHost: a.example\n\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n", "a.example."),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "[2001:db8::1]"),
        ("GET / HTTP/1.1\r\nX-Host: b.example\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHosts: b.example\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHo: b\r\nH: c\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nA: b\r\n Host: folded.example\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost:\r\n a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost:\n\t a.example\n\n", "a.example"),
        ("GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET\t/\tHTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n", "239.255.255.250"),
        ("GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost: %61.example\r\n\r\n", "%61.example"),
        // The target names it.
        ("GET http://t.example HTTP/1.1\r\n\r\n", "t.example"),
        // Servers answer methods that nobody has heard of.
        ("mkcalendar_x / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET http://t.example:81/x HTTP/1.1\r\n\r\n", "t.example"),
        ("GET http://t.example?q=/ HTTP/1.1\r\n\r\n", "t.example"),
        ("GET http://u:p@t.example/ HTTP/1.1\r\n\r\n", "t.example"),
        ("GET http://[2001:db8::2]:8/ HTTP/1.1\r\n\r\n", "[2001:db8::2]"),
        ("CONNECT t.example:443 HTTP/1.1\r\n\r\n", "t.example"),
        ("CONNECT [2001:db8::3]:443 HTTP/1.1\r\n\r\n", "[2001:db8::3]"),
        // The name is whole: the rest of the head is not waited for.
        ("GET / HTTP/1.1\r\nHost: a.example\r", "a.example"),
    ];
    for (head, expected) in rows {
        assert_eq!(read(head), names(&[expected]), "{head:?}");
    }
}

#[test]
fn each_name_of_a_head_is_told_the_targets_first() {
    let check = |head, expected: &[&str]| assert_eq!(read(head), names(expected), "{head:?}");
    check("GET http://t.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", &["t.example", "a.example"]);
    check("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nHost: b\r\nHost:c\r\n\r\n", &["a", "b", "c"]);
}

#[test]
fn heads_without_a_host_have_their_reason() {
    let rows = [
        ("GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", NoName::NoHost),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", NoName::NoHost),
        ("GET / HTTP/1.0\n\n", NoName::NoHost),
        ("GET / HTTP/2.0\r\nHost: a.example\r\n\r\n", NoName::Http2),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NoName::Http2),
        ("GET /\r\nHost: a.example\r\n\r\n", NoName::NotTls),
        ("EHLO a.example\r\n", NoName::NotTls),
        ("STARTTLS\r\n", NoName::NotTls),
        ("HTTP/1.1 200 OK\r\nHost: a.example\r\n\r\n", NoName::NotTls),
        ("OPTIONS sip:x@a.example SIP/2.0\r\nHost: a.example\r\n\r\n", NoName::NotTls),
        ("{}", NoName::NotTls),
    ];
    for (head, reason) in rows {
        let head = head.replace("{}", &"A".repeat(65));
        assert_eq!(read(&head), [Err(reason)], "{head:?}");
    }
    assert_eq!(read("GET / HTTP/1.1\r\nHost: a.exa"), []);
    let colon = "GET / HTTP/1.1\r\nHost: :80\r\n\r\n";
    assert_eq!(read(colon), [Err(NoName::Malformed)]);
}

#[test]
fn every_request_of_a_connection_is_found() {
    let check = |stream: &str, expected: &[&str]| {
        let (told, state, _) = read_cut(stream.as_bytes(), &[]);
        assert_eq!((told, state), (names(expected), State::Start), "{stream:?}");
    };
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let fake = "GET / HTTP/1.1\r\nHost: fake\r\n\r\n";
    check(&get.repeat(3), &["a", "a", "a"]);
    let length = fake.len();
    check(
        &format!("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: {length}\r\n\r\n{fake}{get}"),
        &["b", "a"],
    );
    check(&format!("POST / HTTP/1.1\r\nContent-length:0\r\nHost: b\r\n\r\n{get}"), &["b", "a"]);
    check(
        &format!(
            "POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip, Chunked \r\n\r\n\
             {length:x};x=y\r\n{fake}\r\n1\r\nG\r\n0\r\nHost: trailer\r\nX: y\r\n\r\n{get}"
        ),
        &["b", "a"],
    );
    check(
        &format!("POST / HTTP/1.1\nHost: b\nTransfer-Encoding:chunked\n\n2\nab\n0\n\n{get}"),
        &["b", "a"],
    );
}

#[test]
fn where_messages_are_framed_unclearly_reading_ends() {
    let rows = [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5, 5",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked chunked",
    ];
    for row in rows {
        let stream = format!("POST / HTTP/1.1\r\nHost: a\r\n{row}\r\n\r\n");
        let (told, state, _) = read_cut(stream.as_bytes(), &[]);
        let expected = vec![Ok("a".to_owned()), Err(NoName::HttpFraming)];
        assert_eq!((told, state), (expected, State::Lost), "{row}");
    }
    let bad_chunk = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(read(bad_chunk), [Ok("a".to_owned()), Err(NoName::Malformed)]);
    let tunnel = "CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n";
    assert_eq!(read_cut(tunnel.as_bytes(), &[]).1, State::Tunnel);
}

#[test]
fn a_body_is_passed_over_without_being_seen() {
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000000\r\n\r\nGET ";
    let (told, state, left) = read_cut(head.as_bytes(), &[]);
    assert_eq!((told, state, left), (names(&["a"]), State::Body, 4_999_999_996));
}

#[test]
fn a_host_of_256_bytes_is_none() {
    let longest = "x".repeat(255);
    assert_eq!(read(&format!("GET / HTTP/1.1\r\nHost: {longest}\r\n")), names(&[&longest]));
    let head = format!("GET / HTTP/1.1\r\nHost: {longest}x\r\n");
    assert_eq!(read(&head), [Err(NoName::Malformed)]);
}

#[test]
fn a_head_of_64_kib_is_read_and_a_longer_one_is_not() {
    let head = |pad: usize| {
        format!("GET / HTTP/1.1\r\nPad: {}\r\nHost: a.example\r\n\r\n", "x".repeat(pad))
    };
    let rest = head(0).len();
    assert_eq!(read(&head(HEAD_MAX as usize - rest)), names(&["a.example"]));
    assert_eq!(read(&head(HEAD_MAX as usize)), [Err(NoName::Oversize)]);
}

#[test]
fn where_a_stream_is_cut_makes_no_difference() {
    let stream = "\r\nPOST http://t.example/x HTTP/1.1\r\nhost:\r\n a.example\r\n\
                  Transfer-Encoding: chunked\r\nHost: b.example:80\r\n\r\n\
                  a;x\r\nGET / HTTP\r\n0\r\nT: u\r\n\r\n\
                  PUT / HTTP/1.1\r\nContent-Length: 3\r\nHost: c\r\n\r\nabc\
                  GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\nHost: [::1]:8\n\n";
    let whole = read_cut(stream.as_bytes(), &[]);
    assert_eq!(whole.0.len(), 6, "{whole:?}");
    assert_eq!(whole.0[4], Err(NoName::NoHost));
    for cut in 1..stream.len() {
        assert_eq!(read_cut(stream.as_bytes(), &[cut]), whole, "cut at {cut}");
    }
    let everywhere: Vec<_> = (1..stream.len()).collect();
    assert_eq!(read_cut(stream.as_bytes(), &everywhere), whole);
}

#[test]
fn a_wish_for_http2_is_told_beside_the_name() {
    let check = |upgrade: &str, expected: &[Result<String, NoName>]| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: {upgrade}\r\n\r\n");
        let (told, state, _) = read_cut(head.as_bytes(), &[]);
        assert_eq!((told.as_slice(), state), (expected, State::Start), "{upgrade}");
    };
    let (named, http2) = (Ok("a".to_owned()), Err(NoName::Http2));
    check("h2c", &[named.clone(), http2.clone()]);
    check("websocket, H2C", &[named.clone(), http2]);
    check("websocket", std::slice::from_ref(&named));
    check("h2c-99, xh2c", &[named]);
}

#[test]
fn a_name_is_known_only_where_it_is_the_last_one() {
    let mut reader = RequestReader::default();
    let stream = "GET / HTTP/1.1\r\nHost: same\r\n\r\nGET / HTTP/1.1\r\nHost: same\r\n\r\n\
                  GET http://same/ HTTP/1.1\r\nHost: samE\r\n\r\nGET evil://evil/ HTTP/1.1\r\n\r\n\
                  GET http://u@evil/ HTTP/1.1\r\nHost: evil\r\n\r\n";
    let window = Window::new(stream.as_bytes());
    let mut known = Vec::new();
    while reader.read(&window) == Step::Found {
        known.push(reader.is_known_name());
    }
    assert_eq!(known, [false, true, false, false, false, false, true]);
}
