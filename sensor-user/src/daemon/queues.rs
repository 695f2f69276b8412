//! What queueing disciplines have dropped, or not sent yet (rtnetlink(7), `tc(8)`): it was seen at TC egress, and has not gone
//! out.

use futures_util::TryStreamExt as _;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};
use sensor_ebpf::abi::Volume;

/// What the disciplines of an interface say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    /// Packets dropped since they were set up.
    pub(super) dropped: u64,
    /// Packets and bytes that wait.
    pub(super) waiting: Volume,
}

/// Asks those of an interface. What a tree of them has counts at its root.
pub(super) async fn read(ifindex: u32) -> anyhow::Result<Queue> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    // It ends when its handle is dropped.
    tokio::spawn(connection);
    let index = i32::try_from(ifindex)?;
    let mut disciplines = handle.qdisc().get().index(index).execute();
    let mut sum = Queue::default();
    while let Some(discipline) = disciplines.try_next().await? {
        let header = &discipline.header;
        if header.index == index && header.parent == TcHandle::ROOT {
            add(&mut sum, &discipline);
        }
    }
    Ok(sum)
}

fn add(sum: &mut Queue, discipline: &TcMessage) {
    for attribute in &discipline.attributes {
        if let TcAttribute::Stats2(statistics) = attribute {
            for one in statistics {
                if let TcStats2::Queue(queue) = one {
                    sum.dropped += u64::from(queue.drops);
                    sum.waiting.packets += u64::from(queue.qlen);
                    sum.waiting.bytes += u64::from(queue.backlog);
                }
            }
        }
    }
}
