//! First segments as browsers send them.

/// Bytes of a browser's hello with its record header: padded to this (RFC 7685).
const HELLO_BYTES: usize = 517;

/// Where the server name stands among the extensions; browsers send them in random order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamePlace {
    First,
    Last,
}

/// A TLS 1.3 hello with seventeen extensions, in one record.
pub(crate) fn client_hello(name: &str, place: NamePlace) -> Vec<u8> {
    let mut extensions = common_extensions();
    match place {
        NamePlace::First => extensions.splice(0..0, server_name(name)),
        NamePlace::Last => extensions.splice(extensions.len().., server_name(name)),
    };
    let unpadded = hello(&extensions).len();
    let padding = extension(21, &vec![0; HELLO_BYTES.saturating_sub(unpadded + 4)]);
    // Before the last one, so that the place of the name is as asked for.
    let at = match place {
        NamePlace::First => extensions.len(),
        NamePlace::Last => extensions.len() - server_name(name).len(),
    };
    extensions.splice(at..at, padding);
    hello(&extensions)
}

/// A page request of a browser, about 450 bytes: Host follows the request line.
pub(crate) fn request(name: &str) -> Vec<u8> {
    format!("{REQUEST_LINE}Host: {name}\r\n{HEADERS}\r\n").into_bytes()
}

/// The same with a large cookie and Host as the last header, about 1,200 bytes into the head.
pub(crate) fn request_with_late_host(name: &str) -> Vec<u8> {
    const HOST_AT: usize = 1200;
    let before = format!("{REQUEST_LINE}{HEADERS}Cookie: session=\r\n").len();
    let cookie = "5e1f0c9a".repeat((HOST_AT - before) / 8);
    format!("{REQUEST_LINE}{HEADERS}Cookie: session={cookie}\r\nHost: {name}\r\n\r\n").into_bytes()
}

const REQUEST_LINE: &str = "GET /courses/2026/spring/index.html HTTP/1.1\r\n";

const HEADERS: &str = "Connection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/143.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
    image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n";

/// Fifteen extensions; the server name and the padding come to them.
fn common_extensions() -> Vec<u8> {
    let mut key_share = vec![0, 41, 0x0a, 0x0a, 0, 1, 0, 0, 29, 0, 32];
    key_share.extend([0x5a; 32]);
    [
        extension(0x0a0a, &[]),
        extension(23, &[]),
        extension(0xff01, &[0]),
        extension(10, &[0, 8, 0x0a, 0x0a, 0, 29, 0, 23, 0, 24]),
        extension(11, &[1, 0]),
        extension(35, &[]),
        extension(16, b"\x00\x0c\x02h2\x08http/1.1"),
        extension(5, &[1, 0, 0, 0, 0]),
        extension(13, &[0, 16, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1]),
        extension(18, &[]),
        extension(51, &key_share),
        extension(45, &[1, 1]),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(27, &[2, 0, 2]),
        extension(0x1a1a, &[0]),
    ]
    .concat()
}

fn server_name(name: &str) -> Vec<u8> {
    let mut entry = vec![0];
    entry.extend(length_of(name.len()));
    entry.extend(name.as_bytes());
    let mut list = length_of(entry.len()).to_vec();
    list.extend(entry);
    extension(0, &list)
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut extension = kind.to_be_bytes().to_vec();
    extension.extend(length_of(body.len()));
    extension.extend(body);
    extension
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0xa5; 32]);
    body.push(32);
    body.extend([0xc3; 32]);
    // Sixteen cipher suites, no compression.
    body.extend(length_of(32));
    body.extend([0x0a, 0x0a, 0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0]);
    body.extend([0x30, 0xcc, 0xa9, 0xcc, 0xa8, 0xc0, 0x13, 0xc0, 0x14, 0, 0x9c, 0, 0x9d, 0, 0x2f]);
    body.extend([0, 0x35, 1, 0]);
    body.extend(length_of(extensions.len()));
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(length_of(body.len() + 4));
    record.extend([1, 0]);
    record.extend(length_of(body.len()));
    record.extend(body);
    record
}

fn length_of(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("a segment is below 64 KiB").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::cursor::Window;
    use sensor_ebpf::{http, tls};

    use super::*;

    const NAME: &str = "media.images.example.com";

    /// Extensions of a hello from `client_hello`, by their kinds.
    fn kinds(hello: &[u8]) -> Vec<u16> {
        // Record, handshake, version, random, session, ciphers, compression, length.
        let mut rest = &hello[5 + 4 + 2 + 32 + 33 + 34 + 2 + 2..];
        let mut kinds = Vec::new();
        while let [kind_high, kind_low, length_high, length_low, behind @ ..] = rest {
            kinds.push(u16::from_be_bytes([*kind_high, *kind_low]));
            rest = &behind[usize::from(u16::from_be_bytes([*length_high, *length_low]))..];
        }
        kinds
    }

    #[test]
    fn a_hello_is_read_and_looks_like_a_browsers() {
        for (place, at) in [(NamePlace::First, 0), (NamePlace::Last, 16)] {
            let hello = client_hello(NAME, place);
            assert_eq!(hello.len(), HELLO_BYTES);
            let kinds = kinds(&hello);
            assert_eq!(kinds.len(), 17);
            assert_eq!(kinds.iter().position(|kind| *kind == 0), Some(at));
            let range = tls::server_name(&Window::new(&hello)).unwrap();
            assert_eq!(&hello[range], NAME.as_bytes());
        }
    }

    #[test]
    fn a_request_is_read_and_has_the_length_it_should() {
        let check = |request: Vec<u8>, host_at: usize, length: usize| {
            let range = http::host(&Window::new(&request)).unwrap();
            assert!(range.start.abs_diff(host_at) < 20, "host at {}", range.start);
            assert!(request.len().abs_diff(length) < 25, "{} bytes", request.len());
            assert_eq!(&request[range], NAME.as_bytes());
        };
        check(request(NAME), 52, 450);
        check(request_with_late_host(NAME), 1206, 1230);
    }
}
