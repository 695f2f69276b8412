//! The kernel's table of neighbours (rtnetlink(7)): which device answers for an address, by ARP and NDP.
//!
//! [`table`] makes facts of its entries; here they are asked for once and then followed. It tells of devices on networks
//! that this machine has an address in: behind a router there is the router, which `resolve.rs` knows by its many addresses.

pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tracing::{error, warn};

use self::table::Table;
use super::Directory;

/// Wait before the kernel is asked again, where it did not answer.
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// Follows the table for ever. `now_us` tells the time, µs since 1970 UTC.
pub async fn follow(directory: Arc<Directory>, now_us: fn() -> i64) {
    let mut table = Table::default();
    loop {
        match follow_once(&mut table, &directory, now_us).await {
            Ok(()) => warn!("neighbours came faster than they were read: the table is read again"),
            Err(failure) => {
                error!(error = format!("{failure:#}"), "the table of neighbours is not followed");
                tokio::time::sleep(RETRY_WAIT).await;
            }
        }
    }
}

/// Reads the table and what changes in it, until a change is lost.
async fn follow_once(
    table: &mut Table,
    directory: &Directory,
    now_us: fn() -> i64,
) -> anyhow::Result<()> {
    let (connection, handle, mut messages) = new_multicast_connection(&[MulticastGroup::Neigh])?;
    // It ends when its handle and its messages are dropped.
    tokio::spawn(connection);
    let mut entries = handle.neighbours().get().execute();
    let mut found = Vec::new();
    while let Some(entry) = entries.try_next().await? {
        found.push(entry);
    }
    table.replace(&found, directory, now_us());
    while let Some((message, _from)) = messages.next().await {
        let payload = message.payload;
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) = &payload {
            table.note(entry, directory, now_us());
        } else if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(entry)) =
            &payload
        {
            table.forget(entry, directory, now_us());
        } else if let NetlinkPayload::Overrun(_) = payload {
            return Ok(());
        }
    }
    anyhow::bail!("the kernel's messages ended")
}
