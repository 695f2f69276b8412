//! What the client of a blocked request is told, as far as XDP decides it: the order it leaves, and what it
//! answers later packets with.

use anyhow::Result;
use sensor_ebpf::abi::{Happening, Page, PageKey, Side};
use sensor_ebpf::flow::RESETS_MAX;
use sensor_ebpf::parse::{ACK, RST};
use sensor_ebpf::reset::Order;
use sensor_lab::frames::{Frame, Hello, Transport, flag, request};
use sensor_user::kernel::lab;
use sensor_user::kernel::test_run::{TEST_IFINDEX, action};

use super::resets::check_reset;
use super::{Bench, CATEGORY, Lent, packet};

const NAME: &str = "blocked.example";

/// Padding, and timestamps: the sender's own value, and the last one it saw.
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 1, 0, 0, 0, 0, 9];

fn bench() -> Result<Lent> {
    let mut bench = Bench::new(Side::Lan)?;
    let page = Page::new(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"blocked").expect("a short page");
    bench.block_with(NAME, &page)?;
    Ok(bench)
}

fn get(v6: bool) -> Frame {
    Frame::from_device(v6, &request(NAME, "/", &[]))
}

/// The same segment with another acknowledgement number.
fn acknowledging(mut frame: Frame, further: u32) -> Frame {
    if let Transport::Tcp { acknowledgement, .. } = &mut frame.transport {
        *acknowledgement += further;
    }
    frame
}

#[test]
fn a_blocked_request_orders_a_page() -> Result<()> {
    let mut bench = bench()?;
    let stamped = Frame { tcp_options: TIMESTAMPS.to_vec(), ..get(true) };
    let head = Frame::from_device(false, b"HEAD / HTTP/1.1\r\nHost: blocked.example\r\n\r\n");
    let stamps = [u32::from_ne_bytes([0, 0, 0, 9]), u32::from_ne_bytes([0, 0, 1, 0])];
    for (port, frame, flags, timestamps) in [
        (1, get(false), Order::PAGE, [0; 2]),
        (2, stamped, Order::PAGE, stamps),
        (3, head, Order::PAGE | Order::HEAD, [0; 2]),
        (4, get(false).tagged(&[(0x8100, 20)]), Order::PAGE, [0; 2]),
    ] {
        let frame = frame.from_port(port);
        let outcome = bench.run(&frame)?;
        assert_eq!(outcome.action, action::PASS, "{port}");
        assert_eq!(packet(&outcome.frame).tcp_flags, RST | ACK, "{port}: the server is reset");
        let before = packet(&frame.bytes());
        let order = outcome.order.expect("an order");
        let page =
            PageKey { policy: bench.control.policy(), group: 0, category: CATEGORY, reserved: 0 };
        let expected = Order {
            magic: Order::MAGIC,
            sequence_end: before.sequence + before.payload_length,
            page,
            flags,
            timestamps,
        };
        assert_eq!(order, expected, "{port}");
    }
    Ok(())
}

#[test]
fn hellos_and_requests_behind_an_unfinished_answer_are_reset() -> Result<()> {
    let mut bench = bench()?;
    let hello = Frame::from_device(false, &Hello::of(NAME).bytes()).from_port(1);
    assert_eq!(bench.run(&hello)?.order.map(|order| order.flags), Some(0));
    // The server sends 100 bytes in answer to an earlier request; both ends are seen here.
    let request = get(false).from_port(2);
    let empty = Frame { payload: Vec::new(), ..request.clone() };
    bench.run(&empty.clone().with_flags(flag::SYN))?;
    let server = |flags, sequence, payload: &[u8]| {
        let transport = Transport::Tcp { flags, sequence, acknowledgement: 1001 };
        Frame { transport, payload: payload.to_vec(), ..empty.reply() }
    };
    bench.run(&server(flag::SYN | flag::ACK, 5000, b""))?;
    bench.run(&server(flag::ACK, 5001, &[b'.'; 100]))?;
    assert_eq!(bench.run(&request)?.order.map(|order| order.flags), Some(0));
    Ok(())
}

#[test]
fn a_request_behind_a_whole_answer_orders_a_page() -> Result<()> {
    let mut bench = bench()?;
    let request = get(false);
    let empty = Frame { payload: Vec::new(), ..request.clone() };
    bench.run(&empty.clone().with_flags(flag::SYN))?;
    let server = |flags, sequence, payload: &[u8]| {
        let transport = Transport::Tcp { flags, sequence, acknowledgement: 1001 };
        Frame { transport, payload: payload.to_vec(), ..empty.reply() }
    };
    bench.run(&server(flag::SYN | flag::ACK, 5000, b""))?;
    bench.run(&server(flag::ACK, 5001, &[b'.'; 100]))?;
    let order = bench.run(&acknowledging(request, 100))?.order;
    assert_eq!(order.map(|order| order.flags), Some(Order::PAGE));
    Ok(())
}

