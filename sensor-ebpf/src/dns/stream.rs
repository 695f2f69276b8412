//! The client's half of a connection to a resolver: messages behind their lengths (RFC 1035 section
//! 4.2.2, RFC 7766 section 8), in however many segments.

use crate::cursor::{WINDOW, Window};

/// Bytes of a message's length.
pub const PREFIX: u32 = 2;

/// First bytes of a connection that lead to a message longer than is kept: a TLS record or a request
/// starts with one of these, a query does not.
pub const FIRST_OTHER: u8 = (WINDOW >> 8) as u8;

/// What is kept of a connection: bytes that were not judged yet, or that the server has not acknowledged,
/// so that they could still be sent in another version.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Stream {
    /// The bytes.
    pub kept: Window,
    /// Sequence number of the first of them.
    pub base: u32,
    /// Offset of the first message that was not judged.
    pub judged: u32,
    /// Where the next byte of a segment lies in `kept`.
    at: u32,
    /// Where it lies in the segment.
    from: u32,
    /// 1 where a byte was sent in two versions.
    pub differs: u32,
    /// Always 0.
    pub reserved: u32,
}

/// A message that is wholly there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Offset of its first byte.
    pub at: u32,
    /// Its bytes.
    pub length: u32,
}

impl Stream {
    /// Starts before the byte with this sequence number.
    #[inline(always)]
    pub const fn begin(&mut self, base: u32) {
        self.kept.length = 0;
        self.base = base;
        self.judged = 0;
        self.differs = 0;
    }

    /// Starts over a segment that begins at `offset` of what is kept, and at its own byte `from`.
    #[inline(always)]
    pub const fn begin_segment(&mut self, offset: u32, from: u32) {
        self.at = offset;
        self.from = from;
        self.differs = 0;
    }

    /// Takes one byte of the segment: compares it, or keeps it. `false`: the segment is over.
    #[inline(always)]
    pub fn step(&mut self, segment: &Window) -> bool {
        let Ok(byte) = segment.u8(self.from) else { return false };
        if let Ok(known) = self.kept.u8(self.at) {
            if known != byte {
                self.differs = 1;
                return false;
            }
        } else {
            self.kept.put8(self.at, byte);
            self.kept.length = self.at + 1;
        }
        self.at += 1;
        self.from += 1;
        true
    }

    /// The next message, if all of it is there.
    #[inline(always)]
    pub fn next(&self) -> Option<Whole> {
        let length = self.kept.u16(self.judged).ok()?;
        let at = self.judged + PREFIX;
        (at + length <= self.kept.length).then_some(Whole { at, length })
    }

    /// True where the next message is longer than is kept.
    #[inline(always)]
    pub fn is_oversize(&self) -> bool {
        self.kept.u16(self.judged).is_ok_and(|length| length + PREFIX > WINDOW as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        let mut stream = Stream {
            kept: Window::new(&[]),
            base: 0,
            judged: 0,
            at: 0,
            from: 0,
            differs: 0,
            reserved: 0,
        };
        stream.begin(1000);
        stream
    }

    fn put(stream: &mut Stream, offset: u32, bytes: &[u8]) {
        let segment = Window::new(bytes);
        stream.begin_segment(offset, 0);
        while stream.step(&segment) {}
    }

    #[test]
    fn messages_end_where_their_length_says() {
        let bytes = [0, 3, b'a', b'b', b'c', 0, 1, b'd', 0];
        for cut in 0..bytes.len() {
            let mut stream = stream();
            put(&mut stream, 0, &bytes[..cut]);
            assert_eq!(stream.next().is_some(), cut >= 5, "{cut}");
            put(&mut stream, cut as u32, &bytes[cut..]);
            assert_eq!(stream.next(), Some(Whole { at: 2, length: 3 }));
            stream.judged = 5;
            assert_eq!(stream.next(), Some(Whole { at: 7, length: 1 }));
            stream.judged = 8;
            assert_eq!((stream.next(), stream.differs), (None, 0));
        }
    }

    #[test]
    fn a_byte_has_one_version() {
        let mut stream = stream();
        put(&mut stream, 0, &[0, 3, 1]);
        put(&mut stream, 1, &[3, 1, 2, 3]);
        assert_eq!((stream.differs, stream.kept.length), (0, 5));
        put(&mut stream, 2, &[1, 9]);
        assert_eq!(stream.differs, 1);
    }

    #[test]
    fn what_is_no_query_is_told_by_its_first_byte() {
        for first in [22, 20, b'G', b'P', b'-'] {
            assert!(first >= FIRST_OTHER);
        }
        let mut stream = stream();
        put(&mut stream, 0, &[FIRST_OTHER, 0]);
        assert!(stream.is_oversize());
    }
}
