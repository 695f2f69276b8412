//! A client's QUIC, datagram by datagram, through the loaded programs. The datagrams are protected by another
//! library than the programs have.

mod bad_input;
mod budget;
mod connections;
mod other_protocols;
mod pieces;
mod standards;
mod two_datagrams;

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Side};
use sensor_lab::frames::{Frame, Hello};
use sensor_lab::quic::{Content, Initial, message};
use sensor_user::kernel::test_run::action;

use super::{Bench, Lent};

/// The name that is blocked for everybody.
const BLOCKED: &str = "blocked.example";
/// A name that is not listed.
const FINE: &str = "fine.example";

/// Reasons that are blocked for everybody.
const BLOCKED_REASONS: [NoName; 13] = [
    NoName::Truncated,
    NoName::Malformed,
    NoName::Oversize,
    NoName::Evasion,
    NoName::Http2,
    NoName::QuicVersion,
    NoName::QuicNegotiation,
    NoName::QuicKeys,
    NoName::QuicBudget,
    NoName::QuicRefused,
    NoName::QuicHeld,
    NoName::QuicUnsupported,
    NoName::Gquic,
];

/// A bench at the LAN that blocks one name and these reasons.
fn enforcing() -> Result<Lent> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block_both(&[BLOCKED], &BLOCKED_REASONS)?;
    Ok(bench)
}

/// A hello that fits a datagram, the name last.
fn small(name: &str) -> Vec<u8> {
    message(&Hello::with_name_last(name))
}

/// A hello with a post-quantum key share, which takes two datagrams.
fn large(name: &str, place: Place) -> Vec<u8> {
    let others = vec![(51, 1263), (43, 7), (13, 18), (21, 200)];
    let (before, after) = match place {
        Place::First => (Vec::new(), others),
        Place::Last => (others, Vec::new()),
    };
    message(&Hello { before, after, ..Hello::of(name) })
}

/// Where the name lies among the extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Last,
}

/// The pieces of a hello before and behind a place in it.
fn halves(hello: &[u8], at: usize) -> [Initial; 2] {
    [
        Initial::of(vec![Content::piece(hello, 0, at)]),
        Initial::of(vec![Content::piece(hello, at, hello.len())]).numbered(1),
    ]
}

/// Whether a datagram goes on, and then as it came.
fn passes(bench: &mut Bench, frame: &Frame) -> Result<bool> {
    let outcome = bench.run(frame)?;
    if outcome.action == action::DROP {
        return Ok(false);
    }
    assert_eq!(outcome.action, action::PASS);
    assert_eq!(outcome.frame, frame.bytes());
    Ok(true)
}

/// The reason that a datagram is counted under, the only one; and whether it passes.
fn reason_of(bench: &mut Bench, frame: &Frame) -> Result<(Option<NoName>, bool)> {
    let before = bench.ingress()?;
    let has_passed = passes(bench, frame)?;
    let after = bench.ingress()?;
    let counted = |reason: &NoName| after.no_name(*reason) - before.no_name(*reason);
    let reasons: Vec<_> = NoName::ALL.iter().filter(|reason| counted(reason) > 0).collect();
    assert!(reasons.len() <= 1, "one datagram has the reasons {reasons:?}");
    assert!(reasons.iter().all(|reason| counted(reason) == 1), "{reasons:?} twice");
    assert!(after.is_conserved());
    Ok((reasons.first().map(|reason| **reason), has_passed))
}
