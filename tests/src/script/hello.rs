//! Hellos that a real server answers, in the shapes clients send them.

/// Handshake records.
const HANDSHAKE: u8 = 22;
/// What clients write into the record of a first hello (RFC 8446 section 5.1).
pub const RECORD_VERSION: u16 = 0x0301;
/// Bytes a record holds (RFC 8446 section 5.1).
pub const RECORD_MAX: usize = 1 << 14;

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const PADDING: u16 = 21;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
const X25519: u16 = 0x001d;
const X25519_MLKEM768: u16 = 0x11ec;
/// Bytes of a client's share of the post-quantum group: ML-KEM's and X25519's.
const MLKEM_SHARE: usize = 1_216;

/// A `ClientHello` (RFC 8446 section 4.1.2) for TLS 1.3 and 1.2.
#[derive(Clone, Debug)]
pub struct ClientHello {
    ciphers: Vec<u16>,
    /// In their order on the wire.
    extensions: Vec<(u16, Vec<u8>)>,
}

impl ClientHello {
    /// Less than 300 bytes, like that of curl: the name first.
    pub fn small(name: &str) -> Self {
        let share = [&X25519.to_be_bytes()[..], &[0, 32], &[0x42; 32]].concat();
        Self {
            ciphers: vec![0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xcca9, 0x00ff],
            extensions: vec![
                (SERVER_NAME, server_names(&[(0, name.as_bytes())])),
                (11, vec![1, 0]),
                (SUPPORTED_GROUPS, list(&[X25519, 0x0017, 0x0018])),
                (16, vec![0, 12, 2, b'h', b'2', 8, b'h', b't', b't', b'p', b'/', b'1', b'.', b'1']),
                (23, Vec::new()),
                (13, list(&[0x0403, 0x0503, 0x0804, 0x0401])),
                (SUPPORTED_VERSIONS, vec![4, 3, 4, 3, 3]),
                (45, vec![1, 1]),
                (KEY_SHARE, behind_length(share)),
            ],
        }
    }

    /// About 1,900 bytes, like that of a browser: with a post-quantum share and the name behind it all.
    pub fn large(name: &str) -> Self {
        let mut hello = Self::small(name);
        let shares = [
            &X25519_MLKEM768.to_be_bytes()[..],
            &u16::try_from(MLKEM_SHARE).unwrap_or_default().to_be_bytes(),
            &[0x17; MLKEM_SHARE],
            &X25519.to_be_bytes(),
            &[0, 32],
            &[0x42; 32],
        ];
        hello.replace(SUPPORTED_GROUPS, list(&[0x1a1a, X25519_MLKEM768, X25519, 0x0017]));
        hello.replace(KEY_SHARE, behind_length(shares.concat()));
        // What a browser without a server's configuration sends for Encrypted Client Hello is noise.
        hello.extensions.push((0xfe0d, [&[0, 0, 1, 0, 1, 7, 0, 32][..], &[9; 380]].concat()));
        hello.extensions.insert(0, (0x2a2a, Vec::new()));
        hello.with_name_last()
    }

    /// The same with the name behind every other extension.
    #[must_use]
    pub fn with_name_last(mut self) -> Self {
        self.extensions.sort_by_key(|(kind, _)| *kind == SERVER_NAME);
        self
    }

    /// The same with the name before every other extension.
    #[must_use]
    pub fn with_name_first(mut self) -> Self {
        self.extensions.sort_by_key(|(kind, _)| *kind != SERVER_NAME);
        self
    }

    /// The same with another list of names: type and bytes of each.
    #[must_use]
    pub fn with_names(mut self, names: &[(u8, &[u8])]) -> Self {
        self.replace(SERVER_NAME, server_names(names));
        self
    }

    /// The same with one more extension, first.
    #[must_use]
    pub fn with_extension(mut self, kind: u16, data: Vec<u8>) -> Self {
        self.extensions.insert(0, (kind, data));
        self
    }

    /// The same with so many bytes of padding (RFC 7685), first.
    #[must_use]
    pub fn padded(self, bytes: u16) -> Self {
        self.with_extension(PADDING, vec![0; usize::from(bytes)])
    }