#[test]
fn behind_a_page_the_client_is_helped_to_close() -> Result<()> {
    let mut bench = bench()?;
    for v6 in [false, true] {
        let frame = Frame { tcp_options: TIMESTAMPS.to_vec(), ..get(v6) };
        bench.run(&frame)?;
        // It did not arrive: sent again, and the server hears nothing of it.
        let again = bench.run(&frame)?;
        assert_eq!(again.action, action::PASS);
        assert_eq!(again.order.map(|order| order.flags), Some(Order::PAGE | Order::ALONE));
        // It did: 34 bytes and the FIN are acknowledged, which wants no answer.
        let receipt = acknowledging(Frame { payload: Vec::new(), ..frame.clone() }, 35);
        let receipt = receipt.further(frame.payload.len() as u32).with_flags(flag::ACK);
        assert_eq!(bench.run(&receipt)?.action, action::DROP);
        let fin = receipt.with_flags(flag::FIN | flag::ACK);
        for _ in 2..RESETS_MAX {
            let outcome = bench.run(&fin)?;
            assert_eq!(outcome.action, action::PASS);
            let order = outcome.order.expect("an order");
            assert_eq!(order.flags, Order::ACKNOWLEDGEMENT | Order::ALONE);
            assert_eq!(order.sequence_end, packet(&fin.bytes()).sequence + 1);
            assert_eq!(order.timestamps.map(u32::from_be), [9, 256]);
            // What would pass on, were nothing behind XDP, is harmless.
            check_reset("a FIN", &outcome.frame);
        }
        // The last of the flow's budget ends it.
        let last = bench.run(&fin)?;
        assert_eq!(last.action, action::TX);
        check_reset("the last FIN", &last.frame);
        assert_eq!(bench.run(&fin)?.action, action::DROP);
    }
    let totals = bench.ingress()?;
    assert_eq!(totals.happened(Happening::ServerReset), 2);
    assert_eq!(totals.happened(Happening::ClientReset), 2);
    assert!(totals.is_conserved());
    Ok(())
}

#[test]
fn what_a_client_is_told_has_a_budget() -> Result<()> {
    const TRIES: u16 = 600;
    const BURST: u64 = 512;
    const ANSWER_NS: u64 = 4_000_000;
    let mut bench = bench()?;
    let told = |bench: &mut Bench, ports: std::ops::Range<u16>| -> Result<u64> {
        let mut told = 0;
        for port in ports {
            let outcome = bench.run(&get(false).from_port(port))?;
            // With an order or without, the server is reset.
            assert_eq!(outcome.action, action::PASS, "{port}");
            assert_eq!(packet(&outcome.frame).tcp_flags, RST | ACK, "{port}");
            told += u64::from(outcome.order.is_some());
        }
        Ok(told)
    };
    assert_eq!(told(&mut bench, 1..TRIES + 1)?, BURST);
    let over = bench.ingress()?.happened(Happening::AnswerOverBudget);
    assert_eq!(over, u64::from(TRIES) - BURST);
    // Its later packets are dropped, those of another client answered.
    assert_eq!(bench.run(&get(false).from_port(1))?.action, action::DROP);
    assert!(bench.run(&get(true))?.order.is_some());
    // A second later it has a second's worth.
    bench.control.set_replay_clock(1 + 1_000_000_000);
    assert_eq!(told(&mut bench, TRIES + 1..2 * TRIES)?, 1_000_000_000 / ANSWER_NS);
    assert!(bench.ingress()?.is_conserved());
    Ok(())
}

#[test]
fn without_metadata_an_order_goes_another_way() -> Result<()> {
    let mut bench = bench()?;
    lab::deny_metadata(&mut bench.counters, TEST_IFINDEX)?;
    for (number, frame) in (1..).zip([get(false), get(true)]) {
        let outcome = bench.run(&frame)?;
        assert_eq!((outcome.action, outcome.order), (action::PASS, None));
        assert_eq!(packet(&outcome.frame).tcp_flags, RST | ACK);
        let totals = bench.ingress()?;
        assert_eq!(totals.happened(Happening::ResetWithoutMetadata), number);
        assert_eq!(totals.happened(Happening::ServerReset), number);
    }
    Ok(())
}
