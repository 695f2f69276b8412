//! A right hello in IP packets that hide where it lies: fragments, options, extension headers.

use sensor_lab::lab::Family;
use sensor_lab::script::segment::{Packet, Segment};
use sensor_lab::script::{Script, cut, packed, whole};

use super::case::{Case, case};
use super::draft::{Draft, Hello};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
const TCP: u8 = 6;

pub(super) fn cases() -> Vec<Case> {
    [fragments(), options(), extensions()].into_iter().flatten().collect()
}

fn fragments() -> Vec<Case> {
    let fragments = |starts: &'static [usize]| {
        move |draft: &Draft| in_packets(draft, &Packet::Fragments(starts.to_vec()))
    };
    vec![
        case("two fragments, cut in the hello", fragments(&[0, 120])),
        case("two fragments, cut behind the ports", fragments(&[0, 24])),
        // The first fragment of an IPv6 packet has every header whole (RFC 8200 section 4.5).
        case("two fragments, cut in the header", fragments(&[0, 8])).only_over(Family::V4),
        case("two fragments, second first", fragments(&[24, 0])),
        case("many fragments", fragments(&[0, 24, 32, 40, 48, 64, 128, 136])),
        case("many fragments, reversed", fragments(&[136, 128, 64, 48, 40, 32, 24, 0])),
        case("two segments, each in two fragments", |draft| {
            let Hello { bytes, name, .. } = draft.small();
            let starts = Packet::Fragments(vec![32, 0]);
            Script::of(&bytes).send(packed(cut(&bytes, &[name.start + 5]), &starts))
        }),
        case("two segments, the second in two fragments", |draft| {
            let Hello { bytes, name, .. } = draft.small();
            let mut segments = cut(&bytes, &[name.start + 5]);
            segments[1].packet = Packet::Fragments(vec![0, 40]);
            Script::of(&bytes).send(segments)
        }),
        case("large, each segment in two fragments", |draft| {
            let Hello { bytes, .. } = draft.large();
            Script::of(&bytes).send(packed(whole(0, &bytes), &Packet::Fragments(vec![0, 200])))
        }),
        case("one fragment that is all of the packet", fragments(&[0])),
    ]
}

fn options() -> Vec<Case> {
    let options = |options: &'static [u8]| {
        move |draft: &Draft| in_packets(draft, &Packet::Options(options.to_vec()))
    };
    let cases = vec![
        case("IP options: nothing four times", options(&[1; 4])),
        case("IP options: nothing forty times", options(&[1; 40])),
        case(
            "IP options: record the route",
            options(&[7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        case("IP options: timestamps", options(&[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        case("IP options: router alert", options(&[148, 4, 0, 0])),
    ];
    cases.into_iter().map(|case| case.only_over(Family::V4)).collect()
}

fn extensions() -> Vec<Case> {
    let chain = |kinds: &'static [u8]| move |draft: &Draft| in_packets(draft, &behind(kinds));
    let cases = vec![
        case("a hop-by-hop header", chain(&[HOP_BY_HOP])),
        case("destination options", chain(&[DESTINATION])),
        case("hop-by-hop and destination options", chain(&[HOP_BY_HOP, DESTINATION])),
        case("destination options twice", chain(&[DESTINATION, DESTINATION])),
        case("destination options seven times", chain(&[DESTINATION; 7])).dishonest(),
        case("destination options of 256 bytes", |draft| {
            // An option that whoever does not know it skips.
            let mut options = vec![TCP, 31, 0x1e, 252];
            options.resize(256, 0);
            in_packets(draft, &Packet::Extensions(DESTINATION, options))
        })
        .dishonest(),
        case("a hop-by-hop header twice", chain(&[HOP_BY_HOP, HOP_BY_HOP])).refused(),
        case("destination options, then hop-by-hop", chain(&[DESTINATION, HOP_BY_HOP])).refused(),
        case("a routing header that leads nowhere else", chain(&[ROUTING])).dishonest(),
        case("an experimental header", chain(&[253])).refused(),
        case("destination options before the second segment", |draft| {
            let Hello { bytes, name, .. } = draft.small();
            let mut segments = cut(&bytes, &[name.start + 5]);
            segments[1].packet = behind(&[DESTINATION]);
            Script::of(&bytes).send(segments)
        }),
    ];
    cases.into_iter().map(|case| case.only_over(Family::V6)).collect()
}

/// The hello in one segment, in such a packet.
fn in_packets(draft: &Draft, packet: &Packet) -> Script {
    let Hello { bytes, .. } = draft.small();
    Script::of(&bytes).send([Segment::at(0, &bytes).packet(packet.clone())])
}

/// Behind extension headers of eight bytes each, of these kinds.
fn behind(kinds: &[u8]) -> Packet {
    let nexts = kinds.iter().skip(1).chain([&TCP]);
    // Four bytes of padding (PadN); as a routing header: type 4 with no segments left.
    let headers = nexts.flat_map(|next| [*next, 0, 1, 4, 0, 0, 0, 0]);
    let mut headers: Vec<u8> = headers.collect();
    for (at, kind) in kinds.iter().enumerate() {
        if *kind == ROUTING {
            headers[at * 8 + 2..at * 8 + 8].copy_from_slice(&[253, 0, 0, 0, 0, 0]);
        }
    }
    Packet::Extensions(kinds[0], headers)
}
