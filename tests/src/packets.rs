//! Whole frames in and out of an interface, by `packet(7)`: what a test sends and sees with nobody's network stack between.

use std::net::UdpSocket;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::signal;

/// Bytes that may wait at a socket: some hundred thousand frames, as each takes a kilobyte of bookkeeping. The kernel doubles
/// it.
const BUFFER: i32 = 256 << 20;

/// A socket of one interface. It stays in its namespace, whoever uses it.
#[derive(Debug)]
pub struct Packets(UdpSocket);

impl Packets {
    /// Sends frames, and receives none.
    pub fn sender(namespace: &Namespace, interface: &str) -> Result<Self> {
        Self::open(namespace, interface, signal::Frames::None)
    }

    /// Receives every frame that comes in, none that goes out.
    pub fn receiver(namespace: &Namespace, interface: &str) -> Result<Self> {
        let packets = Self::open(namespace, interface, signal::Frames::Incoming)?;
        signal::set_receive_buffer(packets.0.as_fd(), BUFFER).context("ask for a large buffer")?;
        Ok(packets)
    }

    fn open(namespace: &Namespace, interface: &str, frames: signal::Frames) -> Result<Self> {
        let text = namespace.run("ip", &["-json", "link", "show", "dev", interface])?;
        let value: Value = serde_json::from_str(&text).context("read ip's JSON")?;
        let index = value.pointer("/0/ifindex").and_then(Value::as_i64);
        let index = i32::try_from(index.context("an interface's index")?)?;
        let open = || signal::packet_socket(index, frames).context("open a packet socket");
        Ok(Self(UdpSocket::from(namespace.inside(open)?)))
    }

    /// The socket, of which `recv` gives a frame, without its outer VLAN tag, and `send` takes one.
    pub const fn socket(&self) -> &UdpSocket {
        &self.0
    }

    /// Frames that found no room at the socket since this was asked last.
    pub fn dropped(&self) -> Result<u32> {
        signal::dropped(self.0.as_fd()).context("ask a socket what it dropped")
    }
}
