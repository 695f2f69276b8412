//! What is measured: frames, and the path they must take.

use std::net::SocketAddr;

use sensor_ebpf::abi::NameSource;
use sensor_ebpf::flow::RESETS_MAX;
use sensor_lab::dns::{A, Answer, Query, Record};
use sensor_user::kernel::object::Flows;
use sensor_user::kernel::test_run::action;

use crate::flows::{self, FlowCost};
use crate::frames::{self, Path};
use crate::names::{self, ListCost, LookUp};
use crate::payloads::{self, NamePlace};
use crate::peer::Sealed;
use crate::stand::{BLOCKED, UNLISTED};

/// Packets a round of a path of some ten ns.
const FAST: u32 = 1_000_000;
/// Packets a round of a path of some hundred ns.
pub(crate) const MIDDLE: u32 = 200_000;
/// Packets a round of a path of microseconds.
const SLOW: u32 = 30_000;

/// Name of the scenario the others are compared with.
pub(crate) const BASELINE: &str = "pass";

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Packets measured in a round.
    pub(crate) packets: u32,
    pub(crate) course: Course,
    /// The scenario it is compared with beside the baseline.
    pub(crate) peer: Option<Peer>,
    /// True where it is measured only if it is asked for: it takes gigabytes, or minutes.
    pub(crate) is_large: bool,
}

impl Scenario {
    /// What the figures count.
    pub(crate) const fn unit(&self) -> &'static str {
        if let Course::List(ListCost::Bytes, _) = self.course {
            "bytes/name"
        } else if let Course::List(..) = self.course {
            "ns/name"
        } else if let Course::FlowTable(FlowCost::Export, _) = self.course {
            "ns/flow"
        } else {
            "ns/packet"
        }
    }
}

/// Another scenario that does the same work by other means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// How many times its cost a packet should have at most.
    pub(crate) target: f64,
}

/// What reading an Initial in the kernel costs is held against a library in user space, which has the machine's
/// instructions for AES and SHA-256.
const INITIAL_IN_USER_SPACE: Peer = Peer { name: "quic-user-space", target: 2.5 };

/// How a scenario's packets reach the programs, and where they must go.
pub(crate) enum Course {
    /// Through a program that only passes.
    Baseline { frame: Vec<u8> },
    /// At an interface that is not watched.
    Unwatched { frame: Vec<u8> },
    /// Accounted as not IP.
    NotIp { frame: Vec<u8> },
    /// One frame, repeated, of one flow.
    OneFlow(OneFlow),
    /// Each packet opens another flow.
    NewFlows { frame: Vec<u8> },
    /// Each packet is the deciding hello of another flow that is open.
    BlockedHellos { open: Vec<u8>, hello: Vec<u8> },
    /// Each packet is a segment of another flow's hello, which comes in two.
    SplitHellos(SplitHellos),
    /// A resolver's answer to the device's query, at egress.
    Answer { query: Vec<u8>, answer: Vec<u8> },
    /// Each packet is an Initial of another flow of QUIC.
    Initials(Initials),
    /// The same Initial, opened by a library in user space.
    OpenedInUserSpace(Sealed),
    /// A look-up of another name each time.
    LookUp(LookUp),
    /// What a list of names costs user space, for each name.
    List(ListCost, u32),
    /// A packet, or a flow read by user space, where a million flows lie in such a place.
    FlowTable(FlowCost, Flows),
}

/// A datagram of many flows of QUIC.
pub(crate) struct Initials {
    /// Datagrams of each flow before it, all of which pass.
    pub(crate) story: Vec<Vec<u8>>,
    pub(crate) datagram: Vec<u8>,
    /// Datagrams behind it, up to the end of the hello: then the server's answer frees the flow's slot.
    pub(crate) rest: Vec<Vec<u8>>,
}

