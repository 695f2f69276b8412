//! Hellos that name the same server in other words, or that are longer than any client's.

use sensor_lab::script::hello::{ClientHello, RECORD_VERSION, record, records};
use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Script, Step, pieces, whole};

use super::case::{Case, case};
use super::draft::{Draft, INNOCENT};

const HOST_NAME: u8 = 0;
const SERVER_NAME: u16 = 0;
/// Segments that fit a server's first window.
const WINDOW_SEGMENTS: usize = 20;

pub(super) fn cases() -> Vec<Case> {
    [names(), sizes(), retries()].into_iter().flatten().collect()
}

fn names() -> Vec<Case> {
    let renamed = |rename: fn(&str) -> String| {
        move |draft: &Draft| sent(&ClientHello::small(&rename(draft.name)).bytes())
    };
    let listed = |list: fn(&str) -> Vec<(u8, Vec<u8>)>| {
        move |draft: &Draft| {
            let names = list(draft.name);
            let names: Vec<_> = names.iter().map(|(kind, name)| (*kind, &name[..])).collect();
            sent(&ClientHello::small(draft.name).with_names(&names).bytes())
        }
    };
    vec![
        case("the name in capitals", renamed(str::to_uppercase)),
        case("the name in mixed case", renamed(|name| name.replace('a', "A").replace('e', "E"))),
        case("the name with a dot behind", renamed(|name| format!("{name}."))),
        case("a name below it", renamed(|name| format!("www.{name}"))),
        case("a name far below it", renamed(|name| format!("{}{name}", "a.".repeat(60)))),
        case("a name with an underscore below it", renamed(|name| format!("a_b.{name}"))),
        case("a name with two dots before it", renamed(|name| format!("a..{name}"))).dishonest(),
        case("a name with a dot before it", renamed(|name| format!(".{name}"))).dishonest(),
        case("the name with a NUL behind", renamed(|name| format!("{name}\0.{INNOCENT}")))
            .refused(),
        case(
            "an innocent name first in the list",
            listed(|name| vec![(HOST_NAME, INNOCENT.into()), (HOST_NAME, name.into())]),
        )
        .refused(),
        case(
            "the name second in the list",
            listed(|name| vec![(7, b"other".to_vec()), (HOST_NAME, name.into())]),
        )
        .refused(),
        case(
            "an innocent name second in the list",
            listed(|name| vec![(HOST_NAME, name.into()), (HOST_NAME, INNOCENT.into())]),
        )
        .refused(),
        case("two lists of names", |draft| {
            let innocent = [&[0, 17, 0, 0, 14][..], INNOCENT.as_bytes()].concat();
            sent(&ClientHello::small(draft.name).with_extension(SERVER_NAME, innocent).bytes())
        })
        .refused(),
        case("the name last of all", |draft| {
            sent(&ClientHello::small(draft.name).with_name_last().bytes())
        }),
        case("sixty extensions before the name", |draft| {
            let hello = ClientHello::small(draft.name).with_name_last();
            let hello = (0..60).fold(hello, |hello, at| hello.with_extension(0x7a00 + at, vec![1]));
            sent(&hello.bytes())
        }),
    ]
}

fn sizes() -> Vec<Case> {
    vec![
        case("a hello of 4 KiB", |draft| long(&padded(draft, 4_000).bytes())),
        case("a hello of 17 KiB, name last", |draft| long(&padded(draft, 17_000).bytes())),
        case("a hello of 17 KiB, name first", |draft| {
            long(&padded(draft, 17_000).with_name_first().bytes())
        }),
        case("a hello of 60 KiB", |draft| long(&padded(draft, 60_000).bytes())),
        case("a hello of 17 KiB in records of 100", |draft| {
            long(&records(&padded(draft, 17_000).message(), 100))
        }),
        case("a hello of 90 KiB, name last", |draft| {
            long(&padded(draft, 60_000).with_further_ciphers(15_000).bytes())
        })
        .dishonest(),
        case("a hello of 90 KiB, name first", |draft| {
            let hello = padded(draft, 60_000).with_further_ciphers(15_000);
            long(&hello.with_name_first().bytes())
        })
        .dishonest(),
        case("a hello for TLS 1.2", |draft| sent(&ClientHello::small(draft.name).of_old().bytes())),
        case("thirty-one ciphers", |draft| {
            sent(&ClientHello::small(draft.name).with_further_ciphers(24).bytes())
        }),
    ]
}

/// A server that gets a hello without a key asks for a second one.
fn retries() -> Vec<Case> {
    let retried = |first: &str, draft: &Draft, cut: fn(&[u8]) -> Vec<Segment>| {
        let first = ClientHello::small(first).without_share().bytes();
        let second = ClientHello::small(draft.name).message();
        let second = record(22, RECORD_VERSION + 2, &second);
        let at = first.len() as i64;
        Script::of(&[first.clone(), second.clone()].concat())
            .send(whole(0, &first))
            .then(Step::AwaitData)
            .send(cut(&second).into_iter().map(|segment| segment.moved(at)))
    };
    vec![
        case("a second hello", move |draft| retried(draft.name, draft, |bytes| whole(0, bytes))),
        case("a second hello after an innocent one", move |draft| {
            retried(INNOCENT, draft, |bytes| whole(0, bytes))
        })
        .dishonest(),
        case("a second hello after an innocent one, reversed", move |draft| {
            retried(INNOCENT, draft, |bytes| pieces(bytes, 50).into_iter().rev().collect())
        })
        .dishonest(),
    ]
}

fn padded(draft: &Draft, bytes: u16) -> ClientHello {
    ClientHello::small(draft.name).with_name_last().padded(bytes)
}

fn sent(bytes: &[u8]) -> Script {
    Script::of(bytes).send(whole(0, bytes))
}

/// The same, no faster than the server takes it.
fn long(bytes: &[u8]) -> Script {
    let segments = whole(0, bytes);
    segments.chunks(WINDOW_SEGMENTS).fold(Script::of(bytes), |script, some| {
        script.send(some.iter().cloned()).then(Step::Settle)
    })
}
