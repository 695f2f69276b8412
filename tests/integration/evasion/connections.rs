//! Connections that are opened, closed or interrupted in ways that mislead whoever only watches.

use sensor_lab::frames::flag;
use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Script, Step, cut, whole};

use super::case::{Case, case};
use super::draft::{Draft, Hello};
use super::fakes::{ANY_SEGMENT, Fault};

/// Another connection's sequence number, if there were one.
const ELSEWHERE: i64 = 500_000_000;

pub(super) fn cases() -> Vec<Case> {
    let ends = [
        ("a reset", flag::RST),
        ("an acknowledging reset", flag::RST | flag::ACK),
        ("a close", flag::FIN | flag::ACK),
    ];
    let ended = ends.iter().flat_map(|end| ANY_SEGMENT.iter().map(|fault| false_end(*end, fault)));
    ended.chain(openings()).chain(fast_open()).chain(urgent()).chain(interruptions()).collect()
}

/// An end of the connection that the server drops, between the halves of a hello.
fn false_end((end, flags): (&str, u8), fault: &'static Fault) -> Case {
    case(format!("{end} with {} in the middle", fault.name), move |draft| {
        let false_end = (fault.apply)(Segment::at(40, &[]).flags(flags));
        interrupted(draft, [Step::Send(false_end)])
    })
}

fn openings() -> Vec<Case> {
    vec![
        case("an innocent hello in the SYN", |draft| {
            let Hello { bytes, fake, .. } = draft.small();
            let syn = Segment { payload: fake, ..Segment::syn() };
            Script::unopened(&bytes).then(Step::Open(syn)).send(whole(0, &bytes))
        }),
        case("the hello in the SYN, and again", |draft| {
            let Hello { bytes, .. } = draft.small();
            let syn = Segment { payload: bytes.clone(), ..Segment::syn() };
            Script::unopened(&bytes).then(Step::Open(syn)).send(cut(&bytes, &[60]))
        }),
        case("a SYN with another sequence number, then the handshake", |draft| {
            let Hello { bytes, .. } = draft.small();
            let other = Segment::syn().moved(ELSEWHERE);
            Script::unopened(&bytes)
                .then(Step::Open(Segment::syn()))
                .then(Step::Send(other.acknowledging(0)))
                .send(cut(&bytes, &[60]))
        }),
        case("the port of a connection that was given up", |draft| {
            let Hello { bytes, fake, .. } = draft.small();
            Script::of(&bytes)
                .send([Segment::at(0, &fake[..100])])
                .then(Step::Settle)
                .then(Step::Abort)
                .then(Step::OpenAgain(Segment::syn()))
                .send(cut(&bytes, &[60]))
        }),
        case("the port of an answered connection", |draft| {
            let Hello { bytes, fake, .. } = draft.small();
            Script::of(&bytes)
                .send(whole(0, &fake))
                .then(Step::AwaitData)
                .then(Step::Abort)
                .then(Step::OpenAgain(Segment::syn()))
                .send(cut(&bytes, &[60]).into_iter().rev())
        }),
        case("a SYN without options", |draft| {
            let Hello { bytes, .. } = draft.large();
            Script::unopened(&bytes)
                .then(Step::Open(Segment::syn().without_timestamp()))
                .send(whole(0, &bytes).into_iter().map(Segment::without_timestamp))
        }),
    ]
}

fn fast_open() -> Vec<Case> {
    vec![
        case("the hello in a SYN with a cookie", |draft| {
            let Hello { bytes, .. } = draft.small();
            Script::unopened(&bytes).then(Step::OpenFast(bytes))
        }),
        case("half the hello in a SYN with a cookie", |draft| {
            let Hello { bytes, name, .. } = draft.small();
            let (first, second) = bytes.split_at(name.start + 5);
            Script::unopened(&bytes)
                .then(Step::OpenFast(first.to_vec()))
                .send([Segment::at(first.len(), second)])
        }),
        case("one byte in a SYN with a cookie, then the rest reversed", |draft| {
            let Hello { bytes, name, .. } = draft.small();
            let rest = cut(&bytes, &[1, name.start + 5]).into_iter().skip(1).rev();
            Script::unopened(&bytes).then(Step::OpenFast(bytes[..1].to_vec())).send(rest)
        }),
        case("a large hello's first half in a SYN with a cookie", |draft| {
            let Hello { bytes, .. } = draft.large();
            let (first, second) = bytes.split_at(1_200);
            Script::unopened(&bytes)
                .then(Step::OpenFast(first.to_vec()))
                .send([Segment::at(first.len(), second)])
        }),
    ]
}

