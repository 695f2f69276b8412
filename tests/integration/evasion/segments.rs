//! A right hello in segments of any size and order.

use std::time::Duration;

use sensor_lab::frames::flag;
use sensor_lab::script::hello::ClientHello;
use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Script, Step, cut, pieces, whole};

use super::case::{Case, case};
use super::draft::{Draft, Hello};

/// Longer than the sensor may take for silence.
const LONG_PAUSE: Duration = Duration::from_secs(6);

pub(super) fn cases() -> Vec<Case> {
    [in_order(), out_of_order(), repeated(), slow()].into_iter().flatten().collect()
}

fn in_order() -> Vec<Case> {
    vec![
        case("one segment", |draft| sent(&draft.small(), |bytes| whole(0, bytes))),
        case("large, name first", |draft| sent(&draft.large_name_first(), |bytes| whole(0, bytes))),
        case("large, name last", |draft| sent(&draft.large(), |bytes| whole(0, bytes))),
        case("cut after 1 byte", |draft| sent(&draft.small(), |bytes| cut(bytes, &[1]))),
        case("cut after 2, 3 and 4 bytes", |draft| {
            sent(&draft.small(), |bytes| cut(bytes, &[2, 3, 4]))
        }),
        case("cut behind the record header", |draft| {
            sent(&draft.small(), |bytes| cut(bytes, &[5]))
        }),
        case("cut in the handshake header", |draft| sent(&draft.small(), |bytes| cut(bytes, &[7]))),
        case("cut before the name", |draft| at_name(&draft.small(), |start, _| vec![start])),
        case("cut in the name's length", |draft| {
            at_name(&draft.small(), |start, _| vec![start - 1])
        }),
        case("cut in the name", |draft| {
            at_name(&draft.small(), |start, end| vec![usize::midpoint(start, end)])
        }),
        case("cut behind the name", |draft| at_name(&draft.small(), |_, end| vec![end])),
        case("cut at every byte of the name", |draft| {
            at_name(&draft.small(), |start, end| (start..end).collect())
        }),
        case("cut before the last byte", |draft| {
            sent(&draft.small(), |bytes| cut(bytes, &[bytes.len() - 1]))
        }),
        case("cut at every byte", |draft| sent(&draft.small(), |bytes| pieces(bytes, 1))),
        case("large, cut at every third byte", |draft| {
            sent(&draft.large(), |bytes| pieces(bytes, 3))
        }),
        case("large, cut in the name", |draft| {
            at_name(&draft.large(), |start, end| vec![1_000, usize::midpoint(start, end)])
        }),
        case("large, cut after 1 byte", |draft| {
            at_name(&draft.large(), |start, _| vec![1, 1_000, start])
        }),
    ]
}

/// A small hello in segments of so many bytes, one right after the other.
pub(super) fn in_pieces(draft: &Draft, size: usize) -> Script {
    sent(&draft.small(), |bytes| pieces(bytes, size))
}

