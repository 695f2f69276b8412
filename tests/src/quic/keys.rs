//! Protection of Initials (RFC 9001 section 5, RFC 9369 section 3.3), by a library of its own: nothing of the
//! sensor's is asked for it.

use ring::{aead, hkdf};

use super::Version;

/// Bytes of the tag behind a payload.
pub const TAG_BYTES: usize = 16;

const SAMPLE_BYTES: usize = 16;
/// The sample lies as if the packet number had four bytes.
const SAMPLE_AT: usize = 4;
/// Bits of a long header's first byte that are protected.
const PROTECTED_BITS: u8 = 0x0f;
const NUMBER_LENGTH_BITS: u8 = 0x03;

/// What protects a client's Initials.
pub struct Keys {
    packet: aead::LessSafeKey,
    iv: [u8; aead::NONCE_LEN],
    header: aead::quic::HeaderProtectionKey,
}

/// So many bytes of output.
struct Output(usize);

impl hkdf::KeyType for Output {
    fn len(&self) -> usize {
        self.0
    }
}

impl Keys {
    /// Those that a client's connection ID makes.
    pub fn of_client(version: Version, id: &[u8]) -> Self {
        let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &version.salt()).extract(id);
        let label = label("client in", 32);
        let info = [label.as_slice()];
        let secret = initial.expand(&info, hkdf::HKDF_SHA256).expect("a length that HKDF has");
        let secret = hkdf::Prk::from(secret);
        let mut key = [0; 16];
        let mut iv = [0; aead::NONCE_LEN];
        let mut hp = [0; 16];
        expand(&secret, &version.label("key"), &mut key);
        expand(&secret, &version.label("iv"), &mut iv);
        expand(&secret, &version.label("hp"), &mut hp);
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &key).expect("a key of 16 bytes");
        let header = aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &hp);
        Self { packet: aead::LessSafeKey::new(key), iv, header: header.expect("a key of 16 bytes") }
    }

    /// Protects a packet whose number of so many bytes lies at `number_at`: appends the tag, then masks.
    pub fn seal(&self, packet: &mut Vec<u8>, number_at: usize, number: u32, number_bytes: usize) {
        let mut payload = packet.split_off(number_at + number_bytes);
        let header = aead::Aad::from(packet.as_slice());
        let tag = self.packet.seal_in_place_separate_tag(self.nonce(number), header, &mut payload);
        packet.append(&mut payload);
        packet.extend(tag.expect("a packet is no longer than GCM takes").as_ref());
        let mask = self.mask(packet, number_at);
        packet[0] ^= mask[0] & PROTECTED_BITS;
        for (byte, mask) in packet[number_at..].iter_mut().zip(&mask[1..=number_bytes]) {
            *byte ^= mask;
        }
    }

    /// Opens a packet in place, where it lies in `packet` alone: its payload, if the tag is right.
    pub fn open<'a>(&self, packet: &'a mut [u8], number_at: usize) -> Option<&'a mut [u8]> {
        let mask = self.mask(packet, number_at);
        packet[0] ^= mask[0] & PROTECTED_BITS;
        let number_bytes = usize::from(packet[0] & NUMBER_LENGTH_BITS) + 1;
        let mut number = 0;
        for (byte, mask) in packet[number_at..].iter_mut().zip(&mask[1..=number_bytes]) {
            *byte ^= mask;
            number = number << 8 | u32::from(*byte);
        }
        let (header, payload) = packet.split_at_mut(number_at + number_bytes);
        self.packet.open_in_place(self.nonce(number), aead::Aad::from(&*header), payload).ok()
    }

    fn mask(&self, packet: &[u8], number_at: usize) -> [u8; 5] {
        let sample = &packet[number_at + SAMPLE_AT..][..SAMPLE_BYTES];
        self.header.new_mask(sample).expect("a sample of 16 bytes")
    }

    fn nonce(&self, number: u32) -> aead::Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

/// HKDF-Expand-Label (RFC 8446 section 7.1), without a context.
fn expand(secret: &hkdf::Prk, name: &str, output: &mut [u8]) {
    let label = label(name, output.len());
    let info = [label.as_slice()];
    let expanded = secret.expand(&info, Output(output.len()));
    expanded.and_then(|expanded| expanded.fill(output)).expect("a length that HKDF has");
}

fn label(name: &str, bytes: usize) -> Vec<u8> {
    let name = format!("tls13 {name}");
    [&(bytes as u16).to_be_bytes()[..], &[name.len() as u8], name.as_bytes(), &[0]].concat()
}
