//! A right hello in TLS records of any size and version, and records that come before it.

use sensor_lab::script::hello::{ClientHello, RECORD_VERSION, record, records};
use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Script, cut, pieces, whole};

use super::case::{Case, case};
use super::draft::{Draft, Hello};
use super::segments::{reversed, shuffled};
use super::speaker::TLS_PORT;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// A warning: `unrecognized_name`.
const WARNING: [u8; 2] = [1, 112];
/// Header of a record.
const HEADER: usize = 5;

pub(super) fn cases() -> Vec<Case> {
    [split(), split_and_cut(), odd()].into_iter().flatten().collect()
}

fn split() -> Vec<Case> {
    vec![
        case("records of 100", |draft| in_one_go(&draft.in_records(100))),
        case("records of 40", |draft| in_one_go(&draft.in_records(40))),
        case("records of 1", |draft| in_one_go(&draft.in_records(1))),
        case("large, records of 50", |draft| {
            in_one_go(&draft.hello(|name| records(&ClientHello::large(name).message(), 50)))
        }),
        case("large, records of 7", |draft| {
            in_one_go(&draft.hello(|name| records(&ClientHello::large(name).message(), 7)))
        }),
        case("two records, cut in the name", |draft| in_one_go(&cut_in_name(draft))),
        case("the handshake header in a record of its own", |draft| {
            in_one_go(&draft.hello(|name| {
                let message = ClientHello::small(name).message();
                [records(&message[..4], 4), records(&message[4..], 1_000)].concat()
            }))
        }),
    ]
}

fn split_and_cut() -> Vec<Case> {
    let segments = |make: fn(&Draft) -> Hello, segments: fn(&[u8]) -> Vec<Segment>| {
        move |draft: &Draft| {
            let hello = make(draft);
            Script::of(&hello.bytes).send(segments(&hello.bytes))
        }
    };
    vec![
        case(
            "two records in two segments",
            segments(cut_in_name, |bytes| cut(bytes, &[HEADER + usize::from(bytes[4])])),
        ),
        case(
            "two records, cut in the second header",
            segments(cut_in_name, |bytes| cut(bytes, &[HEADER + usize::from(bytes[4]) + 2])),
        ),
        case(
            "two records, second first",
            segments(cut_in_name, |bytes| reversed(cut(bytes, &[HEADER + usize::from(bytes[4])]))),
        ),
        case("two records, cut at every byte", segments(cut_in_name, |bytes| pieces(bytes, 1))),
        case(
            "records of 40, a segment each",
            segments(|draft| draft.in_records(40), |bytes| pieces(bytes, HEADER + 40)),
        ),
        case(
            "records of 40, every header cut",
            segments(
                |draft| draft.in_records(40),
                |bytes| {
                    let headers = (0..bytes.len()).step_by(HEADER + 40).map(|at| at + 3);
                    cut(bytes, &headers.collect::<Vec<_>>())
                },
            ),
        ),
        case(
            "records of 40, pieces of 13, shuffled",
            segments(|draft| draft.in_records(40), |bytes| shuffled(pieces(bytes, 13))),
        ),
        case(
            "records of 1, a segment each",
            segments(|draft| draft.in_records(1), |bytes| pieces(bytes, HEADER + 1)),
        ),
        case(
            "records of 1, segments of 4",
            segments(|draft| draft.in_records(1), |bytes| pieces(bytes, 4)),
        ),
        case(
            "records of 1, pieces of 100, reversed",
            segments(|draft| draft.in_records(1), |bytes| reversed(pieces(bytes, 100))),
        ),
    ]
}

fn odd() -> Vec<Case> {
    let version = |version: u16| {
        move |draft: &Draft| {
            in_one_go(
                &draft
                    .hello(|name| record(HANDSHAKE, version, &ClientHello::small(name).message())),
            )
        }
    };
    vec![
        case("record version 3.0", version(0x0300)),
        case("record version 3.3", version(0x0303)),
        case("record version 3.5", version(0x0305)),
        case("record version 3.255", version(0x03ff)),
        case("record version 4.1", version(0x0401)).refused(),
        case("a warning before the hello", |draft| {
            let hello = draft.hello(|name| {
                let warning = record(ALERT, RECORD_VERSION, &WARNING);
                [warning, ClientHello::small(name).bytes()].concat()
            });
            in_one_go(&hello).to(TLS_PORT)
        })
        .refused(),
        case("a warning between records of the hello", |draft| {
            in_one_go(&between_records(draft, &record(ALERT, RECORD_VERSION, &WARNING)))
        })
        .refused(),
        case("an empty record before the hello", |draft| {
            in_one_go(&draft.hello(|name| {
                let empty = record(HANDSHAKE, RECORD_VERSION, &[]);
                [empty, ClientHello::small(name).bytes()].concat()
            }))
        }),
        case("an empty record between records of the hello", |draft| {
            in_one_go(&between_records(draft, &record(HANDSHAKE, RECORD_VERSION, &[])))
        }),
        case("thirty empty records before the hello", |draft| {
            in_one_go(&draft.hello(|name| {
                let empty = record(HANDSHAKE, RECORD_VERSION, &[]).repeat(30);
                [empty, ClientHello::small(name).bytes()].concat()
            }))
        }),
        case("a change of cipher before the hello", |draft| {
            let hello = draft.hello(|name| {
                let change = record(20, RECORD_VERSION, &[1]);
                [change, ClientHello::small(name).bytes()].concat()
            });
            in_one_go(&hello).to(TLS_PORT)
        })
        .refused(),
        case("early data behind the hello", |draft| {
            in_one_go(&draft.hello(|name| {
                let early = record(23, 0x0303, &[0x77; 300]);
                [ClientHello::small(name).bytes(), early].concat()
            }))
        }),
        case("records of different versions", |draft| {
            in_one_go(&draft.hello(|name| {
                let message = ClientHello::small(name).message();
                let (first, second) = message.split_at(60);
                [record(HANDSHAKE, 0x0301, first), record(HANDSHAKE, 0x0303, second)].concat()
            }))
        }),
    ]
}

fn in_one_go(hello: &Hello) -> Script {
    Script::of(&hello.bytes).send(whole(0, &hello.bytes))
}

/// Two records, the first of which ends in the name.
fn cut_in_name(draft: &Draft) -> Hello {
    draft.hello(|name| between(&ClientHello::small(name).message(), name, &[]))
}

fn between_records(draft: &Draft, inserted: &[u8]) -> Hello {
    draft.hello(|name| between(&ClientHello::small(name).message(), name, inserted))
}

fn between(message: &[u8], name: &str, inserted: &[u8]) -> Vec<u8> {
    let found = message.windows(name.len()).position(|window| window == name.as_bytes());
    let (first, second) = message.split_at(found.unwrap_or(0) + name.len() / 2);
    let record = |part| record(HANDSHAKE, RECORD_VERSION, part);
    [&record(first), inserted, &record(second)].concat()
}
