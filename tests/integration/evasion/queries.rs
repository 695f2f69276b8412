//! Devices that ask a resolver for a blocked name in ways that could hide it. The resolver is a real one
//! and would give the name's address: no device may hear it. An allowed name, asked for in the same way, is
//! answered.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_lab::dns::{A, HTTPS, Query};
use sensor_lab::frames::{Frame, Transport};
use sensor_lab::lab::{Family, Lab, Plan, Translation};
use sensor_lab::resolver::Resolver;
use sensor_lab::script::conversation::{Patience, converse};
use sensor_lab::script::fragments::fragments;
use sensor_lab::script::segment::{Packet, Segment};
use sensor_lab::script::wire::{Device, Wire};
use sensor_lab::script::{Script, cut, pieces, whole};
use sensor_lab::sensor::{self, Sensor, Setup};

use super::case::{Allowed, Server};
use super::draft::INNOCENT;
use super::trial::conclude;
use super::{ALLOWED, BLOCKED, POLICY};

const PORT: u16 = 53;
/// Where stubs ask from.
const STUB_PORT: u16 = 40_053;
/// dnsmasq forks for each connection, twenty times at most.
const AT_ONCE: usize = 8;
/// Where an answer is expected, a datagram is sent so often, and each time waited for so long.
const TRIES: usize = 5;
const TURN: Duration = Duration::from_millis(400);

/// What is sent.
enum Way {
    /// Over UDP: the datagrams, one after the other.
    Datagrams(Vec<Datagram>),
    /// Over TCP.
    Stream(Script),
}

/// A query over UDP.
struct Datagram {
    message: Vec<u8>,
    from: u16,
    packet: Packet,
}

/// One way to ask.
struct Case {
    what: &'static str,
    way: fn(&str) -> Way,
    /// Whether the resolver answers such a query where no sensor is.
    server: Server,
    allowed: Allowed,
    families: &'static [Family],
}

impl Case {
    const fn refused(self) -> Self {
        Self { server: Server::Refuses, ..self }
    }

    const fn dishonest(self) -> Self {
        Self { allowed: Allowed::MayFail, ..self }
    }

    const fn only_over(self, families: &'static [Family]) -> Self {
        Self { families, ..self }
    }
}

const fn case(what: &'static str, way: fn(&str) -> Way) -> Case {
    let families = &[Family::V4, Family::V6];
    Case { what, way, server: Server::Answers, allowed: Allowed::Loads, families }
}

fn cases() -> Vec<Case> {
    [messages(), packets(), streams()].into_iter().flatten().collect()
}

/// What the message says.
fn messages() -> Vec<Case> {
    vec![
        case("a plain query", |name| datagram(Query::of(name, A).bytes())),
        case("letters of both cases", |name| {
            let mixed: String = name.chars().enumerate().map(alternate).collect();
            datagram(Query::of(&mixed, A).bytes())
        }),
        case("a cookie and padding", |name| {
            let edns = Some(vec![(10, vec![7; 8]), (12, vec![0; 400])]);
            datagram(Query { edns, dnssec_ok: true, ..Query::of(name, A) }.bytes())
        }),
        case("no recursion asked for", |name| {
            datagram(Query { flags: 0, ..Query::of(name, A) }.bytes())
        }),
        case("checking disabled, authentic data", |name| {
            datagram(Query { flags: 0x0130, ..Query::of(name, A) }.bytes())
        }),
        case("reserved and authoritative bits", |name| {
            datagram(Query { flags: 0x05c0, ..Query::of(name, A) }.bytes())
        }),
        case("bytes behind the message", |name| {
            datagram(Query { trailing: vec![0xff; 77], ..Query::of(name, A) }.bytes())
        }),
        case("any type", |name| datagram(Query::of(name, 255).bytes())),
        case("any class", |name| datagram(of_class(name, 255))).refused(),
        case("the class of CHAOS", |name| datagram(of_class(name, 3))).refused(),
        case("two questions, this one second", |name| {
            datagram(Query::of_several(&[INNOCENT, name], A).bytes())
        })
        .refused(),
        case("two questions, this one first", |name| {
            datagram(Query::of_several(&[name, INNOCENT], A).bytes())
        })
        .refused(),
        case("a name behind a pointer forward", |name| {
            let asked = Query::of(name, A).bytes();
            datagram([&asked[..12], &[0xc0, 18, 0, 1, 0, 1], &asked[12..]].concat())
        }),
        case("the last label behind a pointer", |name| {
            let asked = Query::of(name, A).bytes();
            // The label of `example` with the root's end lies behind the question.
            let at = asked.len() - 4 - 9;
            let label = &asked[at..at + 9];
            let pointer = [0xc0, (at + 2 + 4) as u8, 0, 1, 0, 1];
            datagram([&asked[..at], &pointer, label].concat())
        }),
        case("another type first, on the same port", |name| {
            let messages = [Query::of(INNOCENT, A), Query::of(name, HTTPS), Query::of(name, A)];
            datagrams(messages.map(|query| query.bytes()))
        }),
        case("behind an allowed name, on the same port", |name| {
            datagrams([Query::of(INNOCENT, A).bytes(), Query::of(name, A).bytes()])
        }),
    ]
}

