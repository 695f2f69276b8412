//! Bytes as hexadecimal digits, two each.

use std::fmt::Write as _;

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a String takes all that is written");
        digits
    })
}

/// The bytes again; none where the text is not such digits.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let is_pair = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
            let pair = str::from_utf8(pair).ok().filter(|_| is_pair)?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{hex, unhex};

    #[test]
    fn digits_are_bytes() {
        let bytes = [0, 1, 0x7f, 0x80, 0xff];
        assert_eq!(hex(bytes), "00017f80ff");
        assert_eq!(unhex("00017f80FF").unwrap(), bytes);
        assert_eq!(unhex("").unwrap(), [0; 0]);
        for text in ["0", "0g", "+1", "é", "aé", " 1"] {
            assert_eq!(unhex(text), None, "{text:?}");
        }
    }
}
