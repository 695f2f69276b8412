//! The third part of conservation: what the kernel counts on an interface beside what the program there has seen, and why
//! the two differ.
//!
//! Both count since the daemon began to look. Drivers do not agree on what they count: some count a joined frame as one,
//! some as those it becomes; some leave out the link header, some add the frame check sequence. Which of it an interface
//! does shows by what explains most.

use sensor_ebpf::abi::{Direction, Volume};

use super::net_dev;
use super::queues::Queue;
use crate::control::direction::OnInterface;
use crate::kernel::counters::Totals;

/// Bytes a driver may leave out of every frame, or add: nothing, the link header, the frame check sequence (IEEE 802.3
/// section 3.1.1), or the one for the other.
const OF_EVERY_FRAME: [(i64, Cause); 4] = [
    (0, Cause::LinkHeader),
    (-14, Cause::LinkHeader),
    (4, Cause::FrameCheckSequence),
    (-10, Cause::LinkHeader),
];

/// Why an interface counts other than the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The driver counts a joined frame as one, the program as those it becomes.
    JoinedFrames,
    /// The egress program dropped it.
    BlockedDropped,
    /// The ingress program sent it back, past the egress program.
    SentBack,
    /// A queueing discipline behind the egress program dropped it, of a size that nobody tells.
    QueueDropped,
    /// It waits in one.
    Queued,
    /// The driver leaves out the link header.
    LinkHeader,
    /// The driver counts the frame check sequence.
    FrameCheckSequence,
    /// No known cause.
    Unexplained,
}

impl Cause {
    const fn name(self) -> &'static str {
        match self {
            Self::JoinedFrames => "joined-frames",
            Self::BlockedDropped => "blocked-dropped",
            Self::SentBack => "sent-back",
            Self::QueueDropped => "queue-dropped",
            Self::Queued => "queued",
            Self::LinkHeader => "link-header",
            Self::FrameCheckSequence => "frame-check-sequence",
            Self::Unexplained => "unexplained",
        }
    }
}

/// More packets and bytes, or fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    packets: i64,
    bytes: i64,
}

impl Amount {
    const fn of(volume: Volume) -> Self {
        Self { packets: volume.packets.cast_signed(), bytes: volume.bytes.cast_signed() }
    }

    const fn minus(self, other: Self) -> Self {
        Self { packets: self.packets - other.packets, bytes: self.bytes - other.bytes }
    }

    const fn is_nothing(self) -> bool {
        self.packets == 0 && self.bytes == 0
    }
}

/// What the programs of an interface have counted that bears on one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    all: Amount,
    joined: Amount,
    dropped: Amount,
    /// By the ingress program, so it counts for egress.
    sent_back: Amount,
}

impl Seen {
    /// Of a direction, by the counts of both.
    pub(super) fn of(direction: Direction, ingress: &Totals, egress: &Totals) -> Self {
        match direction {
            Direction::Ingress => Self { all: Amount::of(ingress.seen()), ..Self::default() },
            Direction::Egress => Self {
                all: Amount::of(egress.seen()),
                joined: Amount::of(egress.joined()),
                dropped: Amount::of(egress.dropped()),
                sent_back: Amount::of(ingress.sent_back()),
            },
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            all: self.all.minus(other.all),
            joined: self.joined.minus(other.joined),
            dropped: self.dropped.minus(other.dropped),
            sent_back: self.sent_back.minus(other.sent_back),
        }
    }
}

/// One look at a direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// What the program has, before the interface was asked and after.
    seen: [Seen; 2],
    interface: Amount,
    queue: Queue,
}

impl Look {
    /// Asks the program, the interface, and the program again; nothing where the interface is gone.
    pub(super) fn take(
        interface: &str,
        direction: Direction,
        queue: Queue,
        seen: impl Fn() -> anyhow::Result<Seen>,
    ) -> anyhow::Result<Option<Self>> {
        let before = seen()?;
        let counted = net_dev::read(interface, direction)?;
        let seen = [before, seen()?];
        Ok(counted.map(|volume| Self { seen, interface: Amount::of(volume), queue }))
    }
}

/// The two beside each other.
#[derive(Debug, Default)]
pub(super) struct Beside {
    first: Option<Look>,
    found: OnInterface,
}

