//! Request heads, and the host found in them.

use super::*;

fn read(head: &str) -> Result<&str, NoName> {
    host(&Window::new(head.as_bytes())).map(|range| &head[range])
}

#[test]
fn hosts_wherever_they_stand() {
    let rows = [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost:a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nhOsT:\t a.example \r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\nHost: a.example\n\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "[2001:db8::1]"),
        ("GET / HTTP/1.1\r\nX-Host: b.example\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHosts: b.example\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHo: b\r\nH: c\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nA: b\r\n Host: folded.example\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("POST /Host:x HTTP/1.1\r\nHost: a.example\r\n\r\nHost: body", "a.example"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n", "239.255.255.250"),
        // The target names it, and beats the header (RFC 9112 section 3.2.2).
        ("GET http://t.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "t.example"),
        ("GET http://t.example HTTP/1.1\r\n\r\n", "t.example"),
        ("GET http://t.example:81/x HTTP/1.1\r\n\r\n", "t.example"),
        ("GET http://t.example?q=/ HTTP/1.1\r\n\r\n", "t.example"),
        ("GET http://u:p@t.example/ HTTP/1.1\r\n\r\n", "t.example"),
        ("GET http://[2001:db8::2]:8/ HTTP/1.1\r\n\r\n", "[2001:db8::2]"),
        ("CONNECT t.example:443 HTTP/1.1\r\n\r\n", "t.example"),
        ("CONNECT [2001:db8::3]:443 HTTP/1.1\r\n\r\n", "[2001:db8::3]"),
        // The name is whole: the rest of the head is not waited for.
        ("GET / HTTP/1.1\r\nHost: a.example\r", "a.example"),
    ];
    for (head, expected) in rows {
        assert_eq!(read(head), Ok(expected), "{head:?}");
    }
}

#[test]
fn heads_without_a_host_have_their_reason() {
    let rows = [
        ("GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", NoName::NoHost),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", NoName::NoHost),
        ("GET / HTTP/1.0\n\n", NoName::NoHost),
        ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", NoName::Malformed),
        ("GET / HTTP/1.1\r\nHost: a.exa", NoName::Truncated),
        ("GET / HTTP/1.1\r\nAccept: */*\r\n", NoName::Truncated),
        ("GET", NoName::Truncated),
        ("GET / HTTP/2.0\r\nHost: a.example\r\n\r\n", NoName::NotTls),
        ("GET /\r\nHost: a.example\r\n\r\n", NoName::NotTls),
        ("EHLO a.example\r\n", NoName::NotTls),
        ("STARTTLS\r\n", NoName::NotTls),
        ("HTTP/1.1 200 OK\r\nHost: a.example\r\n\r\n", NoName::NotTls),
        ("OPTIONS sip:x@a.example SIP/2.0\r\nHost: a.example\r\n\r\n", NoName::NotTls),
        ("AVERYLONGMETHODNAME / HTTP/1.1\r\nHost: a.example\r\n\r\n", NoName::NotTls),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NoName::NotTls),
    ];
    for (head, reason) in rows {
        assert_eq!(read(head), Err(reason), "{head:?}");
    }
}

#[test]
fn a_host_of_256_bytes_is_none() {
    let longest = "x".repeat(255);
    assert_eq!(read(&format!("GET / HTTP/1.1\r\nHost: {longest}\r\n")), Ok(longest.as_str()));
    let head = format!("GET / HTTP/1.1\r\nHost: {longest}x\r\n");
    assert_eq!(read(&head), Err(NoName::Malformed));
}

#[test]
fn a_head_beyond_the_window_is_truncated() {
    let head = format!("GET / HTTP/1.1\r\nPad: {}\r\nHost: a.example\r\n\r\n", "x".repeat(WINDOW));
    assert_eq!(read(&head), Err(NoName::Truncated));
}
