//! A ring whose samples stay where they are until what was made of them is safe.
//!
//! aya's reader gives a sample's room back as soon as it was read. Some samples are all that is left of a flow: a reader that
//! dies before the store has their record must find them again. So this one goes ahead of the position that the kernel
//! knows, and its [`Keeper`] says how far that may follow.
//!
//! The layout is that of `kernel/bpf/ringbuf.c`: a page with the reader's position, a page with the writer's, and the data,
//! which is mapped twice so that no sample is cut. A sample is a word with its length and two flags, and its bytes.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;

use super::syscall::Mapping;

/// Bytes of a word, and of the header before each sample.
const WORD: u64 = 8;

/// `BPF_RINGBUF_BUSY_BIT`: the writer is not done yet.
const BUSY: u64 = 1 << 31;

/// `BPF_RINGBUF_DISCARD_BIT`: the writer thought better of it.
const DISCARDED: u64 = 1 << 30;

/// The length below the flags.
const LENGTH: u64 = DISCARDED - 1;

/// Bytes of a page where the machine does not say.
const PAGE: usize = 4096;

/// A sample, and the part of the ring it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What the program sent.
    pub bytes: Bytes,
    /// Where it lies.
    pub place: Place,
}

/// Where a sample lies: positions count all bytes that ever went through the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The first byte of its header.
    pub from: u64,
    /// The byte behind it.
    pub to: u64,
}

/// How often a writer is waited for that is not done. It is a program on another CPU, at its last instructions.
const TURNS: u32 = 1000;

/// Reads a ring.
pub(super) struct Ring {
    reader: Arc<Mapping>,
    /// The writer's page, and the data behind it.
    written: Mapping,
    /// Words of a page.
    page: usize,
    /// What of a position tells where in the data it is.
    mask: u64,
    /// The next sample.
    next: u64,
}

/// Gives the room of samples back.
#[derive(Clone)]
pub struct Keeper(Arc<Mapping>);

impl Keeper {
    /// Every sample before this position may go.
    pub fn release(&self, position: u64) {
        if let [read, ..] = self.0.words() {
            read.store(position, Ordering::Release);
        }
    }
}

impl Ring {
    /// Opens a ring of so many bytes, at the first sample that its last reader did not give back.
    pub(super) fn open(ring: impl AsFd, bytes: u32) -> std::io::Result<Self> {
        // SAFETY: asks for a constant of the machine.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(PAGE);
        let reader = Mapping::part(&ring, 0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let behind = libc::off_t::try_from(page).map_err(std::io::Error::other)?;
        let written = Mapping::part(&ring, behind, page + 2 * bytes as usize, libc::PROT_READ)?;
        let (reader, mask) = (Arc::new(reader), u64::from(bytes) - 1);
        let mut ring = Self { reader, written, page: page / WORD as usize, mask, next: 0 };
        ring.read_again();
        Ok(ring)
    }

    /// Begins again at the first sample that was not given back.
    pub(super) fn read_again(&mut self) {
        self.next = self.reader.words().first().map_or(0, |read| read.load(Ordering::Acquire));
    }

    /// Who gives samples back.
    pub(super) fn keeper(&self) -> Keeper {
        Keeper(Arc::clone(&self.reader))
    }

    /// The next sample, if there is one; it stays in the ring. Once there is none, each sample was given that was sent before
    /// this was asked.
    pub(super) fn next(&mut self) -> Option<Sample> {
        let words = self.written.words();
        let end = words.first()?.load(Ordering::Acquire);
        while self.next != end {
            let from = self.next;
            let at = self.page + ((from & self.mask) / WORD) as usize;
            let header = written(words.get(at)?)?;
            let length = header & LENGTH;
            self.next = from + WORD + length.next_multiple_of(WORD);
            if header & DISCARDED != 0 {
                continue;
            }
            let data = words.get(at + 1..)?.iter();
            let bytes = data.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
            let bytes = bytes.take(length as usize).collect();
            return Some(Sample { bytes, place: Place { from, to: self.next } });
        }
        None
    }
}

/// A sample's header, once its writer is done.
fn written(header: &AtomicU64) -> Option<u64> {
    // Whoever sees that it is done sees what was written before. The word's upper half says in which page it is.
    let read = || Some(header.load(Ordering::Acquire)).filter(|header| header & BUSY == 0);
    for _ in 0..TURNS {
        if let Some(header) = read() {
            return Some(header);
        }
        thread::yield_now();
    }
    read()
}
