//! Packets of RADIUS accounting (RFC 2866 section 3): read, proved to know the secret, and answered.

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use crate::identity::refusal::Refusal;

/// Bytes of a packet, at most (RFC 2865 section 3).
pub const BYTES_MAX: usize = 4096;

/// Bytes of a packet without attributes.
const HEAD_BYTES: usize = 20;

/// Bytes of an answer, which has no attributes.
const ANSWER_BYTES: u8 = 20;

/// Where the Request Authenticator is.
const AUTHENTICATOR: std::ops::Range<usize> = 4..HEAD_BYTES;

const ACCOUNTING_REQUEST: u8 = 4;
const ACCOUNTING_RESPONSE: u8 = 5;

/// RFC 2869 section 5.14.
const MESSAGE_AUTHENTICATOR: u8 = 80;

/// A request that knows the secret.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    bytes: &'a [u8],
    attributes: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a packet and checks that its sender knows the secret.
    pub fn read(packet: &'a [u8], secret: &[u8]) -> Result<Self, Refusal> {
        let [code, _, high, low, ..] = *packet else { return Err(Refusal::RadiusMalformed) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // What is behind the length is padding (RFC 2865 section 3).
        let bytes = packet.get(..length).ok_or(Refusal::RadiusMalformed)?;
        let attributes = bytes.get(HEAD_BYTES..).ok_or(Refusal::RadiusMalformed)?;
        if packet.len() > BYTES_MAX || !is_whole(attributes) {
            return Err(Refusal::RadiusMalformed);
        }
        if code != ACCOUNTING_REQUEST {
            return Err(Refusal::RadiusCode);
        }
        let request = Self { bytes, attributes };
        let mut zeroed = bytes.to_vec();
        if let Some(authenticator) = zeroed.get_mut(AUTHENTICATOR) {
            authenticator.fill(0);
        }
        let expected = Md5::new().chain_update(&zeroed).chain_update(secret).finalize();
        if !bool::from(expected.as_slice().ct_eq(request.authenticator())) {
            return Err(Refusal::RadiusSecret);
        }
        request.check_message(zeroed, secret)?;
        Ok(request)
    }

    /// The first attribute of a type.
    pub fn attribute(&self, wanted: u8) -> Option<&'a [u8]> {
        self.attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    }

    /// Every attribute: type and value.
    pub fn attributes(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        attributes(self.attributes).map(|(_, kind, value)| (kind, value))
    }

    /// What tells a request from another one of its sender.
    pub fn mark(&self) -> (u8, [u8; 16]) {
        let identifier = self.bytes.get(1).copied().unwrap_or_default();
        (identifier, self.authenticator().try_into().unwrap_or_default())
    }

    /// The answer that says that it was taken note of (RFC 2866 section 4.2).
    pub fn answer(&self, secret: &[u8]) -> Vec<u8> {
        let (identifier, _) = self.mark();
        let head = [ACCOUNTING_RESPONSE, identifier, 0, ANSWER_BYTES];
        let hash = Md5::new()
            .chain_update(head)
            .chain_update(self.authenticator())
            .chain_update(secret)
            .finalize();
        [&head[..], &hash].concat()
    }

    fn authenticator(&self) -> &'a [u8] {
        self.bytes.get(AUTHENTICATOR).unwrap_or_default()
    }

    /// Checks a Message-Authenticator, where there is one: it is made with zeros in its own place and in the Request
    /// Authenticator's, which is made behind it.
    fn check_message(&self, mut zeroed: Vec<u8>, secret: &[u8]) -> Result<(), Refusal> {
        for (at, _, value) in
            attributes(self.attributes).filter(|(_, kind, _)| *kind == MESSAGE_AUTHENTICATOR)
        {
            let from = HEAD_BYTES + at;
            let place = zeroed.get_mut(from..from + value.len());
            place.ok_or(Refusal::RadiusMalformed)?.fill(0);
            let mut hash =
                <Hmac<Md5>>::new_from_slice(secret).map_err(|_length| Refusal::RadiusMessage)?;
            hash.update(&zeroed);
            hash.verify_slice(value).map_err(|_other| Refusal::RadiusMessage)?;
        }
        Ok(())
    }
}

/// Attributes with the place of their values (RFC 2865 section 5), as far as they are whole.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (usize, u8, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let [kind, length, ..] = *bytes.get(at..)? else { return None };
        let from = at + 2;
        let to = at + usize::from(length);
        let value = bytes.get(from..to)?;
        at = to;
        Some((from, kind, value))
    })
}

/// Whether attributes fill the packet to its end.
fn is_whole(bytes: &[u8]) -> bool {
    let end = attributes(bytes).last().map_or(0, |(from, _, value)| from + value.len());
    end == bytes.len()
}

/// Makes a request, as a client does.
#[cfg(test)]
pub(super) fn request(identifier: u8, attributes: &[(u8, &[u8])], secret: &[u8]) -> Vec<u8> {
    let mut packet = vec![ACCOUNTING_REQUEST, identifier, 0, 0];
    packet.extend([0; 16]);
    let mut message = None;
    for (kind, value) in attributes {
        packet.extend([*kind, value.len() as u8 + 2]);
        if *kind == MESSAGE_AUTHENTICATOR && value.len() == 16 {
            message = Some(packet.len());
        }
        packet.extend(*value);
    }
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    if let Some(at) = message {
        let mut hash = <Hmac<Md5>>::new_from_slice(secret).unwrap();
        hash.update(&packet);
        let made = hash.finalize().into_bytes();
        packet[at..at + 16].copy_from_slice(&made);
    }
    let hash = Md5::new().chain_update(&packet).chain_update(secret).finalize();
    packet[AUTHENTICATOR].copy_from_slice(&hash);
    packet
}
