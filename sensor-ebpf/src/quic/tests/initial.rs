//! Writing Initials, with the cipher that reads them: the samples of the standards prove that one.

use super::*;
use crate::quic::aes::Aes128;

pub(super) fn header_of(datagram: &[u8]) -> (LongHeader, Box<Window>) {
    let window = Box::new(Window::new(datagram));
    let mut packets = Datagram::default();
    packets.begin();
    assert_eq!(packets.step(&window), Ok(Packet::Initial));
    (packets.header, window)
}

/// The keys that a packet's own connection ID makes.
pub(super) fn own_keys(header: &LongHeader, window: &Window) -> Keys {
    let mut id = ConnectionId::default();
    id.take(header, window);
    keys_of(&id, header.version()).0
}

/// How an Initial is written.
#[derive(Clone)]
pub(super) struct Initial {
    pub(super) version: u32,
    pub(super) destination: Vec<u8>,
    pub(super) source: Vec<u8>,
    pub(super) token: Vec<u8>,
    pub(super) number: u64,
    pub(super) number_bytes: u32,
    /// Of another connection ID than the one in the packet.
    pub(super) keys: Option<Keys>,
}

impl Initial {
    pub(super) fn of(number: u64) -> Self {
        Self {
            version: 1,
            destination: bytes(CONNECTION_ID),
            source: vec![7; 5],
            token: Vec::new(),
            number,
            number_bytes: 2,
            keys: None,
        }
    }

    /// The packet with this payload; the tag is noise.
    pub(super) fn protect(&self, payload: &[u8]) -> Vec<u8> {
        let kind = u8::from(self.version == 0x6b33_43cf);
        let first = 0xc0 | kind << 4 | (self.number_bytes as u8 - 1);
        let mut packet = vec![first];
        packet.extend(self.version.to_be_bytes());
        for id in [&self.destination, &self.source] {
            packet.push(id.len() as u8);
            packet.extend(id);
        }
        packet.extend(varint(self.token.len() as u64, 2));
        packet.extend(&self.token);
        packet.extend(varint(u64::from(self.number_bytes) + payload.len() as u64 + 16, 2));
        let number_at = packet.len();
        packet.extend(&self.number.to_be_bytes()[8 - self.number_bytes as usize..]);
        let payload_at = packet.len();
        packet.extend(payload);
        packet.extend([0xa5; 16]);
        let keys = self.keys.unwrap_or_else(|| {
            let (header, window) = header_of(&packet);
            own_keys(&header, &window)
        });
        let mut aes = Aes128::new();
        aes.expand(keys.key);
        let [a, b, c] = keys.iv;
        let nonce = [a, b ^ (self.number >> 32) as u32, c ^ self.number as u32];
        let payload_end = packet.len() - 16;
        for (counter, block) in (2..).zip(packet[payload_at..payload_end].chunks_mut(16)) {
            let stream = aes.encrypt([nonce[0], nonce[1], nonce[2], counter]);
            for (to, from) in
                block.iter_mut().zip(stream.iter().flat_map(|word| word.to_be_bytes()))
            {
                *to ^= from;
            }
        }
        aes.expand(keys.hp);
        let sample = &packet[number_at + 4..number_at + 20];
        let word = |at: usize| u32::from_be_bytes(sample[at..at + 4].try_into().unwrap());
        let mask =
            aes.encrypt([word(0), word(4), word(8), word(12)]).map(u32::to_be_bytes).concat();
        packet[0] ^= mask[0] & 0x0f;
        for (to, from) in packet[number_at..payload_at].iter_mut().zip(&mask[1..]) {
            *to ^= from;
        }
        packet
    }
}

/// A variable-length integer of 1, 2, 4 or 8 bytes.
pub(super) fn varint(value: u64, length: usize) -> Vec<u8> {
    let marked = value | u64::from(length.trailing_zeros()) << (8 * length - 2);
    marked.to_be_bytes()[8 - length..].to_vec()
}
