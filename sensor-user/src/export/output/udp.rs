//! Datagrams.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::thread;
use std::time::Duration;

use super::{Output, PATIENCE};

/// Datagrams sent at once. A commit's would overrun a collector that is not running at that moment: Linux gives its socket
/// 208 KiB by default, of which a datagram of 1400 bytes takes more than its length.
const BURST: u32 = 16;

/// Pause behind them: more than ten thousand a second still go.
const PAUSE: Duration = Duration::from_millis(1);

/// Datagrams to a host and port.
pub struct UdpOutput {
    address: String,
    socket: Option<UdpSocket>,
    sent: u32,
}

impl UdpOutput {
    /// Sends to `HOST:PORT`; the name is looked up once.
    pub const fn new(address: String) -> Self {
        Self { address, socket: None, sent: 0 }
    }
}

impl Output for UdpOutput {
    fn open(&mut self) -> io::Result<()> {
        self.socket = None;
        let address = self.address.to_socket_addrs()?.next();
        let address = address
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
        let own: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(own)?;
        socket.connect(address)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        self.socket = Some(socket);
        Ok(())
    }

    fn is_open(&mut self) -> bool {
        self.socket.is_some()
    }

    fn close(&mut self) {
        self.socket = None;
    }

    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        self.sent += 1;
        if self.sent == BURST {
            self.sent = 0;
            thread::sleep(PAUSE);
        }
        // The first error may be the answer to the datagram before: nobody listened then.
        let sent = socket.send(message).or_else(|_| socket.send(message))?;
        if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn tries_again(&self) -> bool {
        false
    }
}
