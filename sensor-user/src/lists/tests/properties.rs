//! Whatever the bytes, nothing panics, and every line is counted.

use super::super::{Format, Reason};
use super::read;

/// A generator of numbers that are the same every time (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Pieces that mean something to one format or another.
const PIECES: &[&[u8]] = &[
    b"\n",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b" ",
    b"\t",
    b"#",
    b" # ",
    b";",
    b"!",
    b"\"",
    b"'",
    b"(",
    b")",
    b"\\",
    b"/",
    b"//",
    b"://",
    b":",
    b",",
    b".",
    b"*.",
    b"@",
    b"@@",
    b"||",
    b"|",
    b"^",
    b"$",
    b"$$",
    b"##",
    b"#@#",
    b"=",
    b"=/",
    b"/#",
    b"\0",
    b"\xff",
    "\u{fc}".as_bytes(),
    "\u{feff}".as_bytes(),
    b"a.example",
    b"B.example.",
    b"co.uk",
    b"com",
    b"localhost",
    b"192.0.2.1",
    b"0.0.0.0 ",
    b"::1 ",
    b"address=/",
    b"server=/",
    b"local-zone: \"",
    b"\" static",
    b"local-data: ",
    b" A 0.0.0.0",
    b" CNAME .",
    b" CNAME rpz-passthru.",
    b" IN SOA ",
    b"$ORIGIN ",
    b"$TTL 1",
    b"rpz-ip",
    b"domain,",
    b"$third-party",
    b"xn--",
    b"0123456789abcdef0123456789abcdef",
    b"-",
    b"_",
    b"%",
    b"?",
    b"\n0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\n",
    b"[",
    b"]",
];

fn pieces(random: &mut Random) -> Vec<u8> {
    let count = random.below(200);
    (0..count).flat_map(|_| PIECES[random.below(PIECES.len())]).copied().collect()
}

fn bytes(random: &mut Random) -> Vec<u8> {
    let count = random.below(600);
    (0..count).map(|_| random.next() as u8).collect()
}

#[test]
fn whatever_is_read_is_counted_once() {
    let mut random = Random(0x1157);
    let mut seen = [0_u64; Reason::ALL.len()];
    let mut refused = 0;
    for round in 0..1_000 {
        let text = if round % 8 == 0 { bytes(&mut random) } else { pieces(&mut random) };
        for format in Format::ALL {
            // `read` checks the sums; a quote or a parenthesis may stay open, or the bytes be UTF-16.
            let Ok(read) = read(&text, format) else {
                refused += 1;
                continue;
            };
            let lines = text.split_inclusive(|byte| *byte == b'\n').count();
            let counts = read.report.total();
            assert_eq!(counts.lines, lines as u64, "{}", text.escape_ascii());
            assert_eq!(counts.taken(), (read.names.len() + read.hashes.len()) as u64);
            for (reason, count) in counts.iter() {
                seen[reason as usize] += count;
            }
            let _either = read.report.check();
            assert!(!read.report.to_string().contains('\u{1b}'));
        }
    }
    assert!(refused > 0);
    let rare = [Reason::TooManyLabels, Reason::NameTooLong, Reason::LineTooLong];
    for reason in Reason::ALL.into_iter().filter(|reason| !rare.contains(reason)) {
        assert!(seen[reason as usize] > 0, "{} was never met", reason.name());
    }
}
