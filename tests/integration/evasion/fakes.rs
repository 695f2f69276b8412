//! Segments that a server drops, with another hello in them, at the place of the right one.

use sensor_lab::frames::{Header, flag};
use sensor_lab::lab::Family;
use sensor_lab::script::segment::{HOP_LIMIT, Packet, Segment};
use sensor_lab::script::{Script, cut, whole};

use super::case::{Case, case};
use super::draft::{Draft, Hello};

/// Kind and length of an MD5 signature (RFC 2385), and nothing that signs.
const MD5: [u8; 20] = [1, 1, 19, 18, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];

/// A way to make a server drop a segment.
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) apply: fn(Segment) -> Segment,
    /// Whether the sensor can tell. Where it cannot, it sees two versions of the same bytes.
    visible: bool,
    /// Linux drops it before any data, and once data flows takes what is next in order whatever it
    /// acknowledges.
    only_as_first: bool,
    only_over: Option<Family>,
}

const fn visible(name: &'static str, apply: fn(Segment) -> Segment) -> Fault {
    Fault { name, apply, visible: true, only_as_first: false, only_over: None }
}

const fn invisible(name: &'static str, apply: fn(Segment) -> Segment) -> Fault {
    Fault { visible: false, ..visible(name, apply) }
}

/// Those that also make a server drop a segment without payload, such as a reset.
pub(super) static ANY_SEGMENT: [Fault; 5] = [
    visible("hop limit 1", |segment| segment.hop_limit(1)),
    visible("hop limit 10", |segment| segment.hop_limit(10)),
    visible("a bad checksum", Segment::bad_checksum),
    visible("an MD5 signature", |segment| segment.option(&MD5)),
    visible("a sequence number far behind", |segment| segment.moved(-10_000)),
];

static PAYLOAD_ONLY: [Fault; 16] = [
    visible("five hops fewer", |segment| segment.hop_limit(HOP_LIMIT - 5)),
    invisible("three hops fewer", |segment| segment.hop_limit(HOP_LIMIT - 3)),
    invisible("one hop fewer", |segment| segment.hop_limit(HOP_LIMIT - 1)),
    visible("a sequence number far ahead", |segment| segment.moved(1_000_000)),
    Fault {
        only_as_first: true,
        ..visible("an old acknowledgement", |segment| segment.acknowledging(-66_000))
    },
    visible("an acknowledgement of what was never sent", |segment| segment.acknowledging(100_000)),
    visible("an old timestamp", |segment| segment.timestamp(-600_000)),
    visible("no ACK", |segment| segment.flags(flag::PSH)),
    visible("no flags", |segment| segment.flags(0)),
    visible("SYN", |segment| segment.flags(flag::SYN)),
    visible("SYN and ACK", |segment| segment.flags(flag::SYN | flag::ACK | flag::PSH)),
    visible("FIN without ACK", |segment| segment.flags(flag::FIN | flag::PSH)),
    visible("FIN, PSH and URG", |segment| segment.flags(flag::FIN | flag::PSH | flag::URG)),
    visible("a header of four words", |segment| with_data_offset(segment, 4)),
    visible("a header of no words", |segment| with_data_offset(segment, 0)),
    Fault {
        only_over: Some(Family::V4),
        ..invisible("a bad IP checksum", |segment| segment.packet(Packet::BadChecksum))
    },
];

/// What is sent, given what makes a fake of a segment.
struct Form {
    how: &'static str,
    /// A fake comes where the server expects its first byte, after other data.
    follows_data: bool,
    script: fn(&Draft, &dyn Fn(Segment) -> Segment) -> Script,
}

const fn form(
    how: &'static str,
    script: fn(&Draft, &dyn Fn(Segment) -> Segment) -> Script,
) -> Form {
    Form { how, follows_data: false, script }
}

static FORMS: [Form; 7] = [
    form("then the hello", |draft, fake| {
        let Hello { bytes, fake: other, .. } = draft.small();
        Script::of(&bytes).send(whole(0, &other).into_iter().map(fake)).send(whole(0, &bytes))
    }),
    form("then the hello, cut in the name", |draft, fake| {
        let Hello { bytes, fake: other, name } = draft.small();
        Script::of(&bytes)
            .send(whole(0, &other).into_iter().map(fake))
            .send(cut(&bytes, &[name.start + 5]))
    }),
    form("then the hello, cut in the name, second first", |draft, fake| {
        let Hello { bytes, fake: other, name } = draft.small();
        Script::of(&bytes)
            .send(whole(0, &other).into_iter().map(fake))
            .send(cut(&bytes, &[name.start + 5]).into_iter().rev())
    }),
    Form {
        follows_data: true,
        ..form("before and behind each piece", |draft, fake| {
            let Hello { bytes, fake: other, name } = draft.small();
            let before = [name.start, name.start + 5];
            let others = cut(&other, &before).into_iter().map(fake);
            let sent = others.zip(cut(&bytes, &before));
            Script::of(&bytes).send(sent.flat_map(|(other, right)| [other.clone(), right, other]))
        })
    },
    form("at the place of the name, between its ends", |draft, fake| {
        let Hello { bytes, fake: other, name } = draft.small();
        let right = cut(&bytes, &[name.start, name.end]);
        let other = Segment::at(name.start, &other[name]);
        Script::of(&bytes).send([right[0].clone(), right[2].clone(), fake(other), right[1].clone()])
    }),
    form("large, then the hello", |draft, fake| {
        let Hello { bytes, fake: other, .. } = draft.large();
        Script::of(&bytes).send(whole(0, &other).into_iter().map(fake)).send(whole(0, &bytes))
    }),
    form("of no protocol, then the hello, second first", |draft, fake| {
        let Hello { bytes, name, .. } = draft.small();
        let junk = vec![0x3f; bytes.len()];
        Script::of(&bytes)
            .send(whole(0, &junk).into_iter().map(fake))
            .send(cut(&bytes, &[name.start + 5]).into_iter().rev())
    }),
];

pub(super) fn cases() -> Vec<Case> {
    let faults = ANY_SEGMENT.iter().chain(&PAYLOAD_ONLY);
    faults.flat_map(|fault| FORMS.iter().map(|form| faked(fault, form))).collect()
}

fn faked(fault: &'static Fault, form: &'static Form) -> Case {
    let name = format!("a fake with {}, {}", fault.name, form.how);
    let mut case = case(name, move |draft| (form.script)(draft, &fault.apply));
    if !fault.visible {
        case = case.dishonest();
    }
    if fault.only_as_first && form.follows_data {
        case = case.refused();
    }
    match fault.only_over {
        Some(family) => case.only_over(family),
        None => case,
    }
}

fn with_data_offset(segment: Segment, words: u8) -> Segment {
    let header = Header { data_offset: Some(words), ..segment.header };
    segment.header(header)
}
