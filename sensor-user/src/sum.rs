//! A sum that tells whether a file is what was written: for what disks do to it, not for who means harm.

/// Words that are added at once: what a CPU reads at once.
pub(crate) const WORDS: usize = 8;

/// A sum over lines of words. Each word of a line goes into a lane of its own, by steps that can be undone: one changed word
/// always shows, and any other change but for one in 2^64.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    lanes: [u64; WORDS],
}

impl Sum {
    /// An odd number without a pattern, which is multiplied by.
    const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

    /// Adds a line.
    pub(crate) fn add(&mut self, line: &[u64; WORDS]) {
        for (lane, word) in self.lanes.iter_mut().zip(line) {
            let mixed = (*lane ^ word).wrapping_mul(Self::FACTOR);
            *lane = mixed ^ mixed >> 32;
        }
    }

    /// The sum of all lines.
    pub(crate) fn total(self) -> u64 {
        self.lanes.into_iter().fold(0, |sum: u64, lane| {
            let mixed = (sum ^ lane).wrapping_mul(Self::FACTOR);
            mixed ^ mixed >> 32
        })
    }
}