impl Beside {
    /// Takes a look into account.
    pub(super) fn add(&mut self, look: Look) {
        let is_again = |first: &Look| look.interface.packets < first.interface.packets;
        if self.first.as_ref().is_some_and(is_again) {
            // It was made again, and counts from nothing.
            self.first = None;
        }
        self.found = explain(self.first.get_or_insert(look), &look);
    }

    /// What the last look told.
    pub(super) fn found(&self) -> OnInterface {
        self.found.clone()
    }
}

fn explain(first: &Look, last: &Look) -> OnInterface {
    let interface = last.interface.minus(first.interface);
    let [dropped, queued] = in_queues(first.queue, last.queue);
    // Packets went by while it was looked: the program has seen at least, and at most.
    let [least, most] = [(last.seen[0], first.seen[1]), (last.seen[1], first.seen[0])]
        .map(|(last, first)| last.minus(first));
    let mut causes = vec![
        (Cause::BlockedDropped, negative(most.dropped)),
        (Cause::SentBack, most.sent_back),
        (Cause::QueueDropped, dropped),
        (Cause::Queued, queued),
    ];
    let known = |seen: &Seen| {
        let rest = interface.minus(seen.all).minus(negative(seen.dropped)).minus(seen.sent_back);
        rest.minus(dropped).minus(queued)
    };
    let ways = [Amount::default(), negative(most.joined)].into_iter().flat_map(|joined| {
        // veth counts the whole of what XDP sends back, and no link header of other frames.
        let frames = [interface.packets, interface.packets - most.sent_back.packets];
        OF_EVERY_FRAME.into_iter().flat_map(move |(bytes, cause)| {
            frames.map(|frames| (joined, cause, Amount { packets: 0, bytes: bytes * frames }))
        })
    });
    let ways = ways.map(|(joined, cause, of_frames)| {
        let rests = [&least, &most].map(|seen| known(seen).minus(joined).minus(of_frames));
        (joined, cause, of_frames, between(rests))
    });
    let best = ways.min_by_key(|(_, _, _, rest)| (rest.packets.abs(), rest.bytes.abs()));
    if let Some((joined, of_every, of_frames, rest)) = best {
        causes.push((Cause::JoinedFrames, joined));
        causes.push((of_every, of_frames));
        causes.push((Cause::Unexplained, rest));
    }
    let causes = causes.into_iter().filter(|(_, amount)| !amount.is_nothing());
    OnInterface {
        packets: interface.packets.cast_unsigned(),
        bytes: interface.bytes.cast_unsigned(),
        more: causes
            .map(|(cause, Amount { packets, bytes })| (cause.name().to_owned(), [packets, bytes]))
            .collect(),
    }
}

/// What has not come out of queues: what was dropped there, of a size nobody tells, and what more waits than did.
const fn in_queues(first: Queue, last: Queue) -> [Amount; 2] {
    let dropped = last.dropped.cast_signed() - first.dropped.cast_signed();
    let queued = Amount::of(last.waiting).minus(Amount::of(first.waiting));
    [Amount { packets: -dropped, bytes: 0 }, negative(queued)]
}

const fn negative(amount: Amount) -> Amount {
    Amount { packets: -amount.packets, bytes: -amount.bytes }
}

