//! Parity: one source serves both sides, so the same bytes through the host's parsers and through the
//! loaded program come to the same name, or to the same reason for none.

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, NoName, Side};
use sensor_ebpf::cursor::Window;
use sensor_ebpf::http::RequestReader;
use sensor_ebpf::probe::{PROBE_BYTES, Probe};
use sensor_ebpf::slot::SLOT_IDLE_NS;
use sensor_ebpf::step::Step;
use sensor_ebpf::tls::{HelloReader, Scan};
use sensor_lab::frames::{Frame, Hello, request};

use super::{Bench, Random};

/// What the host says of a payload: source and name, or why not. Not even looked at: `None`.
fn host_says(payload: &[u8]) -> Option<Result<(NameSource, String), NoName>> {
    let mut first = [0; PROBE_BYTES];
    first.iter_mut().zip(payload).for_each(|(to, from)| *to = *from);
    let window = Window::new(payload);
    let (source, name) = match Probe::of(first, payload.len() as u32) {
        Probe::Neither => (NameSource::Tls, hello_name(&window, found(&window)?)),
        Probe::Hello => (NameSource::Tls, hello_name(&window, 0)),
        Probe::Request => (NameSource::Http, host_name(&window)),
    };
    if source == NameSource::Tls && name == Err(NoName::NotTls) {
        // It only looked like a hello.
        return None;
    }
    Some(name.map(|name| {
        let name = name.to_ascii_lowercase();
        let name = match name.strip_suffix(b".") {
            Some(shorter) if !shorter.is_empty() => shorter,
            _ => &name,
        };
        (source, String::from_utf8_lossy(name).into_owned())
    }))
}

/// Where a hello could start behind the first byte.
fn found(window: &Window) -> Option<u32> {
    let mut scan = Scan::default();
    scan.begin(1);
    while scan.step(window) {}
    scan.found()
}

fn hello_name(window: &Window, at: u32) -> Result<Vec<u8>, NoName> {
    let mut reader = HelloReader::new();
    reader.begin();
    reader.resume(at);
    let end = reader.read(window);
    match end {
        _ if reader.is_named() => Ok(reader.name()[..reader.name_length() as usize].to_vec()),
        Step::Stop(reason) => Err(reason),
        Step::Found => Err(NoName::NoSni),
        Step::Pause | Step::More => Err(NoName::Truncated),
    }
}

fn host_name(window: &Window) -> Result<Vec<u8>, NoName> {
    let mut reader = RequestReader::default();
    match reader.read(window) {
        Step::Found => Ok(reader.name()[..reader.name_length() as usize].to_vec()),
        Step::Stop(reason) => Err(reason),
        Step::Pause | Step::More => Err(NoName::Truncated),
    }
}

/// What the kernel says of it, in a flow of its own.
fn kernel_says(
    bench: &mut Bench,
    payload: &[u8],
    port: u16,
) -> Result<Option<Result<(NameSource, String), NoName>>> {
    let frame = Frame::from_device(false, payload).from_port(port);
    // What an earlier one left in a slot has been silent for long.
    bench.control.set_replay_clock(u64::from(port) * 2 * SLOT_IDLE_NS);
    bench.run(&frame)?;
    let flow = bench.flow(&frame).expect("the table has room");
    let event = bench.verdict();
    // Of further names: the first one is compared.
    while bench.verdict().is_some() {}
    if let Some(event) = event {
        let name = String::from_utf8_lossy(event.name.as_bytes()).into_owned();
        return Ok(Some(Ok((NameSource::try_from(event.name_source)?, name))));
    }
    let reason = NoName::try_from(flow.no_name)?;
    Ok(match reason {
        // Nobody looked: the first packet of this flow is no SYN.
        NoName::MidStream | NoName::NoPayload => None,
        reason => Some(Err(reason)),
    })
}

fn check(bench: &mut Bench, payload: &[u8], port: u16) -> Result<()> {
    let host = host_says(payload);
    let kernel = kernel_says(bench, payload, port)?;
    assert_eq!(kernel, host, "payload {payload:02x?}");
    Ok(())
}

#[test]
fn hellos_and_requests_read_the_same() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    let long = "x".repeat(63) + ".example";
    let longest = format!("{}.example", ["y".repeat(60).as_str()].repeat(4).join("."));
    let payloads = [
        Hello::of("a.example").bytes(),
        Hello::of("A.EXAMPLE.").bytes(),
        Hello::of(&long).bytes(),
        Hello::of(&longest).bytes(),
        Hello::of("").bytes(),
        Hello::of("a\0b\x1b[2J\n").bytes(),
        Hello { name: None, ..Hello::of("") }.bytes(),
        Hello::with_name_last("last.example").bytes(),
        Hello { before: vec![(21, 1000)], ..Hello::of("far.example") }.bytes(),
        Hello { before: vec![(21, 0); 63], ..Hello::of("sixty-fourth.example") }.bytes(),
        Hello { before: vec![(21, 0); 64], ..Hello::of("beyond.example") }.bytes(),
        Hello { session_id: 33, ..Hello::of("a.example") }.bytes(),
        request("a.example", "/", &[]),
        request("a.example:8080", "/", &[]),
        request("[2001:db8::1]:80", "/", &[]),
        request("a.example", "http://b.example/x", &[]),
        request("a.example", "http://user@b.example:81/x", &[]),
        request("a.example", "/", &["X-Host: no.example", "hosts: no.example"]),
        request("", "/", &[]),
        b"CONNECT c.example:443 HTTP/1.1\r\n\r\n".to_vec(),
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"GET / HTTP/2.0\r\n\r\n".to_vec(),
        b"EHLO mail.example\r\n".to_vec(),
        b"GET / HTTP/1.1\nhoSt:\tlf.example\n\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: cut.exam".to_vec(),
    ];
    for (port, payload) in (40_000..).zip(&payloads) {
        check(&mut bench, payload, port)?;
    }
    Ok(())
}

#[test]
fn mutilated_hellos_and_requests_read_the_same() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    let mut random = Random(0x5eed_0001);
    let seeds = [
        Hello::of("mutilated.example").bytes(),
        Hello::with_name_last("mutilated.example").bytes(),
        request("mutilated.example:80", "http://abs.example/x", &["Accept: */*"]),
        request("mutilated.example", "/", &["Accept: */*"]),
    ];
    for round in 0..4000_u16 {
        let mut payload = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(payload.len());
            match random.below(4) {
                0 => payload.truncate(at.max(1)),
                1 => payload[at] = random.next() as u8,
                2 => payload.insert(at, random.next() as u8),
                _ => payload[at] = payload[at].wrapping_add(1),
            }
        }
        check(&mut bench, &payload, 1000 + round)?;
    }
    Ok(())
}
