//! Opening an Initial in user space, by a library with the machine's instructions for AES and SHA-256 (RFC 9001
//! section 5). Labels are made when this is compiled, as in the kernel.

use anyhow::{Result, anyhow, ensure};
use ring::{aead, hkdf};

use crate::payloads::CONNECTION_ID;

/// A client's Initial of version 1.
pub(crate) struct Sealed {
    packet: Vec<u8>,
}

/// Offset of the packet number: behind the first byte, the version, an ID of eight bytes and one of none, no token,
/// and a length of two bytes.
const NUMBER_AT: usize = 1 + 4 + 1 + CONNECTION_ID.len() + 1 + 1 + 2;
const SAMPLE_AT: usize = NUMBER_AT + 4;

/// Type of a frame with a piece of the hello.
const CRYPTO: u8 = 6;

/// Bytes of the longest datagram.
const ROOM: usize = 1500;

const SALT: [u8; 20] =
    *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a";

// HKDF-Expand-Label (RFC 8446 section 7.1) without a context.
const CLIENT: &[u8] = b"\x00\x20\x0ftls13 client in\x00";
const KEY: &[u8] = b"\x00\x10\x0etls13 quic key\x00";
const IV: &[u8] = b"\x00\x0c\x0dtls13 quic iv\x00";
const HP: &[u8] = b"\x00\x10\x0dtls13 quic hp\x00";

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Sealed {
    pub(crate) const fn new(packet: Vec<u8>) -> Self {
        Self { packet }
    }

    /// Makes the keys, takes the protection off a copy, and checks the tag.
    pub(crate) fn open(&self) -> Result<()> {
        let mut room = [0; ROOM];
        let packet = room.get_mut(..self.packet.len());
        let packet = packet.ok_or_else(|| anyhow!("the Initial is too long"))?;
        packet.copy_from_slice(&self.packet);
        let first = open(packet).ok_or_else(|| anyhow!("the Initial does not open"))?;
        ensure!(first == CRYPTO, "the payload starts with {first}");
        Ok(())
    }
}

/// The first byte of the payload.
fn open(packet: &mut [u8]) -> Option<u8> {
    let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &SALT).extract(&CONNECTION_ID);
    let secret: hkdf::Prk = initial.expand(&[CLIENT], hkdf::HKDF_SHA256).ok()?.into();
    let (mut key, mut iv, mut hp) = ([0; 16], [0; aead::NONCE_LEN], [0; 16]);
    secret.expand(&[KEY], Length(key.len())).ok()?.fill(&mut key).ok()?;
    secret.expand(&[IV], Length(iv.len())).ok()?.fill(&mut iv).ok()?;
    secret.expand(&[HP], Length(hp.len())).ok()?.fill(&mut hp).ok()?;
    let header = aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &hp).ok()?;
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).ok()?);

    let [mask, masks @ ..] = header.new_mask(packet.get(SAMPLE_AT..SAMPLE_AT + 16)?).ok()?;
    let first = packet.first_mut()?;
    *first ^= mask & 0x0f;
    let number_bytes = usize::from(*first & 3) + 1;
    let mut number = 0;
    for (byte, mask) in packet.iter_mut().skip(NUMBER_AT).take(number_bytes).zip(masks) {
        *byte ^= mask;
        number = number << 8 | u32::from(*byte);
    }
    for (byte, number) in iv.iter_mut().skip(8).zip(number.to_be_bytes()) {
        *byte ^= number;
    }
    let (header, payload) = packet.split_at_mut(NUMBER_AT + number_bytes);
    let nonce = aead::Nonce::assume_unique_for_key(iv);
    let payload = key.open_in_place(nonce, aead::Aad::from(&*header), payload).ok()?;
    payload.first().copied()
}

#[cfg(test)]
mod tests {
    use super::Sealed;
    use crate::payloads;

    #[test]
    fn the_initial_of_the_bench_is_opened() {
        Sealed::new(payloads::initial("media.images.example.com")).open().unwrap();
        let [first, _] = payloads::initials_of_two("media.images.example.com");
        Sealed::new(first.clone()).open().unwrap();
        let mut changed = first;
        changed[600] ^= 1;
        assert!(Sealed::new(changed).open().is_err());
    }
}
