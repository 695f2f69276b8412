//! What queueing disciplines have dropped (rtnetlink(7), `tc(8)`): it was seen at TC egress, and never went out.

use futures_util::TryStreamExt as _;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};

/// Packets dropped on an interface since its disciplines were set up. Those of a tree count at its root.
pub(super) async fn dropped(ifindex: u32) -> anyhow::Result<u64> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    // It ends when its handle is dropped.
    tokio::spawn(connection);
    let index = i32::try_from(ifindex)?;
    let mut disciplines = handle.qdisc().get().index(index).execute();
    let mut dropped = 0;
    while let Some(discipline) = disciplines.try_next().await? {
        let header = &discipline.header;
        if header.index == index && header.parent == TcHandle::ROOT {
            dropped += drops(&discipline);
        }
    }
    Ok(dropped)
}

fn drops(discipline: &TcMessage) -> u64 {
    let mut drops = 0;
    for attribute in &discipline.attributes {
        if let TcAttribute::Stats2(statistics) = attribute {
            for one in statistics {
                if let TcStats2::Queue(queue) = one {
                    drops += u64::from(queue.drops);
                }
            }
        }
    }
    drops
}
