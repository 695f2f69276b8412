//! Where a CRYPTO frame belongs in the stream of a hello (RFC 9000 section 19.6).
//!
//! The stream is kept in a [`Slot`] as one of TCP is, offset 0 being that of the frames: pieces come in any
//! order, over several packets, and again. A piece is compared with what the slot has of it
//! ([`Piece::comparison`]), then kept where [`Piece::place`] says, as bytes that came ahead of others. What is in
//! order by then is read when all pieces of a packet are kept: reading needs the window that they lie in.

use crate::slot::{Comparison, SLOT_BYTES, Slot};

/// Data of a CRYPTO frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Piece {
    /// Offset of the data in the window.
    pub at: u32,
    /// Offset in the stream, at most 64 KiB.
    pub offset: u32,
    /// Bytes, which may be 0.
    pub length: u32,
}

/// What is to be done with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It says nothing new.
    Known,
    /// It is kept, from so many bytes of it on: those before them were read.
    Keep(u32),
    /// There is no room to keep it in.
    TooFar,
    /// It has bytes that were read, but are kept no more to be compared. As with TCP, the packet is to be left out.
    TooOld,
}

impl Piece {
    /// Offset in the stream behind the last byte.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        self.offset + self.length
    }

    /// Compares the piece with what is kept of the same bytes.
    #[inline(always)]
    pub const fn comparison(&self, slot: &Slot) -> Comparison {
        let oldest = slot.oldest();
        let from = if self.offset > oldest { self.offset } else { oldest };
        let kept_to = if slot.ahead > slot.next { slot.ahead } else { slot.next };
        let to = if self.end() < kept_to { self.end() } else { kept_to };
        let window_at = self.at + (from - self.offset);
        Comparison { at: from, to, window_at, differs: 0 }
    }

    /// Where it belongs.
    #[inline(always)]
    pub const fn place(&self, slot: &Slot) -> Place {
        if self.offset < slot.oldest() && self.length != 0 {
            Place::TooOld
        } else if self.end() <= slot.next || slot.done != 0 {
            Place::Known
        } else if self.end() <= slot.next + SLOT_BYTES as u32 {
            Place::Keep(slot.next.saturating_sub(self.offset))
        } else {
            Place::TooFar
        }
    }
}
