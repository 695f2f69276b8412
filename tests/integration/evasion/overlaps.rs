//! Two versions of the same bytes, both of which a server takes: which one it keeps is its affair.

use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Script, whole};

use super::case::{Case, case};
use super::draft::Hello;

/// Bytes of a segment that are sent a second time, as junk.
const JUNK: usize = 20;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("junk before the stream's start", |draft| {
            let Hello { bytes, .. } = draft.small();
            let sent = Segment::at(0, &[&[0x3f; JUNK], &bytes[..]].concat());
            Script::of(&bytes).send([sent.moved(-(JUNK as i64))])
        })
        .dishonest(),
        case("an innocent hello before the stream's start", |draft| {
            let Hello { bytes, fake, .. } = draft.small();
            let before = fake.len() as i64;
            Script::of(&bytes)
                .send([Segment::at(0, &[fake, bytes.clone()].concat()).moved(-before)])
        })
        .dishonest(),
        case("junk over what was read", |draft| {
            let Hello { bytes, name, .. } = draft.small();
            let (first, second) = bytes.split_at(name.start + 5);
            let overlapping = Segment::at(first.len() - JUNK, &[&[0x3f; JUNK], second].concat());
            Script::of(&bytes).send([Segment::at(0, first), overlapping])
        })
        .dishonest(),
        case("junk before the second half, which comes first", |draft| {
            let Hello { bytes, name, .. } = draft.small();
            let (first, second) = bytes.split_at(name.start + 5);
            let overlapping = Segment::at(first.len() - JUNK, &[&[0x3f; JUNK], second].concat());
            Script::of(&bytes).send([overlapping, Segment::at(0, first)])
        })
        .dishonest(),
        case("an innocent name over what was read", |draft| {
            let Hello { bytes, fake, name } = draft.small();
            let (first, second) = bytes.split_at(name.end);
            let overlapping = Segment::at(0, &[&fake[..name.end], second].concat());
            Script::of(&bytes).send([Segment::at(0, first), overlapping])
        })
        .dishonest(),
        case("an innocent name ahead, then a longer piece over it", |draft| {
            let Hello { bytes, fake, name } = draft.small();
            Script::of(&bytes).send([
                Segment::at(name.start, &fake[name.clone()]),
                Segment::at(name.start - 5, &bytes[name.start - 5..]),
                Segment::at(0, &bytes[..name.start - 5]),
            ])
        })
        .dishonest(),
        case("the rest ahead, then an innocent name within it", |draft| {
            let Hello { bytes, fake, name } = draft.small();
            Script::of(&bytes).send([
                Segment::at(name.start - 5, &bytes[name.start - 5..]),
                Segment::at(name.start, &fake[name.clone()]),
                Segment::at(0, &bytes[..name.start - 5]),
            ])
        })
        .dishonest(),
        case("an innocent hello without its first byte, then the hello", |draft| {
            let Hello { bytes, fake, .. } = draft.small();
            Script::of(&bytes).send([Segment::at(1, &fake[1..]), Segment::at(0, &bytes)])
        })
        .dishonest(),
        case("an innocent hello without its first byte, then a piece more", |draft| {
            let Hello { bytes, fake, name } = draft.small();
            let first = Segment::at(0, &bytes[..name.end]);
            Script::of(&bytes).send([Segment::at(1, &fake[1..]), first])
        })
        .dishonest(),
        case("large, the second segment innocent, then the right one over it", |draft| {
            let Hello { bytes, fake, .. } = draft.large();
            let (right, other) = (whole(0, &bytes), whole(0, &fake));
            let longer = Segment::at(1_000, &bytes[1_000..]);
            Script::of(&bytes).send([other[1].clone(), longer, right[0].clone()])
        })
        .dishonest(),
        case("the hello, then an innocent one", |draft| {
            let Hello { bytes, fake, .. } = draft.small();
            Script::of(&bytes).send([Segment::at(0, &bytes), Segment::at(0, &fake)])
        })
        .dishonest(),
        case("an innocent hello, then the hello", |draft| {
            let Hello { bytes, fake, .. } = draft.small();
            Script::of(&bytes).send([Segment::at(0, &fake), Segment::at(0, &bytes)])
        })
        .refused(),
        case("an innocent hello, then the hello behind it", |draft| {
            let Hello { bytes, fake, .. } = draft.small();
            Script::of(&[fake.clone(), bytes.clone()].concat())
                .send([Segment::at(0, &fake), Segment::at(fake.len(), &bytes)])
        })
        .refused(),
    ]
}
