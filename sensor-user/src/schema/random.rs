//! Records as odd as records can be, the same every time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::member::Mac;
use crate::record::sample::record;
use crate::record::{EndReason, Initiator, Named, Record, name_of_bytes};

/// Bytes that mean something to one format or another.
const ODD: &[u8] = b"\"\\]['=;,|<>{}%\n\r\t\0 \x7f\xff:@";

/// A generator of numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn named<T: Named>(&mut self) -> T {
        self.one_of(T::all())
    }

    /// Small as a rule, and up to the largest.
    fn count(&mut self) -> u64 {
        let bits = self.below(64);
        self.next() >> bits
    }

    /// A name as records keep it, of up to 255 bytes of any value.
    pub(crate) fn name(&mut self) -> String {
        let length = self.one_of(&[0, 1, 20, 63, 254, 255]);
        let bytes: Vec<u8> = (0..length)
            .map(|_| match self.below(4) {
                0 => self.one_of(ODD),
                1 => self.next() as u8,
                _ => b"abcdefghijklmnopqrstuvwxyz0123456789-."[self.below(38)],
            })
            .collect();
        name_of_bytes(&bytes)
    }

    fn address(&mut self, is_ipv4: bool) -> IpAddr {
        if is_ipv4 {
            Ipv4Addr::from(self.next() as u32).into()
        } else {
            Ipv6Addr::from(u128::from(self.next()) << 64 | u128::from(self.next())).into()
        }
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) != 0).then(|| value(self))
    }

    pub(crate) fn record(&mut self) -> Record {
        let is_ipv4 = self.below(2) == 0;
        let sequence = self.next();
        Record {
            flow_id: self.next(),
            start_us: (self.next() >> 12).cast_signed(),
            end_us: (self.next() >> 12).cast_signed(),
            device: self.address(is_ipv4),
            device_port: self.next() as u16,
            mac: self.maybe(|random| Mac([2, 0, 0, 0, 0, random.next() as u8])),
            mac_randomised: self.maybe(|random| random.below(2) == 0),
            host_name: self.maybe(|random| format!("pc-\"{}\"", random.below(99))),
            user: self.maybe(|random| format!("a.\"{}\"]\\", random.below(9))),
            identity_source: self.maybe(Self::named),
            identity_confidence: self.maybe(Self::named),
            peer: self.address(is_ipv4),
            peer_port: self.next() as u16,
            protocol: self.one_of(&[1, 6, 17, 58, 132, 0, 255]),
            zone: self.next() as u16,
            packets_to_peer: self.count(),
            bytes_to_peer: self.count(),
            packets_to_lan: self.count(),
            bytes_to_lan: self.count(),
            name: self.maybe(Self::name),
            name_source: self.named(),
            no_name: self.named(),
            verdict: self.named(),
            categories: (0..self.below(4)).map(|index| format!("category-{index}")).collect(),
            list: self.maybe(|_| "ut1".to_owned()),
            policy: self.maybe(|random| format!("2026-\"{}\"]\\", random.below(9))),
            group: self.maybe(|_| "students".to_owned()),
            tls_version: self.maybe(|random| random.one_of(&["TLS 1.3", "0x7f1c"]).to_owned()),
            alpn: (0..self.below(4)).map(|_| name_of_bytes(&[self.one_of(ODD), b'h'])).collect(),
            ech: self.maybe(|random| random.below(2) == 0),
            ja4: self.maybe(|_| "t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned()),
            application: self.maybe(|random| random.one_of(&["dot", "doq"]).to_owned()),
            quic_version: self.maybe(|random| random.one_of(&["1", "2", "draft-29"]).to_owned()),
            quic_datagrams: self.maybe(|random| random.below(255) as u8 + 1),
            end_reason: self.named::<EndReason>(),
            initiator: self.named::<Initiator>(),
            ..record(sequence)
        }
    }
}