/// A segment of many flows.
pub(crate) struct SplitHellos {
    /// Frames of each flow before it, all of which pass.
    pub(crate) story: Vec<Vec<u8>>,
    pub(crate) segment: Vec<u8>,
    /// True where it completes the hello.
    pub(crate) completes: bool,
    /// The frame with which a flow gives up its slot.
    pub(crate) give_up: Vec<u8>,
}

/// Packets of a flow in a given state, which they leave as it is.
pub(crate) struct OneFlow {
    /// Frames that bring the flow there, with their actions.
    pub(crate) story: Vec<(Vec<u8>, u32)>,
    pub(crate) frame: Vec<u8>,
    pub(crate) state: State,
}

/// What the flow must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is looked at.
    Unexamined,
    /// Nothing more is looked at: the unlisted name was read, and the server has answered.
    Done,
    /// Named by its QUIC Initial; what comes now is not read.
    Known,
    /// Every packet is read and judged by a name of this kind; it passes.
    Judged(NameSource),
    /// Every packet is dropped.
    Dropped,
}

/// Every scenario, the baseline first.
pub(crate) fn all() -> Vec<Scenario> {
    [
        known(),
        first_packets(),
        hellos(),
        requests(),
        queries(),
        quic(),
        blocked(),
        flows::all(),
        names::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The baseline, and packets of which nothing is read.
fn known() -> Vec<Scenario> {
    let application_data = application_data();
    let data = frames::segment(v4(443), 0, &application_data);
    vec![
        scenario(
            BASELINE,
            FAST,
            Course::Baseline { frame: data.clone() },
            "a program that only passes",
        ),
        scenario("non-ip", FAST, Course::NotIp { frame: frames::arp_request() }, "ARP request"),
        scenario(
            "unwatched",
            FAST,
            Course::Unwatched { frame: data.clone() },
            "at an interface that is not watched",
        ),
        scenario(
            "known-flow",
            FAST,
            Course::OneFlow(named_flow(v4(443), &application_data)),
            "1,000 bytes of a TLS connection that is named and done",
        ),
        scenario(
            "known-flow-udp",
            FAST,
            Course::OneFlow(OneFlow {
                story: vec![(frames::datagram(v4(443), &application_data), action::PASS)],
                frame: frames::datagram(v4(443), &application_data),
                state: State::Unexamined,
            }),
            "1,000 bytes of a UDP flow",
        ),
        scenario(
            "known-flow-ipv6-vlan",
            FAST,
            Course::OneFlow(named_flow(v6_in_vlan(), &application_data)),
            "known-flow over IPv6 in a VLAN",
        ),
    ]
}

/// Packets that make a flow.
fn first_packets() -> Vec<Scenario> {
    let open = frames::syn(v4(443));
    vec![scenario(
        "syn",
        MIDDLE,
        Course::NewFlows { frame: open },
        "every packet opens another flow; net of the mutator",
    )]
}

/// TLS hellos that pass.
fn hellos() -> Vec<Scenario> {
    vec![
        scenario(
            "hello-sni-first",
            MIDDLE,
            Course::OneFlow(judged_flow(&payloads::client_hello(UNLISTED, NamePlace::First))),
            "hello of 517 bytes, unlisted name in the first of 17 extensions",
        ),
        scenario(
            "hello-sni-last",
            MIDDLE,
            Course::OneFlow(judged_flow(&payloads::client_hello(UNLISTED, NamePlace::Last))),
            "the same, name in the last",
        ),
        scenario(
            "hello-1-byte-records",
            SLOW,
            Course::OneFlow(judged_flow(&payloads::hello_in_one_byte_records(UNLISTED))),
            "the worst hello that fits a segment: 241 records of one byte, name in the last",
        ),
        scenario(
            "split-hello-first",
            SLOW,
            Course::SplitHellos(split_hellos(false)),
            "first 1,428 bytes of another flow's hello of 1.8 KB; net of the mutator",
        ),
        scenario(
            "split-hello-second",
            SLOW,
            Course::SplitHellos(split_hellos(true)),
            "the rest of it, with an unlisted name; net of the mutator",
        ),
    ]
}

/// Plain HTTP.
fn requests() -> Vec<Scenario> {
    vec![
        scenario(
            "http-request",
            SLOW,
            Course::OneFlow(requesting_flow(&payloads::request(UNLISTED))),
            "request of 450 bytes, unlisted name in the first header",
        ),
        scenario(
            "http-host-late",
            SLOW,
            Course::OneFlow(requesting_flow(&payloads::request_with_late_host(UNLISTED))),
            "name after 1,200 bytes of other headers",
        ),
    ]
}

/// DNS over UDP.
fn queries() -> Vec<Scenario> {
    let query = Query { edns: Some(Vec::new()), ..Query::of(UNLISTED, A) };
    let records = vec![Record::of(A, 300, &[203, 0, 113, 7]); 2];
    let answer = Answer::to(&query, records).bytes();
    let query = frames::datagram(v4(53), &query.bytes());
    let asking = OneFlow {
        story: vec![(query.clone(), action::PASS)],
        frame: query.clone(),
        state: State::Judged(NameSource::Dns),
    };
    let answer = frames::datagram(v4(53).reversed(), &answer);
    vec![
        scenario("dns-query", SLOW, Course::OneFlow(asking), "query for an unlisted name"),
        scenario(
            "dns-answer",
            SLOW,
            Course::Answer { query, answer },
            "answer with two addresses, which are kept under the name; at egress",
        ),
    ]
}

/// QUIC.
fn quic() -> Vec<Scenario> {
    let [first, second] =
        payloads::initials_of_two(UNLISTED).map(|it| frames::datagram(v4(443), &it));
    let whole = payloads::initial(UNLISTED);
    let initial = frames::datagram(v4(443), &whole);
    let known = frames::datagram(v4(443), &payloads::short_header_packet());
    vec![
        scenario(
            INITIAL_IN_USER_SPACE.name,
            SLOW,
            Course::OpenedInUserSpace(Sealed::new(whole)),
            "an Initial of 1,200 bytes: keys, header protection, payload and tag by a library",
        ),
        Scenario {
            peer: Some(INITIAL_IN_USER_SPACE),
            ..scenario(
                "quic-initial",
                SLOW,
                Course::Initials(Initials {
                    story: vec![],
                    datagram: initial.clone(),
                    rest: vec![],
                }),
                "another flow's Initial of 1,200 bytes, unlisted name; net of the mutator",
            )
        },
        scenario(
            "quic-first-of-two",
            SLOW,
            Course::Initials(Initials {
                story: vec![],
                datagram: first.clone(),
                rest: vec![second.clone()],
            }),
            "the first of two, with 1,100 bytes of a hello of 1.8 KB; net of the mutator",
        ),
        scenario(
            "quic-second-of-two",
            SLOW,
            Course::Initials(Initials { story: vec![first], datagram: second, rest: vec![] }),
            "the second of them, with an unlisted name; net of the mutator",
        ),
        scenario(
            "quic-known",
            FAST,
            Course::OneFlow(OneFlow {
                story: vec![(initial, action::PASS)],
                frame: known,
                state: State::Known,
            }),
            "1,200 bytes of a flow of QUIC that is named",
        ),
    ]
}

/// What policy blocks.
fn blocked() -> Vec<Scenario> {
    let data = frames::segment(v4(443), 0, &application_data());
    let open = frames::syn(v4(443));
    let hello = payloads::client_hello(BLOCKED, NamePlace::First);
    let hello = frames::segment(v4(443), 0, &hello);
    vec![
        scenario(
            "blocked-packet",
            FAST,
            Course::OneFlow(blocked_flow(hello.clone(), data)),
            "dropped: the flow is blocked, its budget of resets is used up",
        ),
        scenario(
            "blocked-hello",
            SLOW,
            Course::BlockedHellos { open, hello },
            "judged, told, made the server's reset; one run a call, net of call and mutator",
        ),
    ]
}

pub(crate) const fn scenario(
    name: &'static str,
    packets: u32,
    course: Course,
    about: &'static str,
) -> Scenario {
    Scenario { name, about, packets, course, peer: None, is_large: false }
}

/// A record of 1,000 bytes.
fn application_data() -> Vec<u8> {
    [&[0x17, 3, 3, 3, 0xe3], vec![0x5a; 995].as_slice()].concat()
}

fn v4(port: u16) -> Path {
    path("192.0.2.7", "198.51.100.9", port, None)
}

fn v6_in_vlan() -> Path {
    path("2001:db8::7", "2001:db8:ffff::9", 443, Some(42))
}

fn path(source: &str, destination: &str, port: u16, vlan: Option<u16>) -> Path {
    let address = |text: &str| text.parse().expect("an address of this file");
    Path {
        source: SocketAddr::new(address(source), 51234),
        destination: SocketAddr::new(address(destination), port),
        vlan,
    }
}

/// Opened, named by its hello, answered by the server, and gone on to what is no hello.
fn named_flow(path: Path, data: &[u8]) -> OneFlow {
    let hello = payloads::client_hello(UNLISTED, NamePlace::First);
    let frame = frames::segment(path, hello.len(), data);
    let mut story = opened(path);
    story.extend([
        (frames::segment(path, 0, &hello), action::PASS),
        (frames::reply(path, hello.len(), b"\x16\x03\x03\x00\x7a\x02"), action::PASS),
        (frame.clone(), action::PASS),
    ]);
    OneFlow { story, frame, state: State::Done }
}

/// The SYN and its answer: only from them on a stream is followed.
fn opened(path: Path) -> Vec<(Vec<u8>, u32)> {
    vec![(frames::syn(path), action::PASS), (frames::syn_ack(path), action::PASS)]
}

/// Opened by its SYN alone: the mutator has no frames of servers. So another SYN takes the flow's place
/// at once, and its slot is free.
fn split_hellos(completes: bool) -> SplitHellos {
    /// Payload of a segment with timestamps where tunnels on the way take some room.
    const FIRST: usize = 1428;
    let hello = payloads::post_quantum_hello(UNLISTED);
    let (first, second) = hello.split_at(FIRST);
    let first = frames::segment(v4(443), 0, first);
    let second = frames::segment(v4(443), FIRST, second);
    let give_up = frames::next_syn(v4(443));
    let open = frames::syn(v4(443));
    if completes {
        SplitHellos { story: vec![open, first], segment: second, completes, give_up }
    } else {
        SplitHellos { story: vec![open], segment: first, completes, give_up }
    }
}

/// Opened; until the server answers, each hello is read.
fn judged_flow(payload: &[u8]) -> OneFlow {
    OneFlow {
        story: opened(v4(443)),
        frame: frames::segment(v4(443), 0, payload),
        state: State::Judged(NameSource::Tls),
    }
}

/// Opened by its SYN alone: where the server is not seen a request that is sent again is read again, where
/// it is seen it would be compared.
fn requesting_flow(payload: &[u8]) -> OneFlow {
    OneFlow {
        story: vec![(frames::syn(v4(80)), action::PASS)],
        frame: frames::segment(v4(80), 0, payload),
        state: State::Judged(NameSource::Http),
    }
}

/// Opened, blocked by its hello, reset as often as it is worth.
fn blocked_flow(hello: Vec<u8>, data: Vec<u8>) -> OneFlow {
    let mut story = opened(v4(443));
    story.push((hello, action::PASS));
    story.extend((0..RESETS_MAX).map(|_| (data.clone(), action::TX)));
    OneFlow { story, frame: data, state: State::Dropped }
}
