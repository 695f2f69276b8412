//! Whether the programs see what goes through the interfaces they are attached to.
//!
//! Attached is not at work: a packet that is forwarded by hardware, or by a program in front, passes without them. What the
//! kernel counts on the interface meanwhile tells.

use std::time::{Duration, Instant};

use sensor_ebpf::abi::Direction;

use super::net_dev;

/// How long is looked at once.
const WINDOW: Duration = Duration::from_secs(10);

/// Packets that say something: fewer may be the gateway's own, or lie on either side of the window's edge.
const FEW_PACKETS: u64 = 20;

/// One direction of an interface, as it is looked at.
#[derive(Debug)]
pub(super) struct Sight {
    interface: String,
    direction: Direction,
    begun: Option<Window>,
    /// Packets the last window had on the interface, and the programs saw none.
    unseen: u64,
}

/// What was counted when a window began.
#[derive(Clone, Copy, Debug)]
struct Window {
    at: Instant,
    there: u64,
    seen: u64,
}

impl Sight {
    /// Of an interface of this name.
    pub(super) fn of(interface: &str, direction: Direction) -> Self {
        Self { interface: interface.to_owned(), direction, begun: None, unseen: 0 }
    }

    /// Looks once more; `seen` is what the program has counted. True where it has become blind, or sees again.
    pub(super) fn look(&mut self, seen: u64, now: Instant) -> bool {
        // An interface that is gone has no packets.
        let there = net_dev::read(&self.interface, self.direction).ok().flatten();
        there.is_some_and(|there| self.compare(there.packets, seen, now))
    }

    /// Packets of the last window, of which the programs saw none; 0 where they see.
    pub(super) const fn unseen(&self) -> u64 {
        self.unseen
    }

    fn compare(&mut self, there: u64, seen: u64, now: Instant) -> bool {
        let begun = *self.begun.get_or_insert(Window { at: now, there, seen });
        if now.duration_since(begun.at) < WINDOW {
            return false;
        }
        self.begun = Some(Window { at: now, there, seen });
        // An interface that was made again counts from nothing.
        let came = there.saturating_sub(begun.there);
        let was_blind = self.unseen > 0;
        self.unseen = if seen == begun.seen && came >= FEW_PACKETS { came } else { 0 };
        was_blind != (self.unseen > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_nothing_of_what_is_there_is_blind() {
        let mut sight = Sight::of("lan0", Direction::Ingress);
        let start = Instant::now();
        let mut look = |second: u64, there, seen| {
            let changed = sight.compare(there, seen, start + Duration::from_secs(second));
            (changed, sight.unseen())
        };
        assert_eq!(look(0, 1000, 400), (false, 0), "what was before says nothing");
        assert_eq!(look(9, 5000, 400), (false, 0), "too early to tell");
        assert_eq!(look(10, 1500, 900), (false, 0));
        assert_eq!(look(20, 1500 + FEW_PACKETS - 1, 900), (false, 0), "too few to tell");
        assert_eq!(look(30, 9000, 900), (true, 9000 - 1500 - FEW_PACKETS + 1));
        assert_eq!(look(40, 9500, 900), (false, 500), "still");
        assert_eq!(look(50, 9900, 901), (true, 0), "it sees again");
        assert_eq!(look(60, 3, 901), (false, 0), "the interface was made again");
        assert_eq!(look(70, 900, 901), (true, 897));
    }
}
