//! What a `ClientHello` offers, kept once for all flows whose hello offers the same.

/// Bytes of cipher suites kept: 128 suites, browsers offer 16.
pub const CIPHER_SUITES_BYTES: usize = 256;

/// Bytes of signature algorithms kept: 32 schemes, OpenSSL offers 23.
pub const SIGNATURE_ALGORITHMS_BYTES: usize = 64;

/// Bytes of the ALPN list kept: `h2` and `http/1.1` take 12.
pub const ALPN_BYTES: usize = 32;

/// Bytes of supported versions kept: 16 versions, of which there are five and GREASE.
pub const SUPPORTED_VERSIONS_BYTES: usize = 32;

/// Extension types kept: browsers send up to 20.
pub const EXTENSION_TYPES: usize = 64;

/// Bytes behind each list: lists are copied in words of eight.
pub const COPY_ROOM: usize = 8;

/// A hello's lists as they lie on the wire (RFC 8446 section 4.1.2), without session, key or name.
///
/// Each length is the one the hello states; where it exceeds the room, the list was cut and what is
/// made of it (JA4) would be wrong. GREASE values (RFC 8701) are 0x0a0a here, whichever was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StoredHello {
    /// `legacy_version`.
    pub legacy_version: u16,
    /// Extensions in the hello.
    pub extensions: u16,
    /// Bytes of `cipher_suites`.
    pub cipher_suites_length: u16,
    /// Bytes of `signature_algorithms`.
    pub signature_algorithms_length: u16,
    /// Bytes of `alpn`.
    pub alpn_length: u16,
    /// Bytes of `supported_versions`.
    pub supported_versions_length: u16,
    /// Always 0.
    pub reserved: [u16; 2],
    /// Cipher suites, two bytes each, big endian.
    pub cipher_suites: [u8; CIPHER_SUITES_BYTES + COPY_ROOM],
    /// Signature schemes, two bytes each, big endian (RFC 8446 section 4.2.3).
    pub signature_algorithms: [u8; SIGNATURE_ALGORITHMS_BYTES + COPY_ROOM],
    /// Protocol names, each behind its length (RFC 7301 section 3.1).
    pub alpn: [u8; ALPN_BYTES + COPY_ROOM],
    /// Versions, two bytes each, big endian (RFC 8446 section 4.2.1).
    pub supported_versions: [u8; SUPPORTED_VERSIONS_BYTES + COPY_ROOM],
    /// Types of the extensions in the order of the first such hello, host byte order.
    pub extension_types: [u16; EXTENSION_TYPES],
}

impl StoredHello {
    /// One that offers nothing.
    pub const EMPTY: Self = Self {
        legacy_version: 0,
        extensions: 0,
        cipher_suites_length: 0,
        signature_algorithms_length: 0,
        alpn_length: 0,
        supported_versions_length: 0,
        reserved: [0; 2],
        cipher_suites: [0; CIPHER_SUITES_BYTES + COPY_ROOM],
        signature_algorithms: [0; SIGNATURE_ALGORITHMS_BYTES + COPY_ROOM],
        alpn: [0; ALPN_BYTES + COPY_ROOM],
        supported_versions: [0; SUPPORTED_VERSIONS_BYTES + COPY_ROOM],
        extension_types: [0; EXTENSION_TYPES],
    };

    /// The cipher suites; `None` where they were cut.
    #[must_use]
    pub fn cipher_suites(&self) -> Option<&[u8]> {
        whole(&self.cipher_suites, self.cipher_suites_length)
    }

    /// The signature schemes; `None` where they were cut.
    #[must_use]
    pub fn signature_algorithms(&self) -> Option<&[u8]> {
        whole(&self.signature_algorithms, self.signature_algorithms_length)
    }

    /// The ALPN list; `None` where it was cut.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        whole(&self.alpn, self.alpn_length)
    }

    /// The supported versions; `None` where they were cut.
    #[must_use]
    pub fn supported_versions(&self) -> Option<&[u8]> {
        whole(&self.supported_versions, self.supported_versions_length)
    }

    /// The types of the extensions; `None` where they were cut.
    #[must_use]
    pub fn extension_types(&self) -> Option<&[u16]> {
        self.extension_types.get(..usize::from(self.extensions))
    }
}

/// The bytes in use; the copying room is not part of a list.
fn whole(bytes: &[u8], length: u16) -> Option<&[u8]> {
    let length = usize::from(length);
    if length > bytes.len() - COPY_ROOM {
        return None;
    }
    bytes.get(..length)
}
