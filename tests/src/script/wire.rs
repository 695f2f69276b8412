//! The wire behind the client's interface: whole frames, for devices that no kernel stands behind.
//!
//! Devices have addresses in networks of their own. The gateway routes them to the client's machine, which
//! takes them for somebody else's packets and drops them; this socket sees them before that.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::lab::{Family, HOST_INTERFACE, LAN_INTERFACE, Lab};
use crate::namespace::Namespace;
use crate::signal::{self, Frames};

/// Frames that wait for a device; further ones are lost, as on any wire.
const INBOX_FRAMES: usize = 4_096;
/// The reader looks this often whether it is still wanted.
const READ_TURN: Duration = Duration::from_millis(100);
/// A full queue at the other end of the wire, which nobody can wait for, is tried again so often and so soon.
const SEND_TRIES: usize = 1_000;
const QUEUE_TURN: Duration = Duration::from_millis(1);
/// The longest frame with segments joined by the sender's kernel.
const FRAME_MAX: usize = 1 << 17;

type Inboxes = Mutex<HashMap<IpAddr, SyncSender<Vec<u8>>>>;

/// The client's interface as a wire; dropping it ends its reader.
#[derive(Debug)]
pub struct Wire {
    /// A packet socket: sending, receiving and the timeout are the same calls as for a connected UDP one.
    socket: UdpSocket,
    gateway: [u8; 6],
    inboxes: Arc<Inboxes>,
    /// Devices made so far; no number comes twice.
    devices: AtomicU16,
    wanted: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

/// A machine on the wire: an Ethernet address and one IP address of each family.
#[derive(Debug)]
pub struct Device<'a> {
    wire: &'a Wire,
    number: u16,
    inbox: Receiver<Vec<u8>>,
}

impl Wire {
    pub fn open(lab: &Lab) -> Result<Self> {
        for family in [Family::V4, Family::V6] {
            let (network, via) = (family.devices(), family.client().to_string());
            lab.gateway()
                .run("ip", &["route", "add", network, "via", &via, "dev", LAN_INTERFACE])?;
        }
        let gateway = link(lab.gateway(), LAN_INTERFACE)?;
        let gateway = gateway.pointer("/0/address").and_then(Value::as_str);
        let gateway = gateway.and_then(ethernet_address).context("the gateway's address")?;
        let interface = link(lab.client(), HOST_INTERFACE)?;
        let interface = interface.pointer("/0/ifindex").and_then(Value::as_i64);
        let interface = i32::try_from(interface.context("the client's interface")?)?;

        let open =
            || signal::packet_socket(interface, Frames::Both).context("open a packet socket");
        let socket = UdpSocket::from(lab.client().inside(open)?);
        socket.set_read_timeout(Some(READ_TURN)).context("set a timeout")?;
        let inboxes = Arc::<Inboxes>::default();
        let wanted = Arc::new(AtomicBool::new(true));
        let reader = {
            let socket = socket.try_clone().context("share the packet socket")?;
            let (inboxes, wanted) = (Arc::clone(&inboxes), Arc::clone(&wanted));
            thread::spawn(move || read(&socket, &inboxes, &wanted))
        };
        let devices = AtomicU16::new(0);
        Ok(Self { socket, gateway, inboxes, devices, wanted, reader: Some(reader) })
    }

    /// A device nobody has heard of. There are 65,000.
    pub fn device(&self) -> Device<'_> {
        let number = self.devices.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, inbox) = sync_channel(INBOX_FRAMES);
        let mut inboxes = lock(&self.inboxes);
        for family in [Family::V4, Family::V6] {
            inboxes.insert(address(number, family), sender.clone());
        }
        Device { wire: self, number, inbox }
    }

    /// Sends a frame of whomever to the gateway: whatever lies behind the receiver's address in it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let mut frame = frame.to_vec();
        frame[..6].copy_from_slice(&self.gateway);
        for _ in 0..SEND_TRIES {
            match self.socket.send(&frame) {
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    thread::sleep(QUEUE_TURN);
                }
                sent => return sent.context("send a frame").map(drop),
            }
        }
        bail!("the wire takes no frame")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

impl Device<'_> {
    pub fn address(&self, family: Family) -> IpAddr {
        address(self.number, family)
    }

    /// Sends a frame whose Ethernet addresses are written over.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let mut frame = frame.to_vec();
        let [high, low] = self.number.to_be_bytes();
        frame[6..12].copy_from_slice(&[0x02, 0x78, 0, 0, high, low]);
        self.wire.send(&frame)
    }

    /// The next frame for this device.
    pub fn receive(&self, limit: Duration) -> Option<Vec<u8>> {
        self.inbox.recv_timeout(limit).ok()
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        let mut inboxes = lock(&self.wire.inboxes);
        for family in [Family::V4, Family::V6] {
            inboxes.remove(&self.address(family));
        }
    }
}

fn read(socket: &UdpSocket, inboxes: &Inboxes, wanted: &AtomicBool) {
    let mut frame = vec![0; FRAME_MAX];
    while wanted.load(Ordering::Relaxed) {
        let length = match socket.recv(&mut frame) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let frame = &frame[..length];
        let Some(inbox) = destination(frame).and_then(|to| lock(inboxes).get(&to).cloned()) else {
            continue;
        };
        // A full inbox loses the frame.
        drop(inbox.try_send(frame.to_vec()));
    }
}

fn destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(30..34)?).ok()?)),
        [0x86, 0xdd] => Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(38..54)?).ok()?)),
        _ => None,
    }
}

fn address(number: u16, family: Family) -> IpAddr {
    match family {
        Family::V4 => {
            let [high, low] = number.to_be_bytes();
            [10, 78, high, low].into()
        }
        Family::V6 => [0xfd78, 0, 0, 0, 0, 0, 0, number].into(),
    }
}

fn lock(inboxes: &Inboxes) -> MutexGuard<'_, HashMap<IpAddr, SyncSender<Vec<u8>>>> {
    inboxes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn link(namespace: &Namespace, interface: &str) -> Result<Value> {
    let text = namespace.run("ip", &["-json", "link", "show", "dev", interface])?;
    serde_json::from_str(&text).context("read ip's JSON")
}

fn ethernet_address(text: &str) -> Option<[u8; 6]> {
    let parts: Option<Vec<_>> = text.split(':').map(|p| u8::from_str_radix(p, 16).ok()).collect();
    parts?.try_into().ok()
}
