//! Keys of flows: made of packets, and compared.

use crate::abi::{Address, FlowKey};
use crate::parse::Packet;

impl FlowKey {
    /// The flow of a packet whose sender is on the LAN side.
    #[inline(always)]
    pub const fn from_lan(packet: &Packet, zone: u16) -> Self {
        Self::new(
            packet.source,
            packet.source_port,
            packet.destination,
            packet.destination_port,
            zone,
            packet.protocol,
        )
    }

    /// The flow of a packet whose receiver is on the LAN side.
    #[inline(always)]
    pub const fn from_peer(packet: &Packet, zone: u16) -> Self {
        Self::new(
            packet.destination,
            packet.destination_port,
            packet.source,
            packet.source_port,
            zone,
            packet.protocol,
        )
    }

    /// Copies it from one map value to another. Word by word: of the whole the compiler makes a call that
    /// moves it byte by byte, because it cannot know that the two do not overlap.
    #[inline(always)]
    pub fn copy_to(&self, to: &mut Self) {
        const WORDS: usize = size_of::<FlowKey>() / 8;
        const _: () = assert!(size_of::<FlowKey>() == WORDS * 8 && align_of::<FlowKey>() == 8);
        let from = core::ptr::from_ref(self).cast::<u64>();
        let to = core::ptr::from_mut(to).cast::<u64>();
        for word in 0..WORDS {
            // SAFETY: both have so many words, all of them integers.
            unsafe { to.add(word).write(from.add(word).read_volatile()) };
        }
    }

    /// Whether it is the other one.
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        self.difference(other) == 0
    }

    /// 0 where it is the other one. Word by word: the compiler would have a call compare the bytes.
    #[inline(always)]
    pub fn difference(&self, other: &Self) -> u64 {
        differs(self.words(), other.words())
    }

    /// Whether it has the ends of the other one the other way round.
    #[inline(always)]
    pub fn is_reverse_of(&self, other: &Self) -> bool {
        let [lan_high, lan_low, peer_high, peer_low, rest] = other.words();
        // Ports are the lower half of the last word.
        let ports = (rest & 0xffff) << 16 | rest >> 16 & 0xffff;
        let reversed = [peer_high, peer_low, lan_high, lan_low, rest & !0xffff_ffff | ports];
        differs(self.words(), reversed) == 0
    }

    /// The key with the ends the other way round.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        let Self { lan_address, peer_address, lan_port, peer_port, zone, protocol, reserved } =
            *self;
        Self {
            lan_address: peer_address,
            peer_address: lan_address,
            lan_port: peer_port,
            peer_port: lan_port,
            zone,
            protocol,
            reserved,
        }
    }

    #[inline(always)]
    fn words(&self) -> [u64; 5] {
        let words = core::ptr::from_ref(self).cast::<u64>();
        // SAFETY: it has five words, aligned as one, all of them integers.
        let word = |at| unsafe { words.add(at).read() };
        [word(0), word(1), word(2), word(3), word(4)]
    }

    #[inline(always)]
    const fn new(
        lan_address: Address,
        lan_port: u16,
        peer_address: Address,
        peer_port: u16,
        zone: u16,
        protocol: u8,
    ) -> Self {
        Self { lan_address, peer_address, lan_port, peer_port, zone, protocol, reserved: 0 }
    }
}

/// 0 of equal words.
#[inline(always)]
const fn differs(one: [u64; 5], other: [u64; 5]) -> u64 {
    let [lan_high, lan_low, peer_high, peer_low, rest] = one;
    let [its_lan_high, its_lan_low, its_peer_high, its_peer_low, its_rest] = other;
    let lan = (lan_high ^ its_lan_high) | (lan_low ^ its_lan_low);
    let peer = (peer_high ^ its_peer_high) | (peer_low ^ its_peer_low);
    lan | peer | (rest ^ its_rest)
}
