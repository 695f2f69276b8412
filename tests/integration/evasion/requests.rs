//! Plain requests: the head in pieces, behind other requests and their bodies, written as few write them.

use std::time::Duration;

use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Script, Step, cut, pieces, whole};
use sensor_lab::servers::page_of;

use super::case::{Case, case};
use super::draft::{Draft, Hello, INNOCENT};
use super::segments::{reversed, shuffled};

const PORT: u16 = 80;

/// Leaves the device with fewer hops than the server is away, and with too many for it to be odd.
const WEAK: u8 = 63;

pub(super) fn cases() -> Vec<Case> {
    [in_pieces(), behind_others(), written_oddly(), with_fakes()].into_iter().flatten().collect()
}

fn in_pieces() -> Vec<Case> {
    vec![
        case("request, one segment", |draft| sent(draft, &get(draft), |bytes| whole(0, bytes))),
        case("request, cut after 1 byte", |draft| {
            sent(draft, &get(draft), |bytes| cut(bytes, &[1]))
        }),
        case("request, cut at every byte", |draft| {
            sent(draft, &get(draft), |bytes| pieces(bytes, 1))
        }),
        case("request, cut in the name, second first", |draft| {
            let at = get(draft).name.start + 4;
            sent(draft, &get(draft), move |bytes| reversed(cut(bytes, &[at])))
        }),
        case("request, pieces of 5, shuffled", |draft| {
            sent(draft, &get(draft), |bytes| shuffled(pieces(bytes, 5)))
        }),
        case("request, every segment twice", |draft| {
            sent(draft, &get(draft), |bytes| {
                pieces(bytes, 9).into_iter().flat_map(|piece| [piece.clone(), piece]).collect()
            })
        }),
        case("request, a long pause in the middle", |draft| {
            let Hello { bytes, .. } = get(draft);
            script(draft, &bytes)
                .send([Segment::at(0, &bytes[..20])])
                .then(Step::Pause(Duration::from_secs(6)))
                .send([Segment::at(20, &bytes[20..])])
        }),
        case("request, the host behind 6,000 bytes of fields", |draft| {
            let head = draft.hello(|name| {
                let fields = format!("Pad: {}\r\n", "x".repeat(993)).repeat(6);
                format!("GET / HTTP/1.1\r\n{fields}Host: {name}\r\n\r\n").into_bytes()
            });
            sent(draft, &head, |bytes| whole(0, bytes))
        }),
    ]
}

/// On a connection that was used for something else before.
fn behind_others() -> Vec<Case> {
    vec![
        case("request behind another in its segment", |draft| {
            sent(draft, &behind(draft, &innocent("")), |bytes| whole(0, bytes))
        }),
        case("request behind another, pipelined in pieces of 7", |draft| {
            sent(draft, &behind(draft, &innocent("")), |bytes| pieces(bytes, 7))
        }),
        case("request behind an answered one", |draft| {
            after_answer(draft, |bytes| whole(0, bytes))
        }),
        case("request behind an answered one, cut after 1 byte", |draft| {
            after_answer(draft, |bytes| cut(bytes, &[1]))
        }),
        case("request behind an answered one, cut after 2 bytes, reversed", |draft| {
            after_answer(draft, |bytes| reversed(cut(bytes, &[2, 30])))
        }),
        case("request behind an upload, in its last segment", |draft| {
            let body = "GET / HTTP/1.1\r\nHost: garden.example\r\n\r\n".repeat(100);
            let upload = innocent(&format!("Content-Length: {}\r\n", body.len())) + &body;
            sent(draft, &behind(draft, &upload), |bytes| whole(0, bytes))
        }),
        case("request behind an upload, the end of it first", |draft| {
            let upload = innocent("Content-Length: 3000\r\n") + &"x".repeat(3000);
            sent(draft, &behind(draft, &upload), |bytes| reversed(whole(0, bytes)))
        }),
        case("request behind a chunked upload, in pieces of 11", |draft| {
            sent(draft, &behind(draft, &chunked()), |bytes| pieces(bytes, 11))
        }),
        case("request behind a chunked upload, shuffled", |draft| {
            sent(draft, &behind(draft, &chunked()), |bytes| shuffled(pieces(bytes, 13)))
        }),
        case("request behind ten others", |draft| {
            sent(draft, &behind(draft, &innocent("").repeat(10)), |bytes| whole(0, bytes))
        }),
    ]
}

