//! Looking for the start of a hello in the middle of a segment: behind the line that asked for TLS.

use super::{CLIENT_HELLO, HANDSHAKE, VERSION_MAJOR};
use crate::cursor::Window;

/// Steps of a [`Scan`]: seven places each.
pub const SCAN_STEPS_MAX: u32 = crate::cursor::WINDOW as u32 / STRIDE + 2;

/// Places looked at in one step: those of a word whose next byte is in the word too.
const STRIDE: u32 = 7;

/// Offset of the message's type from the record's start.
const MESSAGE_AT: u32 = 5;

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Looks through a window, seven places at a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Scan {
    at: u32,
    /// 1 where the start of a hello was found, or what could be one at the window's end.
    found: u32,
}

impl Scan {
    /// Starts at this offset of a window.
    #[inline(always)]
    pub const fn begin(&mut self, at: u32) {
        self.at = at;
        self.found = 0;
    }

    /// Offset of the start, where there is one.
    #[inline(always)]
    pub const fn found(&self) -> Option<u32> {
        if self.found != 0 { Some(self.at) } else { None }
    }

    /// Looks at some places. `false`: found, or at the end.
    #[inline(always)]
    pub fn step(&mut self, window: &Window) -> bool {
        if self.at >= window.length {
            return false;
        }
        let word = window.word(self.at);
        // A byte that is the type, and a next one that is the version: zero in both.
        let [kind, version] = [HANDSHAKE, VERSION_MAJOR].map(|byte| ONES * u64::from(byte));
        let apart = (word ^ kind) | ((word >> 8) ^ version) | 0xff << 56;
        let hits = apart.wrapping_sub(ONES) & !apart & TOPS;
        let last = window.length - self.at;
        if hits == 0 {
            // The last byte of all has no next one here.
            if last <= STRIDE + 1 && (word >> (8 * (last - 1))) as u8 == HANDSHAKE {
                self.at += last - 1;
                self.found = 1;
                return false;
            }
            self.at += STRIDE;
            return true;
        }
        // The lowest hit is a true one; what borrowed from it lies above.
        let place = hits.trailing_zeros() / 8;
        if place >= last {
            return false;
        }
        self.at += place;
        let message = self.at + MESSAGE_AT;
        if message >= window.length || window.u8(message) == Ok(CLIENT_HELLO) {
            self.found = 1;
            return false;
        }
        self.at += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(bytes: &[u8]) -> Option<u32> {
        let window = Window::new(bytes);
        let mut scan = Scan::default();
        scan.begin(0);
        let mut steps = 0;
        while scan.step(&window) {
            steps += 1;
            assert!(steps <= bytes.len(), "each step moves on");
        }
        scan.found()
    }

    #[test]
    fn a_hello_is_found_wherever_it_starts() {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        for before in 0..40 {
            for byte in [b'A', 22, 3, 21, 23, 0] {
                let line = vec![byte; before];
                for cut in 1..=hello.len() {
                    let segment = [&line[..], &hello[..cut]].concat();
                    let found = scanned(&segment);
                    // Of bytes that look alike the first place that could be one counts.
                    let start = found.map(|at| &segment[at as usize..]);
                    assert!(start.is_some_and(|start| start[0] == 22), "{segment:?}");
                    if byte != 22 || cut > 5 {
                        assert_eq!(found, Some(before as u32), "{segment:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn lines_and_other_records_are_none() {
        for segment in [
            &b"EHLO mail.example\r\n"[..],
            b"",
            b"x",
            &[22, 3, 1, 0, 4, 14, 0, 0, 0],
            &[23, 3, 3, 0, 4, 1],
            &[22, 2, 1, 0, 4, 1],
        ] {
            assert_eq!(scanned(segment), None, "{segment:?}");
        }
    }
}