fn out_of_order() -> Vec<Case> {
    vec![
        case("two segments, second first", |draft| {
            sent(&draft.small(), |bytes| reversed(cut(bytes, &[100])))
        }),
        case("cut in the name, second first", |draft| {
            at_name(&draft.small(), |start, end| vec![usize::midpoint(start, end)]).reversed()
        }),
        case("cut after 1 byte, second first", |draft| {
            sent(&draft.small(), |bytes| reversed(cut(bytes, &[1])))
        }),
        case("pieces of 24, reversed", |draft| {
            sent(&draft.small(), |bytes| reversed(pieces(bytes, 24)))
        }),
        case("pieces of 5, shuffled", |draft| {
            sent(&draft.small(), |bytes| shuffled(pieces(bytes, 5)))
        }),
        case("three segments, middle first", |draft| {
            at_name(&draft.small(), |start, end| vec![start, end]).in_order(&[1, 0, 2])
        }),
        case("three segments, last first", |draft| {
            at_name(&draft.small(), |start, end| vec![start, end]).in_order(&[2, 0, 1])
        }),
        case("large, second first", |draft| {
            sent(&draft.large(), |bytes| reversed(whole(0, bytes)))
        }),
        case("large, name first, second first", |draft| {
            sent(&draft.large_name_first(), |bytes| reversed(whole(0, bytes)))
        }),
        case("large, pieces of 100, shuffled", |draft| {
            sent(&draft.large(), |bytes| shuffled(pieces(bytes, 100)))
        }),
        case("large, pieces of 300, first last", |draft| {
            sent(&draft.large(), |bytes| {
                let mut segments = pieces(bytes, 300);
                segments.rotate_left(1);
                segments
            })
        }),
        case("further ahead than is kept", |draft| {
            let hello = draft.hello(|name| ClientHello::small(name).padded(9_000).bytes());
            sent(&hello, |bytes| reversed(whole(0, bytes)))
        }),
        case("odd pieces with hop limit 1, then again", |draft| {
            sent(&draft.small(), |bytes| lost_and_repeated(pieces(bytes, 40)))
        }),
        case("large, odd pieces with hop limit 1, then again", |draft| {
            sent(&draft.large(), |bytes| lost_and_repeated(pieces(bytes, 400)))
        }),
        case("the name with hop limit 1, then again", |draft| {
            at_name(&draft.small(), |start, end| vec![start, end])
                .each(|segment| if segment.offset > 0 { segment.hop_limit(1) } else { segment })
                .then(Step::Pause(Duration::from_millis(100)))
                .repeated_rightly()
        }),
    ]
}

fn repeated() -> Vec<Case> {
    vec![
        case("every segment twice", |draft| {
            sent(&draft.small(), |bytes| {
                pieces(bytes, 50)
                    .into_iter()
                    .flat_map(|segment| [segment.clone(), segment])
                    .collect()
            })
        }),
        case("overlapping with equal bytes", |draft| {
            sent(&draft.small(), |bytes| {
                let starts = (0..bytes.len()).step_by(40);
                starts.map(|at| Segment::at(at, &bytes[at..bytes.len().min(at + 70)])).collect()
            })
        }),
        case("overlapping with equal bytes, reversed", |draft| {
            sent(&draft.small(), |bytes| {
                let starts = (0..bytes.len()).step_by(40);
                let overlapping =
                    starts.map(|at| Segment::at(at, &bytes[at..bytes.len().min(at + 70)]));
                reversed(overlapping.collect())
            })
        }),
        case("all but the first byte, then all", |draft| {
            sent(&draft.small(), |bytes| vec![Segment::at(1, &bytes[1..]), Segment::at(0, bytes)])
        }),
        case("half, then all", |draft| {
            sent(&draft.small(), |bytes| vec![Segment::at(0, &bytes[..120]), Segment::at(0, bytes)])
        }),
        case("large, the first segment again behind the second", |draft| {
            sent(&draft.large(), |bytes| {
                let segments = pieces(bytes, 700);
                [&segments[..2], &segments[..1], &segments[2..]].concat()
            })
        }),
        case("empty acknowledgements between", |draft| {
            sent(&draft.small(), |bytes| {
                let empty = |segment: &Segment| Segment {
                    payload: Vec::new(),
                    ..segment.clone().flags(flag::ACK)
                };
                let segments = pieces(bytes, 60).into_iter();
                segments.flat_map(|segment| [empty(&segment), segment]).collect()
            })
        }),
        case("a keep-alive with a byte of its own", |draft| {
            sent(&draft.small(), |bytes| {
                let [first, rest] = [&bytes[..100], &bytes[100..]];
                vec![Segment::at(0, first), Segment::at(99, &[0]), Segment::at(100, rest)]
            })
        })
        .dishonest(),
    ]
}

