//! What honest devices do, and whoever looks for tricks could take for one.

use sensor_lab::frames::{Header, flag};
use sensor_lab::script::segment::{HOP_LIMIT, Segment};
use sensor_lab::script::{Script, Step, cut, pieces, whole};

use super::case::{Case, case};
use super::draft::{Draft, Hello};

/// What Windows begins with.
const MORE_HOPS: u8 = 128;
/// `MP_CAPABLE`, version 1, with SHA-256 (RFC 8684 section 3.1).
const MP_CAPABLE: [u8; 4] = [30, 4, 0x01, 0x01];
/// `MP_JOIN` with a token and a nonce (section 3.2).
const MP_JOIN: [u8; 12] = [30, 12, 0x10, 1, 1, 2, 3, 4, 5, 6, 7, 8];

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("a SYN that offers ECN", |draft| {
            opened_by(draft, Segment::syn().flags(flag::SYN | flag::ECE | flag::CWR))
        }),
        case("a SYN that offers accurate ECN", |draft| {
            let header = Header { accurate_ecn: true, ..Header::default() };
            let flags = flag::SYN | flag::ECE | flag::CWR;
            opened_by(draft, Segment::syn().flags(flags).header(header))
        }),
        case("congestion flags on data", |draft| {
            with_each(draft, |segment| segment.flags(flag::ACK | flag::PSH | flag::CWR | flag::ECE))
        }),
        case("a SYN that offers MPTCP", |draft| {
            opened_by(draft, Segment::syn().option(&MP_CAPABLE))
        }),
        case("a SYN that joins an MPTCP connection", |draft| {
            opened_by(draft, Segment::syn().option(&MP_JOIN))
        })
        .dishonest(),
        case("a wish for a cookie", |draft| {
            opened_by(draft, Segment::syn().option(&[34, 2, 1, 1]))
        }),
        case("three hops fewer after the SYN", |draft| {
            hops(draft, MORE_HOPS, MORE_HOPS - 3, MORE_HOPS - 3)
        }),
        case("three hops more after the SYN", |draft| {
            hops(draft, HOP_LIMIT, HOP_LIMIT + 3, HOP_LIMIT + 3)
        }),
        case("three hops fewer in mid-hello", |draft| {
            hops(draft, MORE_HOPS, MORE_HOPS, MORE_HOPS - 3)
        }),
        case("no timestamps", |draft| {
            let Hello { bytes, .. } = draft.large();
            Script::unopened(&bytes)
                .then(Step::Open(Segment::syn().without_timestamp()))
                .send(pieces(&bytes, 536).into_iter().map(Segment::without_timestamp))
        }),
        case("no PSH", |draft| with_each(draft, |segment| segment.flags(flag::ACK))),
        case("segments of 536 bytes, two changed places", |draft| {
            let Hello { bytes, .. } = draft.large();
            let mut segments = pieces(&bytes, 536);
            segments.swap(1, 2);
            Script::of(&bytes).send(segments)
        }),
        case("a segment that was lost and sent again", |draft| {
            let Hello { bytes, .. } = draft.large();
            let segments = whole(0, &bytes);
            Script::of(&bytes)
                .send([segments[1].clone()])
                .then(Step::Settle)
                .send([segments[0].clone(), segments[1].clone()])
        }),
        case("timestamps that changed places", |draft| {
            let Hello { bytes, .. } = draft.large();
            let [first, second] = [&bytes[..1_000], &bytes[1_000..]];
            Script::of(&bytes)
                .send([Segment::at(1_000, second).timestamp(2), Segment::at(0, first)])
        }),
    ]
}

/// A large hello in two segments behind this SYN.
fn opened_by(draft: &Draft, syn: Segment) -> Script {
    let Hello { bytes, .. } = draft.large();
    Script::unopened(&bytes).then(Step::Open(syn)).send(whole(0, &bytes))
}

fn with_each(draft: &Draft, change: impl Fn(Segment) -> Segment) -> Script {
    let Hello { bytes, .. } = draft.large();
    Script::of(&bytes).send(whole(0, &bytes).into_iter().map(change))
}

/// Hop limits of the SYN, of the hello's first half and of the second.
fn hops(draft: &Draft, syn: u8, first: u8, second: u8) -> Script {
    let Hello { bytes, name, .. } = draft.small();
    let halves = cut(&bytes, &[name.start + 5]).into_iter();
    let halves = halves.zip([first, second]).map(|(segment, hops)| segment.hop_limit(hops));
    Script::unopened(&bytes).then(Step::Open(Segment::syn().hop_limit(syn))).send(halves)
}