fn written_oddly() -> Vec<Case> {
    let written = |name: &str, head: fn(&str) -> String| {
        case(name, move |draft| {
            sent(draft, &draft.hello(|name| head(name).into_bytes()), |bytes| whole(0, bytes))
        })
    };
    vec![
        written("request, absolute form beats Host", |name| {
            format!("GET http://{name}/ HTTP/1.1\r\nHost: {INNOCENT}\r\n\r\n")
        }),
        written("request, upper case, port and final dot", |name| {
            let upper = name.to_ascii_uppercase();
            format!("GET / HTTP/1.1\r\nhOST:{upper}.:80\r\n\r\n")
        }),
        written("request, bare line feeds behind empty lines", |name| {
            format!("\r\n\n\r\nGET / HTTP/1.1\nHost:   {name}  \n\n")
        }),
        written("request, HTTP/1.0", |name| format!("GET / HTTP/1.0\r\nHost: {name}\r\n\r\n")),
        written("request, a wish for HTTP/2", |name| {
            format!(
                "GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                 HTTP2-Settings: AAMAAABk\r\nHost: {name}\r\n\r\n"
            )
        }),
        written("request, two hosts", |name| {
            format!("GET / HTTP/1.1\r\nHost: {INNOCENT}\r\nHost: {name}\r\n\r\n")
        })
        .refused(),
    ]
}

/// Other bytes at the same place that do not arrive.
fn with_fakes() -> Vec<Case> {
    vec![
        case("request, behind a weak fake of it", |draft| {
            let Hello { bytes, fake, .. } = get(draft);
            script(draft, &bytes)
                .send([Segment::at(0, &fake).hop_limit(WEAK), Segment::at(0, &bytes)])
        })
        .dishonest(),
        case("request, in halves behind a weak fake of it", |draft| {
            let Hello { bytes, fake, name } = get(draft);
            script(draft, &bytes)
                .send([Segment::at(0, &fake).hop_limit(WEAK)])
                .send(cut(&bytes, &[name.start + 3]))
        })
        .dishonest(),
        case("request, the second half of a fake lost", |draft| {
            let Hello { bytes, fake, name } = get(draft);
            let at = name.start;
            script(draft, &bytes)
                .send([Segment::at(0, &bytes[..at]), Segment::at(at, &fake[at..]).hop_limit(WEAK)])
                .send([Segment::at(at, &bytes[at..])])
        })
        .dishonest(),
        case("request behind a body that got lost", |draft| {
            // As long as the request, with a body in its place for who believes it.
            let Hello { bytes, .. } = get(draft);
            let head = format!("GET / HTTP/1.1\r\nHost: {INNOCENT}\r\nContent-Length: 500\r\n\r\n");
            script(draft, &bytes)
                .send([Segment::at(0, head.as_bytes()).hop_limit(WEAK), Segment::at(0, &bytes)])
        })
        .dishonest(),
        case("request, lines that are none got lost before it", |draft| {
            let Hello { bytes, .. } = get(draft);
            script(draft, &bytes)
                .send([Segment::at(0, b"hello\r\n").hop_limit(WEAK), Segment::at(0, &bytes)])
        })
        .dishonest(),
    ]
}

fn head(name: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {name}\r\nAccept: */*\r\n\r\n")
}

fn get(draft: &Draft) -> Hello {
    draft.hello(|name| head(name).into_bytes())
}

/// A request for a name on no list, with these fields.
fn innocent(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {INNOCENT}\r\n{fields}\r\n")
}

fn chunked() -> String {
    let chunk = "GET / HTTP/1.1\r\nHost: garden.example\r\n\r\n";
    let length = chunk.len();
    let chunks =
        format!("{length:X};x=y\r\n{chunk}\r\n00{length:x}\r\n{chunk}\r\n0\r\nA: b\r\n\r\n");
    innocent("Transfer-Encoding: chunked\r\n") + &chunks
}

/// The request behind these bytes.
fn behind(draft: &Draft, before: &str) -> Hello {
    draft.hello(|name| [before, &head(name)].concat().into_bytes())
}

/// The request in these segments, when the server has answered another one.
fn after_answer(draft: &Draft, segments: impl Fn(&[u8]) -> Vec<Segment>) -> Script {
    let first = innocent("");
    let Hello { bytes, .. } = get(draft);
    script(draft, &[first.as_bytes(), &bytes].concat())
        .send(whole(0, first.as_bytes()))
        .then(Step::AwaitData)
        .send(segments(&bytes).into_iter().map(|segment| segment.behind(first.len())))
}

fn sent(draft: &Draft, hello: &Hello, segments: impl FnOnce(&[u8]) -> Vec<Segment>) -> Script {
    script(draft, &hello.bytes).send(segments(&hello.bytes))
}

fn script(draft: &Draft, stream: &[u8]) -> Script {
    Script::of(stream).to(PORT).expecting(page_of(draft.name).trim_end().as_bytes())
}