fn slow() -> Vec<Case> {
    vec![
        case("a long pause in the middle", |draft| {
            let Hello { bytes, .. } = draft.small();
            Script::of(&bytes)
                .send([Segment::at(0, &bytes[..100])])
                .then(Step::Pause(LONG_PAUSE))
                .send([Segment::at(100, &bytes[100..])])
        }),
        case("a long pause before the first half", |draft| {
            let Hello { bytes, .. } = draft.small();
            Script::of(&bytes)
                .send([Segment::at(100, &bytes[100..])])
                .then(Step::Pause(LONG_PAUSE))
                .send([Segment::at(0, &bytes[..100])])
        }),
        case("a pause before every segment", |draft| {
            let Hello { bytes, .. } = draft.small();
            pieces(&bytes, 40).into_iter().fold(Script::of(&bytes), |script, segment| {
                script.then(Step::Pause(Duration::from_millis(100))).send([segment])
            })
        }),
        case("each segment after the last was acknowledged", |draft| {
            let Hello { bytes, .. } = draft.large();
            pieces(&bytes, 300).into_iter().fold(Script::of(&bytes), |script, segment| {
                script.send([segment]).then(Step::Settle)
            })
        }),
    ]
}

/// A connection that sends these segments of a hello.
fn sent(hello: &Hello, segments: impl FnOnce(&[u8]) -> Vec<Segment>) -> Script {
    Script::of(&hello.bytes).send(segments(&hello.bytes))
}

/// A connection that sends a hello cut where that depends on the name's start and end.
fn at_name(hello: &Hello, before: impl FnOnce(usize, usize) -> Vec<usize>) -> Script {
    let before = before(hello.name.start, hello.name.end);
    sent(hello, |bytes| cut(bytes, &before))
}

pub(super) fn reversed(mut segments: Vec<Segment>) -> Vec<Segment> {
    segments.reverse();
    segments
}

/// In an order that is always the same, and none.
pub(super) fn shuffled(segments: Vec<Segment>) -> Vec<Segment> {
    let mut numbered: Vec<_> = (0_u32..).zip(segments).collect();
    numbered.sort_by_key(|(number, _)| number.wrapping_mul(0x9e37_79b9) ^ 0x5555_5555);
    numbered.into_iter().map(|(_, segment)| segment).collect()
}

/// Every other segment dies in the gateway, and is sent again when all the others are there.
fn lost_and_repeated(segments: Vec<Segment>) -> Vec<Segment> {
    let odd: Vec<_> = segments.iter().skip(1).step_by(2).cloned().collect();
    let weaken = |(at, segment): (usize, Segment)| {
        if at % 2 == 1 { segment.hop_limit(1) } else { segment }
    };
    segments.into_iter().enumerate().map(weaken).chain(odd).collect()
}

/// Orders in which what a script sends can be sent as well.
trait Reordered {
    fn in_order(self, order: &[usize]) -> Self;
    fn reversed(self) -> Self;
    fn repeated_rightly(self) -> Self;
}

impl Reordered for Script {
    /// The steps behind the first, which opens the connection, in this order.
    fn in_order(mut self, order: &[usize]) -> Self {
        let sent = self.steps.split_off(1);
        self.steps.extend(order.iter().map(|&at| sent[at].clone()));
        self
    }

    fn reversed(mut self) -> Self {
        self.steps[1..].reverse();
        self
    }

    /// The whole stream once more.
    fn repeated_rightly(self) -> Self {
        let segments = whole(0, &self.stream);
        self.send(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffled_list_has_every_segment() {
        let offsets = |segments: &[Segment]| -> Vec<_> {
            segments.iter().map(|segment| segment.offset).collect()
        };
        let (plain, shuffled) = (pieces(&[0; 100], 9), shuffled(pieces(&[0; 100], 9)));
        assert_ne!(offsets(&plain), offsets(&shuffled));
        let mut sorted = offsets(&shuffled);
        sorted.sort_unstable();
        assert_eq!(offsets(&plain), sorted);
    }

    #[test]
    fn a_name_is_where_the_draft_says() {
        let hello = Draft { name: "museum.example" }.large();
        assert_eq!(&hello.bytes[hello.name.clone()], b"museum.example");
        let differing = (0..hello.bytes.len()).filter(|&at| hello.bytes[at] != hello.fake[at]);
        assert!(differing.into_iter().all(|at| hello.name.contains(&at)));
        assert_eq!(hello.bytes.len(), hello.fake.len());
    }
}
