//! What the kernel counts on an interface.

use std::{fs, io};

use sensor_ebpf::abi::{Direction, Volume};

/// Of the interfaces of this network namespace (`proc_net_dev(5)`): `/sys` may be another one's.
const COUNTERS: &str = "/proc/self/net/dev";

/// One direction of an interface; nothing where it is gone.
pub(super) fn read(interface: &str, direction: Direction) -> io::Result<Option<Volume>> {
    Ok(counted(&fs::read_to_string(COUNTERS)?, interface, direction))
}

/// By a table of all: eight numbers of what came in, eight of what went out, of which the first are bytes, the second
/// packets.
fn counted(table: &str, interface: &str, direction: Direction) -> Option<Volume> {
    let mut lines = table.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = lines.find(|(name, _)| name.trim() == interface)?;
    let first = match direction {
        Direction::Ingress => 0,
        Direction::Egress => 8,
    };
    let mut numbers = numbers.split_whitespace().skip(first).map(str::parse);
    let (bytes, packets) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(Volume { packets, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_read_by_interface_and_direction() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n    \
            lo:     100       2    0    0    0     0          0         0      100       3    0    0\n  \
            lan0:  7000      70    1    0    0     0          0         0     8000      80    0    0\n\
            lan0.5:   1       5    0    0    0     0          0         0        1       6    0    0\n";
        for (interface, direction, expected) in [
            ("lan0", Direction::Ingress, Some((70, 7000))),
            ("lan0", Direction::Egress, Some((80, 8000))),
            ("lan0.5", Direction::Ingress, Some((5, 1))),
            ("lo", Direction::Egress, Some((3, 100))),
            ("lan", Direction::Ingress, None),
        ] {
            let expected = expected.map(|(packets, bytes)| Volume { packets, bytes });
            assert_eq!(counted(table, interface, direction), expected, "{interface}");
        }
        assert!(read("lo", Direction::Ingress).unwrap().is_some());
    }
}