    /// The same with so many more cipher suites that nobody has.
    #[must_use]
    pub fn with_further_ciphers(mut self, count: u16) -> Self {
        self.ciphers.extend((0..count).map(|at| 0x6000 + at % 0x1000));
        self
    }

    /// The same without a key: a server that wants TLS 1.3 asks for a second hello.
    #[must_use]
    pub fn without_share(mut self) -> Self {
        self.replace(KEY_SHARE, vec![0, 0]);
        self
    }

    /// The same for TLS 1.2 at most.
    #[must_use]
    pub fn of_old(mut self) -> Self {
        self.extensions.retain(|(kind, _)| ![SUPPORTED_VERSIONS, KEY_SHARE].contains(kind));
        self
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([0x5a; 32]);
        body.push(32);
        body.extend([0xa5; 32]);
        body.extend(list(&self.ciphers));
        body.extend([1, 0]);
        let extension = |(kind, data): &(u16, Vec<u8>)| {
            [&kind.to_be_bytes()[..], &behind_length(data.clone())].concat()
        };
        body.extend(behind_length(self.extensions.iter().flat_map(extension).collect()));
        let length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
        [&[1, length[1], length[2], length[3]][..], &body].concat()
    }

    /// In as few records as it takes.
    pub fn bytes(&self) -> Vec<u8> {
        records(&self.message(), RECORD_MAX)
    }

    fn replace(&mut self, kind: u16, data: Vec<u8>) {
        self.extensions.iter_mut().filter(|(known, _)| *known == kind).for_each(|(_, old)| {
            old.clone_from(&data);
        });
    }
}

/// One record of any type and version.
pub fn record(kind: u8, version: u16, bytes: &[u8]) -> Vec<u8> {
    [&[kind][..], &version.to_be_bytes(), &behind_length(bytes.to_vec())].concat()
}

/// A handshake message over records of at most `size` bytes each.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| record(HANDSHAKE, RECORD_VERSION, part)).collect()
}

/// Whether the bytes a server sent hold its hello, and not only its wish for another of the client's.
pub fn has_server_hello(bytes: &[u8]) -> bool {
    /// SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3); the first bytes do.
    const RETRY: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];
    let hellos = bytes.windows(15).filter(|bytes| {
        bytes[0] == HANDSHAKE && bytes[1] == 3 && bytes[5] == 2 && bytes[9..11] == [3, 3]
    });
    hellos.into_iter().any(|bytes| bytes[11..15] != RETRY)
}

fn server_names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let entry = |(kind, name): &(u8, &[u8])| [&[*kind][..], &behind_length(name.to_vec())].concat();
    behind_length(names.iter().flat_map(entry).collect())
}

/// Numbers behind the length of their bytes.
fn list(numbers: &[u16]) -> Vec<u8> {
    behind_length(numbers.iter().flat_map(|number| number.to_be_bytes()).collect())
}

fn behind_length(bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as u16;
    [&length.to_be_bytes()[..], &bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::{ClientHello, has_server_hello, record};

    #[test]
    fn the_parser_of_the_kernel_reads_the_name() {
        let check = |hello: &ClientHello, length: std::ops::Range<usize>| {
            let bytes = hello.bytes();
            assert!(length.contains(&bytes.len()), "{} bytes", bytes.len());
            assert!(bytes.windows(14).any(|name| name == b"museum.example"));
        };
        check(&ClientHello::small("museum.example"), 200..300);
        check(&ClientHello::large("museum.example"), 1_800..2_000);
        check(&ClientHello::large("museum.example").padded(60_000), 61_000..63_000);
    }

    #[test]
    fn a_wish_for_another_hello_is_no_answer() {
        let hello =
            |random: u8| record(22, 0x303, &[&[2, 0, 0, 90, 3, 3][..], &[random; 32]].concat());
        assert!(has_server_hello(&[b"220 ready\r\n", &hello(7)[..]].concat()));
        let retry = [&[2, 0, 0, 90, 3, 3, 0xcf, 0x21, 0xad, 0x74][..], &[0; 28]].concat();
        assert!(!has_server_hello(&record(22, 0x303, &retry)));
        assert!(!has_server_hello(&record(21, 0x303, &[2, 40])));
    }
}
