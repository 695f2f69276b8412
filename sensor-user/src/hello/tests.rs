//! Hellos as clients send them, and what is made of them.

use sensor_ebpf::abi::{
    CIPHER_SUITES_BYTES, COPY_ROOM, EXTENSION_TYPES, SIGNATURE_ALGORITHMS_BYTES,
    SUPPORTED_VERSIONS_BYTES,
};
use sha2::{Digest as _, Sha256};
use tls_parser::{TlsExtension, TlsExtensionType, TlsMessage, TlsMessageHandshake};

use super::*;

/// What a test's hello offers.
#[derive(Clone, Default)]
struct Client {
    legacy_version: u16,
    ciphers: Vec<u16>,
    /// Types in order; those with a list below carry it, the others are empty.
    extensions: Vec<u16>,
    signatures: Vec<u16>,
    alpn: Vec<&'static [u8]>,
    versions: Vec<u16>,
}

const SERVER_NAME: u16 = 0;
const SIGNATURES: u16 = 13;
const ALPN: u16 = 16;
const VERSIONS: u16 = 43;

impl Client {
    /// The example of the specification, with GREASE as Chrome sends it.
    fn chrome() -> Self {
        Self {
            legacy_version: 0x0303,
            ciphers: vec![
                0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x3a3a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005,
                0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0xdada, 0x0015,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            alpn: vec![b"h2", b"http/1.1"],
            versions: vec![0xfafa, 0x0304, 0x0303],
        }
    }

    /// The same without one extension.
    fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|other| *other != kind);
        self
    }

    /// The TLS record (RFC 8446 sections 5.1 and 4.1.2).
    fn bytes(&self) -> Vec<u8> {
        let extension = |kind: &u16| {
            let content = match *kind {
                SERVER_NAME => behind_length(&[&[0][..], &behind_length(b"a.example")].concat()),
                SIGNATURES => behind_length(&wire(&self.signatures)),
                ALPN => {
                    let name = |name: &&[u8]| [&[name.len() as u8], *name].concat();
                    behind_length(&self.alpn.iter().flat_map(name).collect::<Vec<_>>())
                }
                VERSIONS => behind_length(&wire(&self.versions))[1..].to_vec(),
                // The least that the reference takes.
                0x000a => vec![0, 2, 0, 29],
                0x000b | 0x002d => vec![1, 0],
                0xff01 => vec![0],
                _ => Vec::new(),
            };
            [kind.to_be_bytes().to_vec(), behind_length(&content)].concat()
        };
        let extensions: Vec<u8> = self.extensions.iter().flat_map(extension).collect();
        let hello = [
            &self.legacy_version.to_be_bytes()[..],
            &[7; 32],
            &[0],
            &behind_length(&wire(&self.ciphers)),
            &[1, 0],
            &behind_length(&extensions),
        ]
        .concat();
        let message = [&[1, 0][..], &behind_length(&hello)].concat();
        [&[22, 3, 1][..], &behind_length(&message)].concat()
    }
}

fn wire(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn behind_length(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes()[..], content].concat()
}

/// Takes `length` bytes off the front.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(length);
    *rest = after;
    taken
}

fn number(rest: &mut &[u8]) -> u16 {
    u16::from_be_bytes(take(rest, 2).try_into().unwrap())
}

/// Fills the front of a buffer and tells the whole length, as the kernel does.
fn fill(buffer: &mut [u8], list: &[u8]) -> u16 {
    let kept = list.len().min(buffer.len() - COPY_ROOM);
    buffer[..kept].copy_from_slice(&list[..kept]);
    list.len() as u16
}