/// What is left whatever was true in between.
fn between([one, other]: [Amount; 2]) -> Amount {
    let nearest = |one: i64, other: i64| {
        if one.signum() == other.signum() { one.signum() * one.abs().min(other.abs()) } else { 0 }
    };
    Amount { packets: nearest(one.packets, other.packets), bytes: nearest(one.bytes, other.bytes) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const fn amount(packets: i64, bytes: i64) -> Amount {
        Amount { packets, bytes }
    }

    fn look(interface: Amount, seen: Seen) -> Look {
        Look { seen: [seen; 2], interface, queue: Queue::default() }
    }

    fn causes(look: &Look) -> Vec<(String, [i64; 2])> {
        let first =
            Look { seen: [Seen::default(); 2], interface: amount(0, 0), queue: Queue::default() };
        explain(&first, look).more.into_iter().collect()
    }

    fn named(causes: &[(&str, [i64; 2])]) -> Vec<(String, [i64; 2])> {
        causes.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
    }

    #[test]
    fn what_a_driver_counts_shows_by_what_explains_most() {
        let seen = Seen { all: amount(100, 90_000), ..Seen::default() };
        assert_eq!(causes(&look(amount(100, 90_000), seen)), named(&[]));
        let header = look(amount(100, 90_000 - 1400), seen);
        assert_eq!(causes(&header), named(&[("link-header", [0, -1400])]));
        let check = look(amount(100, 90_400), seen);
        assert_eq!(causes(&check), named(&[("frame-check-sequence", [0, 400])]));
        let joined = Seen { joined: amount(60, 3960), ..seen };
        assert_eq!(causes(&look(amount(100, 90_000), joined)), named(&[]), "counted as they go");
        let one = look(amount(40, 90_000 - 3960 - 40 * 14), joined);
        let expected = named(&[("joined-frames", [-60, -3960]), ("link-header", [0, -560])]);
        assert_eq!(causes(&one), expected);
    }

    #[test]
    fn what_did_not_go_both_ways_has_its_cause() {
        let seen = Seen {
            all: amount(100, 90_000),
            dropped: amount(7, 700),
            sent_back: amount(3, 162),
            ..Seen::default()
        };
        let expected = [("blocked-dropped", [-7, -700]), ("sent-back", [3, 162])];
        assert_eq!(causes(&look(amount(96, 89_462), seen)), named(&expected));
        let queue = Queue { dropped: 2, ..Queue::default() };
        let queue = Look { queue, ..look(amount(94, 89_300), seen) };
        let expected = [
            ("blocked-dropped", [-7, -700]),
            ("queue-dropped", [-2, 0]),
            ("sent-back", [3, 162]),
            ("unexplained", [0, -162]),
        ];
        assert_eq!(causes(&queue), named(&expected), "their bytes are not known");
        let queue = Queue { dropped: 0, waiting: Volume { packets: 2, bytes: 162 } };
        let waits = Look { queue, ..look(amount(94, 89_300), seen) };
        let expected =
            [("blocked-dropped", [-7, -700]), ("queued", [-2, -162]), ("sent-back", [3, 162])];
        assert_eq!(causes(&waits), named(&expected));
        let veth = look(amount(96, 89_462 - 93 * 14), seen);
        let expected =
            [("blocked-dropped", [-7, -700]), ("link-header", [0, -1302]), ("sent-back", [3, 162])];
        assert_eq!(causes(&veth), named(&expected));
        let more = look(amount(97, 89_562), seen);
        let expected =
            [("blocked-dropped", [-7, -700]), ("sent-back", [3, 162]), ("unexplained", [1, 100])];
        assert_eq!(causes(&more), named(&expected));
    }

    #[test]
    fn what_goes_by_meanwhile_is_no_difference() {
        let seen = |packets| Seen { all: amount(packets, packets * 1000), ..Seen::default() };
        let during = |interface: i64| Look {
            seen: [seen(10_000), seen(10_010)],
            interface: amount(interface, interface * 1000),
            queue: Queue::default(),
        };
        assert_eq!(causes(&during(10_000)), named(&[]));
        assert_eq!(causes(&during(10_007)), named(&[]));
        assert_eq!(causes(&during(10_012)), named(&[("unexplained", [2, 2000])]));
        assert_eq!(causes(&during(9_998)), named(&[("unexplained", [-2, -2000])]));
    }

    #[test]
    fn an_interface_that_was_made_again_counts_from_nothing() {
        let seen = |packets| Seen { all: amount(packets, packets * 100), ..Seen::default() };
        let mut beside = Beside::default();
        beside.add(look(amount(1000, 100_000), seen(50)));
        beside.add(look(amount(1010, 101_000), seen(60)));
        assert_eq!((beside.found().packets, beside.found().bytes), (10, 1000));
        beside.add(look(amount(5, 500), seen(70)));
        beside.add(look(amount(9, 900), seen(74)));
        let expected = OnInterface { packets: 4, bytes: 400, more: BTreeMap::new() };
        assert_eq!(beside.found(), expected);
    }
}
