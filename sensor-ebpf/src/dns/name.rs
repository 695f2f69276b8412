//! One name of a message, written out (RFC 1035 section 3.1).

use crate::abi::{NAME_BUFFER, NoName};
use crate::cursor::{Window, bound};
use crate::step::Step;

/// Pointers followed in one name: as many as any resolver does. A name of 127 labels needs fewer.
pub const HOPS_MAX: u32 = 255;

/// Steps over one name: a byte or a pointer each, and one for each label.
pub const NAME_STEPS_MAX: u32 = 255 + 128 + HOPS_MAX + 2;

/// Bytes of the longest name written out: one less for the first length, one for the root.
const TEXT_MAX: u32 = 253;

/// Where the reader is in a name.
///
/// A pointer is followed wherever in the message it leads, also forward: servers differ in what they
/// refuse, and what one of them reads must be read here. A dot inside a label is written as one between
/// two; no name of a site has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NameReader {
    at: u32,
    /// Bytes of the present label still to come.
    label: u32,
    hops: u32,
    /// Bytes written.
    pub length: u32,
}

impl NameReader {
    /// Starts at this offset of the message.
    #[inline(always)]
    pub const fn begin(&mut self, at: u32) {
        self.at = at;
        self.label = 0;
        self.hops = 0;
        self.length = 0;
    }

    /// Reads a byte of a label, the length of one, or a pointer. The root alone is written as a dot.
    #[inline(always)]
    pub fn step(&mut self, window: &Window, name: &mut [u8; NAME_BUFFER]) -> Step {
        let Ok(byte) = window.u8(self.at) else { return Step::Stop(NoName::DnsTruncated) };
        self.at += 1;
        if self.label != 0 {
            self.label -= 1;
            self.write(name, byte);
            return Step::More;
        }
        let length = u32::from(byte);
        if length == 0 {
            if self.length == 0 {
                self.write(name, b'.');
            }
            return Step::Found;
        }
        if length >= 0xc0 {
            let Ok(low) = window.u8(self.at) else { return Step::Stop(NoName::DnsTruncated) };
            self.at = (length & 0x3f) << 8 | u32::from(low);
            self.hops += 1;
            return if self.hops > HOPS_MAX {
                Step::Stop(NoName::DnsCompression)
            } else {
                Step::More
            };
        }
        let dot = u32::from(self.length != 0);
        if length >= 0x40 || self.length + dot + length > TEXT_MAX {
            return Step::Stop(NoName::DnsMalformed);
        }
        if dot != 0 {
            self.write(name, b'.');
        }
        self.label = length;
        Step::More
    }

    #[inline(always)]
    fn write(&mut self, name: &mut [u8; NAME_BUFFER], byte: u8) {
        let index = bound::<{ NAME_BUFFER as u32 - 1 }>(self.length) as usize;
        // SAFETY: the mask keeps the index below `NAME_BUFFER`, the length of the array.
        unsafe { *name.as_mut_ptr().add(index) = byte };
        self.length += 1;
    }
}
