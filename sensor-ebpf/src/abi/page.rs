//! What a client is answered where plain HTTP is blocked.

/// Bytes of the longest response. With headers of IPv6 and TCP, timestamps included, it fits the smallest
/// MTU a link may have (1280 bytes, RFC 8200 section 5), so that one segment carries it anywhere.
pub const PAGE_MAX: usize = 1200;

/// Key of a response: what blocked the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PageKey {
    /// Generation of the policy.
    pub policy: u32,
    /// Group of the device.
    pub group: u16,
    /// Number of the lowest bit among the name's categories that the group blocks.
    pub category: u8,
    /// Always 0.
    pub reserved: u8,
}

/// A whole HTTP response. Sums are of 16-bit words in memory order, folded and not complemented (RFC 1071).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Page {
    /// Bytes used of `bytes`, 1 to [`PAGE_MAX`].
    pub length: u16,
    /// Bytes of the head, which alone answers a HEAD request (RFC 9110 section 9.3.2).
    pub head_length: u16,
    /// Sum of the whole response.
    pub sum: u16,
    /// Sum of the head.
    pub head_sum: u16,
    /// Always 0.
    pub reserved: u32,
    /// The response, and zeroes.
    pub bytes: [u8; PAGE_MAX],
}

impl Page {
    /// A response with a body; `None` where it is longer than [`PAGE_MAX`].
    #[must_use]
    pub fn new(head: &[u8], body: &[u8]) -> Option<Self> {
        let length = head.len() + body.len();
        let mut bytes = [0; PAGE_MAX];
        let (to_head, rest) = bytes.split_at_mut_checked(head.len())?;
        to_head.copy_from_slice(head);
        rest.get_mut(..body.len())?.copy_from_slice(body);
        let (sum, head_sum) = (sum(bytes.get(..length)?), sum(head));
        let (length, head_length) = (length as u16, head.len() as u16);
        Some(Self { length, head_length, sum, head_sum, reserved: 0, bytes })
    }

    /// The response.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// The sum of bytes as they lie in memory.
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| match pair {
        [first, second] => u16::from_ne_bytes([*first, *second]),
        [last] => u16::from_ne_bytes([*last, 0]),
        _ => 0,
    };
    let sum: u64 = bytes.chunks(2).map(|pair| u64::from(word(pair))).sum();
    !crate::reset::fold(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_head_and_a_body() {
        let page = Page::new(b"abc", b"de").unwrap();
        assert_eq!(page.as_bytes(), b"abcde");
        let (head, tail) = (u16::from_ne_bytes(*b"ab"), u16::from_ne_bytes([b'c', 0]));
        assert_eq!((page.head_length, page.head_sum), (3, head + tail));
        let whole: u32 =
            [*b"ab", *b"cd", *b"e\0"].map(|two| u32::from(u16::from_ne_bytes(two))).iter().sum();
        assert_eq!(u32::from(page.sum), (whole & 0xffff) + (whole >> 16));
        assert!(Page::new(&[0; PAGE_MAX], b"").is_some());
        assert!(Page::new(&[0; PAGE_MAX], b"x").is_none());
        assert!(Page::new(&[0; PAGE_MAX + 1], b"").is_none());
    }
}