/// The server takes an urgent byte out of the stream. Nobody sends one in a handshake.
fn urgent() -> Vec<Case> {
    let with_urgent_byte = |draft: &Draft, at: usize| {
        let Hello { bytes, .. } = draft.small();
        let longer = [&bytes[..at], b"a", &bytes[at..]].concat();
        (bytes, longer)
    };
    let cases = vec![
        case("an urgent byte in the name", move |draft| {
            let at = draft.small().name.start + 5;
            let (bytes, longer) = with_urgent_byte(draft, at);
            Script::of(&bytes).send([Segment::at(0, &longer).urgent(at as u16)])
        }),
        case("an urgent byte at the end of the first piece", move |draft| {
            let at = draft.small().name.start + 5;
            let (bytes, longer) = with_urgent_byte(draft, at);
            let [first, second] = [&longer[..=at], &longer[at + 1..]];
            Script::of(&bytes)
                .send([Segment::at(0, first).urgent(at as u16), Segment::at(at + 1, second)])
        }),
        case("an urgent byte at the end of the first piece, second first", move |draft| {
            let at = draft.small().name.start + 5;
            let (bytes, longer) = with_urgent_byte(draft, at);
            let [first, second] = [&longer[..=at], &longer[at + 1..]];
            Script::of(&bytes)
                .send([Segment::at(at + 1, second), Segment::at(0, first).urgent(at as u16)])
        }),
        case("an urgent byte before the hello", move |draft| {
            let (bytes, longer) = with_urgent_byte(draft, 0);
            Script::of(&bytes)
                .send([Segment::at(0, &longer[..1]).urgent(0)])
                .send(cut(&bytes, &[60]).into_iter().map(|segment| segment.behind(1)))
        }),
    ];
    cases.into_iter().map(Case::dishonest).collect()
}

fn interruptions() -> Vec<Case> {
    vec![
        case("a SYN with another sequence number in the middle", |draft| {
            let syn = Segment::at(0, &[]).flags(flag::SYN).moved(ELSEWHERE);
            interrupted(draft, [Step::Send(syn)])
        }),
        case("a SYN of the same connection in the middle", |draft| {
            interrupted(draft, [Step::Send(Segment::syn())])
        }),
        case("a SYN and an acknowledgement in the middle", |draft| {
            let both = Segment::at(0, &[]).flags(flag::SYN | flag::ACK).moved(ELSEWHERE);
            interrupted(draft, [Step::Send(both)])
        }),
        case("a reset that is not the next byte's", |draft| {
            interrupted(draft, [Step::Send(Segment::at(45, &[]).flags(flag::RST))])
        }),
        case("a flood of SYNs in the middle", |draft| interrupted(draft, [Step::Flood(2_000)])),
        case("a close ahead of the second half", |draft| {
            let Hello { bytes, .. } = draft.small();
            let [first, second] = [&bytes[..40], &bytes[40..]];
            Script::of(&bytes).send([
                Segment::at(0, first),
                Segment::at(bytes.len(), &[]).flags(flag::FIN | flag::ACK),
                Segment::at(40, second),
            ])
        }),
        case("a close with the second half", |draft| {
            let Hello { bytes, .. } = draft.small();
            let last = Segment::at(40, &bytes[40..]).flags(flag::FIN | flag::ACK | flag::PSH);
            Script::of(&bytes).send([Segment::at(0, &bytes[..40]), last])
        }),
    ]
}

/// The hello in two segments, and this between them.
fn interrupted(draft: &Draft, steps: impl IntoIterator<Item = Step>) -> Script {
    let Hello { bytes, .. } = draft.small();
    let script = Script::of(&bytes).send([Segment::at(0, &bytes[..40])]);
    let script = steps.into_iter().fold(script, Script::then);
    script.send([Segment::at(40, &bytes[40..])])
}