/// What the kernel keeps of a record with a hello.
fn stored(record: &[u8]) -> StoredHello {
    let mut hello = StoredHello {
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
    let mut rest = &record[9..];
    hello.legacy_version = number(&mut rest);
    take(&mut rest, 32);
    let session = take(&mut rest, 1)[0];
    take(&mut rest, session.into());
    let length = number(&mut rest);
    hello.cipher_suites_length = fill(&mut hello.cipher_suites, take(&mut rest, length.into()));
    let compressions = take(&mut rest, 1)[0];
    take(&mut rest, compressions.into());
    let mut rest = rest.get(2..).unwrap_or_default();
    while !rest.is_empty() {
        let kind = number(&mut rest);
        let length = number(&mut rest);
        let content = take(&mut rest, length.into());
        if let Some(slot) = hello.extension_types.get_mut(usize::from(hello.extensions)) {
            *slot = kind;
        }
        hello.extensions += 1;
        match kind {
            SIGNATURES => {
                hello.signature_algorithms_length =
                    fill(&mut hello.signature_algorithms, &content[2..]);
            }
            ALPN => hello.alpn_length = fill(&mut hello.alpn, &content[2..]),
            VERSIONS => {
                hello.supported_versions_length =
                    fill(&mut hello.supported_versions, &content[1..]);
            }
            _ => {}
        }
    }
    hello
}

/// A hello for tests of other modules: Chrome's.
pub(crate) fn chrome() -> StoredHello {
    stored(&Client::chrome().bytes())
}

fn offer(client: &Client) -> Offer {
    Offer::of(&stored(&client.bytes()))
}

#[test]
fn published_fingerprints() {
    let check = |client: &Client, expected: &str| {
        assert_eq!(offer(client).ja4.as_deref(), Some(expected));
    };
    // The examples of the specification.
    check(&Client::chrome(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    let unsigned = Client { signatures: Vec::new(), ..Client::chrome() };
    check(&unsigned, "t13d1516h2_8daaf6152771_6d807ffa2a79");
    // Chrome 143.
    let extensions = vec![
        0x1a1a, 0x002d, 0x0033, 0x0010, 0xfe0d, 0x0017, 0x44cd, 0x0000, 0x000b, 0x000a, 0x002b,
        0xff01, 0x0023, 0x0012, 0x0005, 0x000d, 0x001b, 0xeaea,
    ];
    let with_ech = Client { extensions, ..Client::chrome() };
    check(&with_ech, "t13d1516h2_8daaf6152771_d8a2da3f94cd");
}

#[test]
fn the_first_part_counts_and_names() {
    let check = |client: Client, expected: &str| {
        let ja4 = offer(&client).ja4.unwrap();
        assert_eq!(ja4.split('_').next(), Some(expected));
    };
    let chrome = Client::chrome;
    check(chrome().without(SERVER_NAME), "t13i1515h2");
    check(chrome().without(ALPN), "t13d151500");
    check(chrome().without(VERSIONS), "t12d1515h2");
    check(Client { versions: vec![0x2a2a], ..chrome() }, "t12d1516h2");
    check(Client { versions: vec![0x0301, 0x0302, 0x0300], ..chrome() }, "t11d1516h2");
    check(Client { versions: vec![0x7f1c], ..chrome() }, "t00d1516h2");
    check(Client { legacy_version: 0x0301, ..chrome() }.without(VERSIONS), "t10d1515h2");
    check(Client { legacy_version: 0x0300, ..chrome() }.without(VERSIONS), "ts3d1515h2");
    check(Client { ciphers: (0..128).collect(), ..chrome() }, "t13d9916h2");
    check(Client { extensions: vec![0x6a6a], ..chrome() }, "t12i150000");

    let alpn = |first: &'static [u8]| Client { alpn: vec![first, b"h3"], ..chrome() };
    check(alpn(b"http/1.1"), "t13d1516h1");
    check(alpn(b"x"), "t13d1516xx");
    check(alpn(b"\xab"), "t13d1516ab");
    check(alpn(b"\xab\xcd"), "t13d1516ad");
    check(alpn(b"\x30\xab"), "t13d15163b");
    check(alpn(b"\x30\x31\xab\xcd"), "t13d15163d");
    check(alpn(b"\x30\xab\xcd\x31"), "t13d151601");
    check(alpn(b"\x0a\x0a"), "t13d1516h3");
    check(alpn(b""), "t13d151600");
    check(alpn(b"a-name-longer-than-the-h3-after"), "t13d1516ar");
}

#[test]
fn an_empty_list_has_no_hash() {
    let empty = Client { legacy_version: 0x0303, ..Client::default() };
    assert_eq!(offer(&empty).ja4.as_deref(), Some("t12i000000_000000000000_000000000000"));
}

#[test]
fn nothing_is_made_of_a_list_that_was_cut() {
    let check = |client: Client| assert_eq!(offer(&client).ja4, None);
    let chrome = Client::chrome;
    check(Client { ciphers: (0..129).collect(), ..chrome() });
    check(Client { signatures: (0..33).collect(), ..chrome() });
    check(Client { alpn: vec![&[b'x'; 32]], ..chrome() });
    check(Client { extensions: (0x100..0x141).collect(), ..chrome() });
    let versions = Client { versions: vec![0x0303; 17], ..chrome() };
    assert_eq!(offer(&versions).tls_version, None);
    check(versions);

    // The first name is whole; the second ends beyond what is kept.
    let alpn = Client { alpn: vec![b"h2", &[b'x'; 30]], ..chrome() };
    assert_eq!(offer(&alpn).alpn, ["h2"]);
    assert_eq!(offer(&alpn).ja4, offer(&chrome()).ja4);
}

#[test]
fn versions_have_their_names() {
    let check = |versions: &[u16], expected: &str| {
        let client = Client { versions: versions.to_vec(), ..Client::chrome() };
        assert_eq!(offer(&client).tls_version.as_deref(), Some(expected));
    };
    check(&[0x0303, 0x0304, 0x5a5a], "TLS 1.3");
    check(&[0x0303], "TLS 1.2");
    check(&[0x0302], "TLS 1.1");
    check(&[0x0301], "TLSv1");
    check(&[0x0300], "SSLv3");
    check(&[0x7f1c, 0x0303], "0x7f1c");
    check(&[], "TLS 1.2");
}

#[test]
fn protocols_are_text() {
    let check = |alpn: Vec<&'static [u8]>, expected: &[&str]| {
        assert_eq!(offer(&Client { alpn, ..Client::chrome() }).alpn, expected);
    };
    check(vec![b"h2", b"http/1.1"], &["h2", "http/1.1"]);
    check(vec![b"\x1b[2J\n", b"\xff h2\\"], &["\\x1b[2J\\x0a", "\\xff\\x20h2\\x5c"]);
    check(vec![b"\xda\xda", b"h2"], &["h2"]);
    check(vec![b"h2", b"", b"h3"], &["h2"]);
    check(vec![], &[]);

    let mut hello = stored(&Client::chrome().bytes());
    hello.alpn[0] = 200;
    assert_eq!(Offer::of(&hello).alpn, [""; 0], "a name beyond its list");
}

#[test]
fn encryption_is_seen_by_its_extension() {
    let check = |kind: u16, expected: bool| {
        let client = Client { extensions: vec![0, kind], ..Client::chrome() };
        assert_eq!(offer(&client).ech, expected, "{kind:#06x}");
    };
    check(0xfe0d, true);
    check(0xffce, true);
    check(0x0010, false);
    check(0xfe0e, false);
}

/// JA4 of what tls-parser, the reference, reads in a record.
fn reference(record: &[u8]) -> String {
    let (_, plaintext) = tls_parser::parse_tls_plaintext(record).unwrap();
    let [TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello))] = &plaintext.msg[..]
    else {
        panic!("no hello");
    };
    let (rest, extensions) =
        tls_parser::parse_tls_client_hello_extensions(hello.ext.unwrap_or_default()).unwrap();
    assert!(rest.is_empty(), "the reference gave up");
    let real = |number: &u16| number & 0x0f0f != 0x0a0a;
    let text = |number: u16| format!("{number:04x}");

    let mut ciphers: Vec<String> =
        hello.ciphers.iter().map(|cipher| cipher.0).filter(real).map(text).collect();
    ciphers.sort();
    let mut types: Vec<String> = extensions
        .iter()
        .filter(|extension| !matches!(extension, TlsExtension::Grease(..)))
        .map(|extension| text(TlsExtensionType::from(extension).0))
        .collect();
    types.sort();
    let mut version = hello.version.0;
    let mut alpn = "00".to_owned();
    let mut signatures = Vec::new();
    for extension in &extensions {
        if let TlsExtension::SupportedVersions(versions) = extension {
            version = versions.iter().map(|one| one.0).filter(real).max().unwrap_or(version);
        } else if let TlsExtension::SignatureAlgorithms(all) = extension {
            signatures = all.iter().copied().filter(real).map(text).collect();
        } else if let TlsExtension::ALPN(names) = extension {
            let name = String::from_utf8(names[0].to_vec()).unwrap();
            alpn = format!("{}{}", &name[..1], &name[name.len() - 1..]);
        }
    }
    let (ciphers_shown, types_shown) = (ciphers.len(), types.len());
    let name = if types.iter().any(|kind| kind == "0000") { "d" } else { "i" };
    types.retain(|kind| kind != "0000" && kind != "0010");
    let hashed = if signatures.is_empty() {
        types.join(",")
    } else {
        format!("{}_{}", types.join(","), signatures.join(","))
    };
    let hash = |text: &str| {
        let digest: [u8; 32] = Sha256::digest(text).into();
        format!("{:016x}", u64::from_be_bytes(digest[..8].try_into().unwrap()))[..12].to_owned()
    };
    let version = format!("{}{}", (version >> 8) - 2, (version & 0xff) - 1);
    format!(
        "t{version}{name}{ciphers_shown:02}{types_shown:02}{alpn}_{}_{}",
        hash(&ciphers.join(",")),
        hash(&hashed)
    )
}

#[test]
fn the_reference_makes_the_same_fingerprint() {
    // Every extension left out, with lists of several lengths.
    let mut compared = 0;
    let chrome = Client::chrome();
    for left_out in &chrome.extensions {
        for ciphers in [1, 2, 16] {
            for signatures in [0, 1, 8] {
                for versions in [&[0x0304][..], &[0x9a9a, 0x0303, 0x0302], &[0x0301, 0x0302]] {
                    for alpn in [&b"h2"[..], b"http/1.1", b"x"] {
                        let client = Client {
                            ciphers: chrome.ciphers[16 - ciphers..].to_vec(),
                            signatures: chrome.signatures[..signatures].to_vec(),
                            versions: [versions, versions].concat(),
                            alpn: vec![alpn, b"h3"],
                            ..chrome.clone().without(*left_out)
                        };
                        let record = client.bytes();
                        let ours = Offer::of(&stored(&record)).ja4;
                        assert_eq!(ours, Some(reference(&record)));
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(compared, 18 * 3 * 3 * 3 * 3);
}
