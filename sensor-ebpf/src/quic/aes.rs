//! AES-128 (FIPS 197), encryption of single blocks only: header protection needs no more, and counter mode
//! decrypts with it too.
//!
//! By tables, which look-ups by secret bytes would make readable for who shares the cache. No byte here
//! is secret: keys of Initials follow from what is in the packet.

/// Words of a block and of a key.
pub(super) const WORDS: usize = 4;
/// Nr, rounds with a key of 128 bits (section 5).
const ROUNDS: usize = 10;

/// `SubBytes` (section 5.1.1).
static S_BOX: [u8; 256] = s_box();
/// What a byte comes to in `SubBytes` and `MixColumns` (section 5.1.3), for each of the rows it may lie in.
static COLUMNS: [[u32; WORDS]; 256] = columns();

/// The key schedule (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Aes128 {
    round_keys: [[u32; WORDS]; ROUNDS + 1],
}

impl Aes128 {
    pub(super) const fn new() -> Self {
        Self { round_keys: [[0; WORDS]; ROUNDS + 1] }
    }

    /// Expands a key, big-endian words.
    #[inline(always)]
    pub(super) fn expand(&mut self, key: [u32; WORDS]) {
        let [mut a, mut b, mut c, mut d] = key;
        let mut constant = 1_u32;
        for (round, to) in self.round_keys.iter_mut().enumerate() {
            if round != 0 {
                a ^= substitute(d.rotate_left(8)) ^ (constant << 24);
                b ^= a;
                c ^= b;
                d ^= c;
                constant = u32::from(double(constant as u8));
            }
            *to = [a, b, c, d];
        }
    }

    /// Encrypts a block, big-endian words (section 5.1).
    #[inline(always)]
    pub(super) fn encrypt(&self, block: [u32; WORDS]) -> [u32; WORDS] {
        let [first, middle @ .., last] = &self.round_keys;
        let [mut a, mut b, mut c, mut d] = add(block, first);
        for key in middle {
            [a, b, c, d] = add(
                [mixed(a, b, c, d), mixed(b, c, d, a), mixed(c, d, a, b), mixed(d, a, b, c)],
                key,
            );
        }
        let shifted = |a: u32, b: u32, c: u32, d: u32| {
            substitute(a & 0xff00_0000 | b & 0x00ff_0000 | c & 0x0000_ff00 | d & 0x0000_00ff)
        };
        add(
            [shifted(a, b, c, d), shifted(b, c, d, a), shifted(c, d, a, b), shifted(d, a, b, c)],
            last,
        )
    }
}

/// `AddRoundKey` (section 5.1.4).
#[inline(always)]
const fn add(block: [u32; WORDS], key: &[u32; WORDS]) -> [u32; WORDS] {
    let [a, b, c, d] = block;
    let [key_a, key_b, key_c, key_d] = *key;
    [a ^ key_a, b ^ key_b, c ^ key_c, d ^ key_d]
}

/// A column after a round, from the columns that its bytes come from by `ShiftRows` (section 5.1.2).
#[inline(always)]
fn mixed(a: u32, b: u32, c: u32, d: u32) -> u32 {
    let [first, ..] = column(a >> 20);
    let [_, second, ..] = column(b >> 12);
    let [.., third, _] = column(c >> 4);
    let [.., fourth] = column(d << 4);
    first ^ second ^ third ^ fourth
}

/// The entry of a byte that stands four bits above the lowest one: there it is the offset of the entry, and saves
/// an instruction of seven, a hundred thousand times a packet's blocks.
#[inline(always)]
fn column(word: u32) -> &'static [u32; WORDS] {
    const OFFSET_MASK: u32 = 0xff << 4;
    const { assert!(size_of::<[u32; WORDS]>() == 1 << 4) };
    let offset = (word & OFFSET_MASK) as usize;
    // SAFETY: the offset is a multiple of the size of an entry, and the array has 256 of them.
    unsafe { &*COLUMNS.as_ptr().byte_add(offset) }
}

/// `SubWord` (section 5.2).
#[inline(always)]
fn substitute(word: u32) -> u32 {
    u32::from(s(word >> 24)) << 24
        | u32::from(s(word >> 16)) << 16
        | u32::from(s(word >> 8)) << 8
        | u32::from(s(word))
}

/// `SubBytes` of the lowest byte.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the table has an entry for every byte")]
fn s(word: u32) -> u8 {
    S_BOX[(word & 0xff) as usize]
}

/// `xTimes` (section 4.2).
const fn double(byte: u8) -> u8 {
    (byte << 1) ^ (0x1b * (byte >> 7))
}

#[expect(clippy::indexing_slicing, reason = "by bytes, when this is compiled")]
const fn s_box() -> [u8; 256] {
    // The powers of 3 are all bytes but 0, and those of its inverse run the other way.
    let mut table = [0; 256];
    let (mut power, mut inverse) = (1_u8, 1_u8);
    let mut left = 255;
    while left != 0 {
        power ^= double(power);
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        inverse ^= 0x09 * (inverse >> 7);
        table[power as usize] = affine(inverse);
        left -= 1;
    }
    table[0] = affine(0);
    table
}

/// The second half of `SubBytes`.
const fn affine(byte: u8) -> u8 {
    byte ^ byte.rotate_left(1)
        ^ byte.rotate_left(2)
        ^ byte.rotate_left(3)
        ^ byte.rotate_left(4)
        ^ 0x63
}

#[expect(clippy::indexing_slicing, reason = "by bytes, when this is compiled")]
const fn columns() -> [[u32; WORDS]; 256] {
    let mut columns = [[0; WORDS]; 256];
    let substituted = s_box();
    let mut byte = 0;
    while byte < 256 {
        let once = substituted[byte];
        let twice = double(once);
        let column = u32::from_be_bytes([twice, once, once, twice ^ once]);
        let mut row = 0;
        while row < WORDS {
            columns[byte][row] = column.rotate_right(8 * row as u32);
            row += 1;
        }
        byte += 1;
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_of_the_standard() {
        assert_eq!(S_BOX[..4], [0x63, 0x7c, 0x77, 0x7b]);
        assert_eq!(S_BOX[0x53], 0xed);
        assert_eq!(S_BOX[0xff], 0x16);
        let mut seen = [false; 256];
        for byte in S_BOX {
            seen[usize::from(byte)] = true;
        }
        assert_eq!(seen, [true; 256]);
    }

    #[test]
    fn examples_of_the_standard() {
        let mut aes = Aes128::new();
        // Appendix A.1.
        aes.expand([0x2b7e_1516, 0x28ae_d2a6, 0xabf7_1588, 0x09cf_4f3c]);
        assert_eq!(aes.round_keys[1], [0xa0fa_fe17, 0x8854_2cb1, 0x23a3_3939, 0x2a6c_7605]);
        assert_eq!(aes.round_keys[10], [0xd014_f9a8, 0xc9ee_2589, 0xe13f_0cc8, 0xb663_0ca6]);
        // Appendix B.
        let block = aes.encrypt([0x3243_f6a8, 0x885a_308d, 0x3131_98a2, 0xe037_0734]);
        assert_eq!(block, [0x3925_841d, 0x02dc_09fb, 0xdc11_8597, 0x196a_0b32]);
        // Appendix C.1.
        aes.expand([0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f]);
        let block = aes.encrypt([0x0011_2233, 0x4455_6677, 0x8899_aabb, 0xccdd_eeff]);
        assert_eq!(block, [0x69c4_e0d8, 0x6a7b_0430, 0xd8cd_b780, 0x70b4_c55a]);
    }
}
