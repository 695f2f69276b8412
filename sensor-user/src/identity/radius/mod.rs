//! RADIUS accounting (RFC 2866): switches, access points and controllers tell who begins and ends to use the network, on
//! which device, and with which address.
//!
//! [`packet`] reads and answers requests, [`accounting`] makes facts of them. A request that does not prove to know the
//! secret is not answered: it gets nothing but a count.

pub mod accounting;
pub mod packet;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tracing::warn;

pub use self::accounting::Accounting;
use super::Directory;

/// Wait after the socket failed: it is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Opens the socket that requests come to.
pub fn bind(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(listen)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Answers requests for ever. `now_us` tells the time, µs since 1970 UTC.
pub async fn serve(
    socket: UdpSocket,
    mut accounting: Accounting,
    directory: Arc<Directory>,
    now_us: fn() -> i64,
) {
    // One byte more than the longest packet tells longer ones.
    let mut bytes = [0; packet::BYTES_MAX + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut bytes).await {
            Ok(received) => received,
            Err(error) => {
                warn!(%error, "RADIUS accounting: cannot receive");
                tokio::time::sleep(RETRY_WAIT).await;
                continue;
            }
        };
        let request = bytes.get(..length).unwrap_or_default();
        let Some(answer) = accounting.take(request, from, &directory, now_us()) else { continue };
        // An answer that is lost is asked for again.
        if let Err(error) = socket.send_to(&answer, from).await {
            warn!(%error, "RADIUS accounting: cannot answer");
        }
    }
}