/// How the message lies in its packets.
fn packets() -> Vec<Case> {
    const DESTINATION: u8 = 60;
    const UDP: u8 = 17;
    let packed = |what, way| case(what, way);
    vec![
        packed("from the port of DNS", |name| {
            let message = Query::of(name, A).bytes();
            Way::Datagrams(vec![Datagram { from: PORT, ..of(message) }])
        }),
        packed("two fragments", |name| in_packet(name, Packet::Fragments(vec![0, 24]))).dishonest(),
        packed("two fragments, the first a header", |name| {
            in_packet(name, Packet::Fragments(vec![0, 8]))
        })
        .dishonest(),
        packed("two fragments, second first", |name| {
            in_packet(name, Packet::Fragments(vec![24, 0]))
        })
        .dishonest(),
        packed("fragments of eight bytes, reversed", |name| {
            in_packet(name, Packet::Fragments(vec![32, 24, 16, 8, 0]))
        })
        .dishonest(),
        packed("IP options", |name| in_packet(name, Packet::Options(vec![1; 8])))
            .only_over(&[Family::V4]),
        packed("an extension header", |name| {
            in_packet(name, Packet::Extensions(DESTINATION, vec![UDP, 0, 1, 4, 0, 0, 0, 0]))
        })
        .only_over(&[Family::V6]),
    ]
}

/// How a stream is cut.
fn streams() -> Vec<Case> {
    vec![
        case("over TCP", |name| sent(&prefixed(name), |bytes| whole(0, bytes))),
        case("over TCP, cut in the length", |name| sent(&prefixed(name), |bytes| cut(bytes, &[1]))),
        case("over TCP, cut behind the length", |name| {
            sent(&prefixed(name), |bytes| cut(bytes, &[2]))
        }),
        case("over TCP, cut in the name", |name| {
            sent(&prefixed(name), |bytes| cut(bytes, &[18, 20]))
        }),
        case("over TCP, a byte a segment", |name| sent(&prefixed(name), |bytes| pieces(bytes, 1))),
        case("over TCP, second half first", |name| {
            sent(&prefixed(name), |bytes| cut(bytes, &[20]).into_iter().rev().collect())
        }),
        case("over TCP, behind another in one segment", |name| {
            let both = [prefixed(INNOCENT), prefixed(name)].concat();
            sent(&both, |bytes| whole(0, bytes))
        }),
        case("over TCP, the eighth in one segment", |name| {
            let all = [prefixed(INNOCENT).repeat(7), prefixed(name)].concat();
            sent(&all, |bytes| whole(0, bytes))
        }),
        case("over TCP, overlapping itself", |name| {
            sent(&prefixed(name), |bytes| {
                vec![Segment::at(0, &bytes[..30]), Segment::at(10, &bytes[10..])]
            })
        }),
        case("over TCP, overlapped by an innocent name", |name| {
            let innocent = prefixed(INNOCENT);
            sent(&prefixed(name), move |bytes| {
                // The second half waits behind a gap, then comes again with another name.
                vec![
                    Segment::at(14, &bytes[14..]),
                    Segment::at(14, &innocent[14..]),
                    Segment::at(0, &bytes[..14]),
                ]
            })
        })
        .dishonest(),
    ]
}

fn alternate((at, letter): (usize, char)) -> char {
    if at % 2 == 0 { letter.to_ascii_uppercase() } else { letter }
}

fn of(message: Vec<u8>) -> Datagram {
    Datagram { message, from: STUB_PORT, packet: Packet::Plain }
}

fn datagram(message: Vec<u8>) -> Way {
    datagrams([message])
}

fn datagrams(messages: impl IntoIterator<Item = Vec<u8>>) -> Way {
    Way::Datagrams(messages.into_iter().map(of).collect())
}

fn in_packet(name: &str, packet: Packet) -> Way {
    Way::Datagrams(vec![Datagram { packet, ..of(Query::of(name, A).bytes()) }])
}

fn of_class(name: &str, class: u16) -> Vec<u8> {
    let mut message = Query::of(name, A).bytes();
    let at = message.len() - 2;
    message[at..].copy_from_slice(&class.to_be_bytes());
    message
}

