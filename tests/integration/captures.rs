//! Frames that nobody should send: captures of malformed ones where [`MALFORMED_VARIABLE`] names a folder of
//! them, else some that are made by breaking right ones.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use pcap_file::pcap::PcapReader;
use sensor_lab::MALFORMED_VARIABLE;
use sensor_lab::frames::{Frame, Hello, Transport, flag, request};

use super::kernel::Random;

/// Frames and when they came, ns.
pub(super) struct Capture {
    pub(super) name: String,
    pub(super) frames: Vec<(u64, Vec<u8>)>,
}

pub(super) fn captures() -> Result<Vec<Capture>> {
    match std::env::var_os(MALFORMED_VARIABLE) {
        Some(directory) => read_all(Path::new(&directory)),
        None => Ok(broken()),
    }
}

fn read_all(directory: &Path) -> Result<Vec<Capture>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let mut captures: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    captures.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    captures.sort();
    ensure!(!captures.is_empty(), "{} holds no .pcap file", directory.display());
    captures.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Result<Capture> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = File::open(path).with_context(|| format!("open {name}"))?;
    let mut reader =
        PcapReader::new(BufReader::new(file)).with_context(|| format!("read {name}"))?;
    let mut frames = Vec::new();
    // Raw: lengths that contradict each other are what such captures are made of.
    while let Some(Ok(record)) = reader.next_raw_packet() {
        let time_ns = u64::from(record.ts_sec) * 1_000_000_000 + u64::from(record.ts_frac);
        frames.push((time_ns, record.data.to_vec()));
    }
    Ok(Capture { name, frames })
}

/// What may change in a frame behind its Ethernet addresses: headers, and the start of what they carry.
const BREAKABLE: usize = 120;
const ETHERNET_ADDRESSES: usize = 12;
const ETHERNET_HEADER: usize = 14;
/// Times each frame is broken by changing bytes of it.
const CHANGES: usize = 60;
/// And by an end after so many bytes, twice as many, and so on.
const CUT_EVERY: usize = 9;
const SECOND_NS: u64 = 1_000_000_000;

/// Connections of each kind, the first of them whole and all others broken in some way.
fn broken() -> Vec<Capture> {
    let mut random = Random(0x5eed_0009);
    let mut captures = Vec::new();
    for (second, (name, frame)) in (1..).zip(right()) {
        let mut sent = Vec::new();
        let mut send = |number: usize, change: &mut dyn FnMut(&mut Vec<u8>)| {
            let frame = frame.clone().from_port(20_000 + number as u16);
            // Behind a SYN of its own a wrong checksum is all there is to be seen.
            if number.is_multiple_of(2) && matches!(frame.transport, Transport::Tcp { .. }) {
                let syn = Frame { payload: Vec::new(), ..frame.clone() };
                sent.push(syn.with_flags(flag::SYN).bytes());
            }
            let mut bytes = frame.bytes();
            change(&mut bytes);
            sent.push(bytes);
        };
        send(0, &mut |_| ());
        let cuts = (ETHERNET_HEADER..frame.bytes().len()).step_by(CUT_EVERY);
        for (number, cut) in (1..).zip(cuts) {
            send(number, &mut |bytes| bytes.truncate(cut));
        }
        for number in 0..CHANGES {
            send(1_000 + number, &mut |bytes| {
                for _ in 0..=number % 3 {
                    let at = ETHERNET_ADDRESSES + random.below(BREAKABLE);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random.next() as u8;
                    }
                }
            });
        }
        let frames = sent.into_iter().map(|frame| (second * SECOND_NS, frame)).collect();
        captures.push(Capture { name: name.to_owned(), frames });
    }
    captures
}

fn right() -> Vec<(&'static str, Frame)> {
    let (listed, other) = ("www.pornography.example", "library.example");
    let hello = |v6, name| Frame::from_device(v6, &Hello::with_name_last(name).bytes());
    let large = Hello { before: vec![(51, 700)], ..Hello::of(listed) }.bytes();
    let udp = |v6, port| Frame {
        transport: Transport::Udp,
        destination_port: port,
        ..Frame::from_device(v6, &[0x40; 200])
    };
    let options = |first: u8| {
        let chain = vec![43, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
        Frame { extensions: Some((first, chain)), ..hello(true, listed) }
    };
    let timestamp = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0];
    vec![
        ("a listed name over IPv4", hello(false, listed)),
        ("a listed name over IPv6", hello(true, listed)),
        ("another name over IPv4", hello(false, other)),
        ("another name over IPv6", hello(true, other)),
        ("half a large hello", Frame::from_device(false, &large[..600])),
        ("a request", Frame::from_device(false, &request(listed, "/", &[]))),
        ("another request", Frame::from_device(true, &request(other, "/", &[]))),
        ("in three VLANs", hello(false, listed).tagged(&[(0x88a8, 7), (0x88a8, 8), (0x8100, 9)])),
        ("in PPPoE", hello(false, listed).in_pppoe()),
        ("in PPPoE over IPv6", hello(true, listed).in_pppoe()),
        ("behind labels", hello(false, listed).in_mpls(3)),
        ("behind hop-by-hop options", options(0)),
        ("behind destination options", options(60)),
        (
            "a fragment",
            Frame { extensions: Some((44, vec![6, 0, 0, 1, 0, 0, 0, 1])), ..options(0) },
        ),
        ("IPv4 options", Frame { options: vec![7; 12], ..hello(false, listed) }),
        ("TCP options", Frame { tcp_options: timestamp.to_vec(), ..hello(false, other) }),
        ("a datagram to port 443", udp(false, 443)),
        ("a datagram to port 53", udp(true, 53)),
        ("no payload", Frame::from_device(false, &[])),
    ]
}
