//! Whatever the bytes, nothing panics, and every line is counted.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::super::guess::of_head;
use super::super::parser::Parser;
use super::super::{Entry, Format, Reason, Report, Taken, read};
use super::assert_sums;
use crate::policy::name::listed;

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
    b"\n||a.example^$third-party\n",
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

/// Reads a text without a file around it.
fn report(text: &[u8], format: Format) -> Option<Report> {
    let mut reader = text;
    let mut taken = 0;
    let mut take = |entry: Entry<'_>, _| {
        if let Entry::Name(name) = entry {
            assert_eq!(listed(name).as_deref(), Ok(name));
        }
        taken += 1;
        ControlFlow::Continue(Taken::Yes)
    };
    let file = read(PathBuf::new(), &mut reader, Parser::new(format), &mut take).ok()?;
    assert_eq!(file.counts.taken(), taken);
    Some(Report { format, member: None, likely: None, files: vec![file] })
}

#[test]
fn whatever_is_read_is_counted_once() {
    let mut random = Random(0x1157);
    let mut seen = [0_u64; Reason::ALL.len()];
    let mut refused = 0;
    for round in 0..2_000 {
        let text = if round % 8 == 0 { bytes(&mut random) } else { pieces(&mut random) };
        let lines = text.split_inclusive(|byte| *byte == b'\n').count();
        if round % 16 == 0 {
            let _any = of_head(&text);
        }
        for format in Format::ALL {
            // A quote or a parenthesis may stay open.
            let Some(report) = report(&text, format) else {
                refused += 1;
                continue;
            };
            assert_sums(&report);
            let counts = report.total();
            assert_eq!(counts.lines, lines as u64, "{}", text.escape_ascii());
            for (reason, count) in counts.iter() {
                seen[reason as usize] += count;
            }
            if round % 16 == 0 {
                let _either = report.check();
                assert!(!report.to_string().contains('\u{1b}'));
            }
        }
    }
    assert!(refused > 0);
    let rare = [Reason::TooManyLabels, Reason::NameTooLong, Reason::LineTooLong];
    for reason in Reason::ALL.into_iter().filter(|reason| !rare.contains(reason)) {
        assert!(seen[reason as usize] > 0, "{} was never met", reason.name());
    }
}
