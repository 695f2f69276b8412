//! The three namespaces and the wires between them.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::leftover::{self, DIRECTORY_PREFIX, Guard, Leftover};
use crate::namespace::Namespace;
use crate::{process, signal};

/// The gateway's interface towards the client: where the sensor attaches.
pub const LAN_INTERFACE: &str = "lan0";
/// The gateway's interface towards the server, where addresses are translated.
pub const WAN_INTERFACE: &str = "wan0";
/// The client's and the server's only interface.
pub const HOST_INTERFACE: &str = "eth0";

/// Tells the labs of one process apart.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Held by the lab that exists.
static TURN: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn client(self) -> IpAddr {
        self.pick([10, 77, 1, 2], [0xfd77, 1, 0, 0, 0, 0, 0, 2])
    }

    /// The gateway as the client sees it.
    pub fn gateway(self) -> IpAddr {
        self.pick([10, 77, 1, 1], [0xfd77, 1, 0, 0, 0, 0, 0, 1])
    }

    pub fn server(self) -> IpAddr {
        self.pick([10, 77, 2, 2], [0xfd77, 2, 0, 0, 0, 0, 0, 2])
    }

    /// The network of devices that only a script moves, behind the client.
    pub fn devices(self) -> &'static str {
        match self {
            Self::V4 => "10.78.0.0/16",
            Self::V6 => "fd78::/64",
        }
    }

    fn pick(self, v4: [u8; 4], v6: [u16; 8]) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => v6.into(),
        }
    }
}

/// What the lab's interfaces leave to imaginary hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// As on a machine with ordinary cards: super-frames behind the gateway, full checksums from the client.
    Usual,
    /// Every frame on every wire as long as on a real one, with its checksum: for exact comparisons.
    Off,
}

/// Whether the gateway rewrites addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// What leaves on the WAN side has the gateway's address.
    Masquerade,
    /// Every packet leaves as it came. The gateway's kernel then follows no connections either: it
    /// neither puts fragments together nor leaves out what it takes for invalid.
    None,
}

/// How to build a lab.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub offloads: Offloads,
    pub translation: Translation,
    pub mtu: u16,
}

impl Default for Plan {
    fn default() -> Self {
        Self { offloads: Offloads::Usual, translation: Translation::Masquerade, mtu: 1500 }
    }
}

/// The lab; dropping it removes it. A process has one at a time: a second waits for the first to go.
#[derive(Debug)]
pub struct Lab {
    client: Namespace,
    gateway: Namespace,
    server: Namespace,
    directory: PathBuf,
    _leftovers: Vec<Guard>,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    pub fn build() -> Result<Self> {
        Self::with(Plan::default())
    }

    pub fn with(plan: Plan) -> Result<Self> {
        if !is_root() {
            bail!("the lab makes network namespaces: run it as root");
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        signal::clean_up_on_interrupt();
        leftover::remove_stale();

        let mut leftovers = Vec::new();
        let directory = scratch_directory()?;
        leftovers.push(Guard::new(Leftover::Directory(directory.clone())));
        let mut namespace = |role: &str| {
            let name = format!("cs{}-{role}", std::process::id());
            leftovers.push(Guard::new(Leftover::Namespace(name.clone())));
            process::run(Command::new("ip").args(["netns", "add", &name]))?;
            Ok::<_, anyhow::Error>(Namespace::new(name))
        };
        let (client, gateway, server) = (namespace("cl")?, namespace("gw")?, namespace("sv")?);
        let lab = Self { client, gateway, server, directory, _leftovers: leftovers, _turn: turn };
        lab.set_kernel_up()?;
        lab.lay_wires(plan.mtu)?;
        if plan.translation == Translation::Masquerade {
            lab.translate_addresses()?;
        }
        lab.set_offloads(plan.offloads)?;
        for namespace in [&lab.client, &lab.gateway, &lab.server] {
            namespace.settle()?;
        }
        Ok(lab)
    }

    pub fn client(&self) -> &Namespace {
        &self.client
    }

    pub fn gateway(&self) -> &Namespace {
        &self.gateway
    }

    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// A directory of the lab's own; it goes with the lab.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Before any interface exists, so that each is born with these.
    fn set_kernel_up(&self) -> Result<()> {
        for namespace in [&self.client, &self.gateway, &self.server] {
            namespace.sysctl(&[
                "net.ipv4.conf.all.rp_filter=0",
                "net.ipv4.conf.default.rp_filter=0",
                // Addresses are usable at once, and only ours exist.
                "net.ipv6.conf.default.accept_dad=0",
                "net.ipv6.conf.default.accept_ra=0",
            ])?;
        }
        self.gateway.sysctl(&["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
    }

    fn lay_wires(&self, mtu: u16) -> Result<()> {
        let (client, server) = (self.client.name(), self.server.name());
        let (lan, wan, host) = (LAN_INTERFACE, WAN_INTERFACE, HOST_INTERFACE);
        let gateway = format!(
            "link set lo up\n\
             link add {lan} mtu {mtu} type veth peer name {host} mtu {mtu} netns {client}\n\
             link add {wan} mtu {mtu} type veth peer name {host} mtu {mtu} netns {server}\n\
             address add 10.77.1.1/24 dev {lan}\n\
             address add fd77:1::1/64 dev {lan} nodad\n\
             address add 10.77.2.1/24 dev {wan}\n\
             address add fd77:2::1/64 dev {wan} nodad\n\
             link set {lan} up\n\
             link set {wan} up\n"
        );
        self.gateway.ip(&gateway, &self.directory)?;
        for (namespace, network) in [(&self.client, 1), (&self.server, 2)] {
            let commands = format!(
                "link set lo up\n\
                 address add 10.77.{network}.2/24 dev {host}\n\
                 address add fd77:{network}::2/64 dev {host} nodad\n\
                 link set {host} up\n\
                 route add default via 10.77.{network}.1\n\
                 route add default via fd77:{network}::1\n"
            );
            namespace.ip(&commands, &self.directory)?;
        }
        Ok(())
    }

    fn translate_addresses(&self) -> Result<()> {
        let rules = format!(
            "add table inet nat\n\
             add chain inet nat postrouting {{ type nat hook postrouting priority srcnat; }}\n\
             add rule inet nat postrouting oifname {WAN_INTERFACE} masquerade\n"
        );
        self.gateway.run("nft", &[&rules]).map(drop)
    }

    /// Locally made frames carry half a checksum on a veth, which no real client's do: the client
    /// always fills them in. What XDP sends back out of `lan0` reaches the client only if its end
    /// polls, which it does with GRO on; that merges frames behind the wire and so stays on always.
    fn set_offloads(&self, offloads: Offloads) -> Result<()> {
        let set = |namespace: &Namespace, interface: &str, features: &str| {
            let args = ["-K", interface].into_iter().chain(features.split(' '));
            process::run(namespace.command("ethtool").args(args)).map(drop)
        };
        match offloads {
            Offloads::Usual => set(&self.client, HOST_INTERFACE, "tx off gro on"),
            Offloads::Off => {
                let all_off = "tx off gso off tso off gro off";
                set(&self.client, HOST_INTERFACE, "tx off gso off tso off gro on")?;
                set(&self.gateway, LAN_INTERFACE, all_off)?;
                set(&self.gateway, WAN_INTERFACE, all_off)?;
                set(&self.server, HOST_INTERFACE, all_off)
            }
        }
    }
}

/// Network namespaces, BPF programs and other machines' packets are root's.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn scratch_directory() -> Result<PathBuf> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let name = format!("{DIRECTORY_PREFIX}{}-{serial}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}
