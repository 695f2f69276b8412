//! The first look at a segment: is it worth reading, and as what?

/// What the first bytes of a segment could be the start of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Probe {
    /// Neither.
    Neither = 0,
    /// A TLS record that a server would take before or as a `ClientHello` (RFC 8446 section 5.1).
    Hello = 1,
    /// A request line (RFC 9112 section 3), perhaps behind empty lines: upper-case letters, hyphens, and ends
    /// of lines.
    Request = 2,
}

/// Bytes [`Probe::of`] looks at.
pub const PROBE_BYTES: usize = 3;

impl Probe {
    /// Classifies the first bytes of a segment; a shorter one is filled up with zeroes.
    #[inline(always)]
    pub const fn of(first: [u8; PROBE_BYTES], length: u32) -> Self {
        let [a, b, c] = first;
        if a >= 20 && a <= 22 && (length < 2 || b == 3) {
            return Self::Hello;
        }
        if length >= 1
            && is_start_byte(a)
            && (length < 2 || is_start_byte(b))
            && (length < 3 || is_start_byte(c))
        {
            return Self::Request;
        }
        Self::Neither
    }
}

/// A method, or what may come before it: servers pass over empty lines (RFC 9112 section 2.2).
#[inline(always)]
const fn is_start_byte(byte: u8) -> bool {
    is_method_byte(byte) || byte == b'\r' || byte == b'\n'
}

/// Registered methods are upper-case letters and hyphens (IANA HTTP Method Registry).
#[inline(always)]
pub(crate) const fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes() {
        let check = |bytes: &[u8], expected| {
            let mut first = [0; PROBE_BYTES];
            for (to, from) in first.iter_mut().zip(bytes) {
                *to = *from;
            }
            assert_eq!(Probe::of(first, bytes.len() as u32), expected, "{bytes:?}");
        };
        check(b"\x16\x03\x01\x02\x00\x01", Probe::Hello);
        check(b"\x16\x03\x05", Probe::Hello);
        check(b"\x16", Probe::Hello);
        check(b"\x16\x03", Probe::Hello);
        check(b"\x16\x02", Probe::Neither);
        check(b"\x15\x03\x01\x00\x02", Probe::Hello);
        check(b"\x14\x03\x03\x00\x01\x01", Probe::Hello);
        check(b"\x17\x03\x03\x02\x00\x01", Probe::Neither);
        check(b"GET / ", Probe::Request);
        check(b"M-SEAR", Probe::Request);
        check(b"HTTP/1", Probe::Request);
        check(b"GE", Probe::Request);
        check(b"\r", Probe::Request);
        check(b"", Probe::Neither);
        check(b"Ge", Probe::Neither);
        check(b"get / ", Probe::Neither);
        check(b"220 sm", Probe::Neither);
    }
}