/// A message behind its length (RFC 1035 section 4.2.2).
fn prefixed(name: &str) -> Vec<u8> {
    let message = Query::of(name, A).bytes();
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

fn sent(stream: &[u8], segments: impl Fn(&[u8]) -> Vec<Segment>) -> Way {
    Way::Stream(Script::of(stream).to(PORT).send(segments(stream)))
}

/// The resolver, and perhaps a sensor before it.
struct Site {
    _sensor: Option<Sensor>,
    wire: Wire,
    _resolver: Resolver,
    lab: Lab,
}

impl Site {
    fn unwatched() -> Result<Self> {
        let lab = Lab::with(Plan { translation: Translation::None, ..Plan::default() })?;
        let resolver = Resolver::start(&lab, &[ALLOWED, BLOCKED])?;
        let wire = Wire::open(&lab)?;
        Ok(Self { _sensor: None, wire, _resolver: resolver, lab })
    }

    fn watched() -> Result<Self> {
        let site = Self::unwatched()?;
        let files = vec![("lists/casinos.txt".to_owned(), format!("{BLOCKED}\n"))];
        let setup = Setup { files, ..Setup::with_policy(POLICY) };
        let sensor = Sensor::start(&site.lab, &sensor::binary()?, &setup)?;
        Ok(Self { _sensor: Some(sensor), ..site })
    }
}

/// What is tried, and whether the address should come.
struct Trial<'a> {
    case: &'a Case,
    family: Family,
    name: &'static str,
    comes: bool,
}

/// The trials that came out otherwise.
fn complaints(site: &Site, trials: Vec<Trial<'_>>) -> Vec<String> {
    let waiting = Mutex::new(trials.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(Trial { case, family, name, comes }) = next() {
                    let device = site.wire.device();
                    let fault = match hears_address(&device, family, &(case.way)(name), comes) {
                        Ok(heard) if heard == comes => continue,
                        Ok(true) => "the address was heard".to_owned(),
                        Ok(false) => "no address was heard".to_owned(),
                        Err(error) => format!("{error:#}"),
                    };
                    let line = format!("  {} ({family:?}, {name}): {fault}", case.what);
                    wrong.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            });
        }
    });
    wrong.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the device hears the address that the resolver has for its names: the server's own.
fn hears_address(device: &Device<'_>, family: Family, way: &Way, wanted: bool) -> Result<bool> {
    let IpAddr::V4(address) = Family::V4.server() else { return Ok(false) };
    let has_address = |bytes: &[u8]| bytes.windows(4).any(|four| four == address.octets());
    let tries = if wanted { TRIES } else { 2 };
    match way {
        Way::Stream(script) => {
            let patience = Patience { answer: TURN, retransmissions: tries };
            let seen = converse(device, &script.clone().over(family), patience)?;
            Ok(has_address(&seen.data))
        }
        Way::Datagrams(datagrams) => {
            for _ in 0..tries {
                for datagram in datagrams {
                    for frame in frames(device, family, datagram) {
                        device.send(&frame)?;
                    }
                }
                let until = Instant::now() + TURN;
                while let Some(left) = until.checked_duration_since(Instant::now()) {
                    let Some(frame) = device.receive(left) else { break };
                    let headers = if family == Family::V4 { 34 } else { 54 };
                    if frame.get(headers..).is_some_and(has_address) {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        }
    }
}

fn frames(device: &Device<'_>, family: Family, datagram: &Datagram) -> Vec<Vec<u8>> {
    let mut frame = Frame {
        source: device.address(family),
        destination: family.server(),
        source_port: datagram.from,
        destination_port: PORT,
        transport: Transport::Udp,
        ..Frame::from_device(family == Family::V6, &datagram.message)
    };
    match &datagram.packet {
        Packet::Options(options) => frame.options.clone_from(options),
        Packet::Extensions(kind, bytes) => frame.extensions = Some((*kind, bytes.clone())),
        Packet::Fragments(starts) => return fragments(&frame.bytes(), starts),
        Packet::Plain | Packet::BadChecksum => {}
    }
    vec![frame.bytes()]
}

fn trials<'a>(
    cases: &'a [Case],
    name: &'static str,
    comes: impl Fn(&Case) -> bool,
) -> Vec<Trial<'a>> {
    let families = |case: &'a Case| case.families.iter().map(move |&family| (case, family));
    cases
        .iter()
        .flat_map(families)
        .map(|(case, family)| Trial { case, family, name, comes: comes(case) })
        .collect()
}

#[test]
fn no_query_gets_the_address_of_a_blocked_name() -> Result<()> {
    let site = Site::watched()?;
    let cases = cases();
    let mut all = trials(&cases, BLOCKED, |_| false);
    let honest = |case: &Case| case.server == Server::Answers && case.allowed == Allowed::Loads;
    all.extend(trials(&cases, ALLOWED, honest).into_iter().filter(|trial| trial.comes));
    let count = all.len();
    conclude(&complaints(&site, all), count);
    Ok(())
}

#[test]
fn resolvers_answer_what_the_queries_say() -> Result<()> {
    let site = Site::unwatched()?;
    let cases = cases();
    let all = trials(&cases, BLOCKED, |case| case.server == Server::Answers);
    let count = all.len();
    conclude(&complaints(&site, all), count);
    Ok(())
}
