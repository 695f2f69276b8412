//! Messages as agents send them, and as nobody should.

use super::message::read;
use super::{BYTES_MAX, Told, UserId};
use crate::identity::name::Domains;
use crate::identity::{Directory, Refusal};

const KEY: &[u8] = b"LUFRPT1 key";
const QUERY: &str = "type=user-id&key=LUFRPT1%20key";
const MINUTE_US: i64 = 60_000_000;

const LOGIN: &str = r#"<?xml version="1.0"?>
<uid-message>
  <version>2.0</version>
  <type>update</type>
  <payload>
    <login>
      <entry name="college\A.Smith" ip="10.0.0.5" timeout="20"/>
      <entry name="b&amp;b.jones" ip="2001:db8::7"></entry>
      <entry name="COLLEGE\PC-17$" ip="10.0.0.6"/>
      <entry name="nobody"/>
      <entry ip="10.0.0.8" name="for.ever" timeout="0"/>
    </login>
  </payload>
</uid-message>"#;

fn user_id() -> UserId {
    let domains = Domains::new(&["college".to_owned()]);
    UserId::new(vec!["192.0.2.0/28".parse().unwrap()], KEY.to_vec(), domains, 45)
}

fn at(directory: &Directory, address: &str, minute: i64) -> Option<String> {
    directory.login(address.parse().unwrap(), minute * MINUTE_US).map(|login| login.user)
}

#[test]
fn logins_hold_until_they_run_out_or_end() {
    let (user_id, directory) = (user_id(), Directory::default());
    let told = Told { query: QUERY, body: LOGIN.as_bytes(), ..Told::default() };
    user_id.take(told, &directory, 10 * MINUTE_US).unwrap();
    let at = |address, minute| at(&directory, address, minute);
    assert_eq!(at("10.0.0.5", 29).as_deref(), Some("a.smith"));
    assert_eq!(at("10.0.0.5", 30), None);
    assert_eq!(at("2001:db8::7", 54).as_deref(), Some("b&b.jones"));
    assert_eq!(at("2001:db8::7", 55), None);
    assert_eq!(at("10.0.0.6", 11), None);
    assert_eq!(at("10.0.0.8", 100_000).as_deref(), Some("for.ever"));
    assert_eq!(directory.refused(Refusal::UserIdEntry), 2);
    let logout = r#"<uid-message><type>update</type><payload><logout>
        <entry name="college\c.brown" ip="10.0.0.5"/><entry name="for.ever" ip="10.0.0.8"/>
        </logout></payload></uid-message>"#;
    let told = Told { body: logout.as_bytes(), ..told };
    user_id.take(told, &directory, 12 * MINUTE_US).unwrap();
    assert_eq!(at("10.0.0.5", 13).as_deref(), Some("a.smith"), "another user's logout");
    assert_eq!(at("10.0.0.8", 13), None);
    let machine = r#"<uid-message><payload><logout><entry name="host/pc-17" ip="10.0.0.5"/></logout>
        </payload></uid-message>"#;
    user_id.take(Told { body: machine.as_bytes(), ..told }, &directory, 14 * MINUTE_US).unwrap();
    assert_eq!(at("10.0.0.5", 15).as_deref(), Some("a.smith"), "a machine is nobody's logout");
}

#[test]
fn the_message_and_the_key_come_in_every_way() {
    let cmd: String = form_urlencoded::byte_serialize(LOGIN.as_bytes()).collect();
    let form = format!("key=LUFRPT1+key&type=user-id&cmd={cmd}");
    let query = format!("{QUERY}&cmd={cmd}");
    let xml = LOGIN.as_bytes();
    let ways = [
        Told { query: QUERY, body: xml, ..Told::default() },
        Told { query: "type=user-id", key: Some(KEY), body: xml, ..Told::default() },
        Told { query: &query, ..Told::default() },
        Told { body: form.as_bytes(), is_form: true, ..Told::default() },
    ];
    for told in ways {
        let directory = Directory::default();
        user_id().take(told, &directory, MINUTE_US).unwrap();
        assert_eq!(at(&directory, "10.0.0.5", 2).as_deref(), Some("a.smith"), "{told:?}");
    }
}

#[test]
fn whoever_has_no_key_tells_nothing() {
    let (user_id, directory) = (user_id(), Directory::default());
    let right = Told { query: QUERY, body: LOGIN.as_bytes(), ..Told::default() };
    let check = |told: Told<'_>, refusal| {
        assert_eq!(user_id.take(told, &directory, MINUTE_US), Err(refusal), "{told:?}");
    };
    check(Told { query: "type=user-id", ..right }, Refusal::UserIdKey);
    check(Told { query: "type=user-id&key=", ..right }, Refusal::UserIdKey);
    check(Told { query: "type=user-id&key=LUFRPT1", ..right }, Refusal::UserIdKey);
    check(Told { key: Some(b"another"), ..right }, Refusal::UserIdKey);
    check(Told { query: "type=op&key=LUFRPT1%20key", ..right }, Refusal::UserIdMessage);
    assert_eq!(directory.counts().1, 0);
    for (client, is_one) in [("192.0.2.15", true), ("192.0.2.16", false), ("::1", false)] {
        assert_eq!(user_id.is_client(client.parse().unwrap()), is_one, "{client}");
    }
    assert!(user_id.is_client("::ffff:192.0.2.1".parse().unwrap()));
}

#[test]
fn what_is_no_message_is_refused() {
    let laughs = r#"<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;">]>
        <uid-message><payload><login><entry name="&lol2;" ip="10.0.0.5"/></login></payload></uid-message>"#;
    let file = r#"<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><uid-message/>"#;
    let deep = format!("<uid-message>{}", "<a>".repeat(100));
    let wrong = [
        "",
        "nonsense",
        "<uid-message>",
        "<other/>",
        laughs,
        file,
        &deep,
        "<uid-message><payload></login></payload></uid-message>",
        "<a><uid-message/></a>",
    ];
    for text in wrong {
        assert_eq!(read(text), Err(Refusal::UserIdMessage), "{text}");
    }
    // An entity that nobody declared, and an entry in another place.
    let unknown = "<uid-message><payload><login><entry name=\"&lol;\" ip=\"10.0.0.5\"/></login></payload></uid-message>";
    assert_eq!(read(unknown).unwrap().refused, 1);
    let elsewhere = "<uid-message><login><entry name=\"a\" ip=\"10.0.0.5\"/></login></uid-message>";
    assert_eq!(read(elsewhere).unwrap().logins, []);
}

#[test]
fn no_message_is_too_odd_to_be_read() {
    for end in (0..LOGIN.len()).filter(|end| LOGIN.is_char_boundary(*end)) {
        assert!(read(&LOGIN[..end]).is_err(), "cut at {end}");
    }
    for at in 0..LOGIN.len() {
        for odd in ["<", ">", "&", "\"", "/", "\0", "!", "?", "]]>", "\u{e9}"] {
            let mut text = LOGIN.to_owned();
            text.replace_range(at..=at, odd);
            let _read = read(&text);
        }
    }
}

#[test]
fn a_request_is_answered_as_a_firewall_answers() {
    use std::io::{Read as _, Write as _};
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let directory = std::sync::Arc::new(Directory::default());
    let listener = {
        let _inside = runtime.enter();
        super::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    };
    let to = listener.local_addr().unwrap();
    let clients = vec!["127.0.0.1/32".parse().unwrap()];
    let user_id = UserId::new(clients, KEY.to_vec(), Domains::default(), 45);
    runtime.spawn(super::serve(listener, user_id, std::sync::Arc::clone(&directory), || MINUTE_US));
    let send = |head: &str, body: &[u8]| {
        let mut stream = std::net::TcpStream::connect(to).unwrap();
        let length = body.len();
        let head = format!(
            "POST {head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // What is refused by its size is not read to its end.
        let _refused = stream.write_all(body);
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer);
        answer
    };
    let answer = send(&format!("/api/?{QUERY}"), LOGIN.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("status=\"success\""),
        "{answer}"
    );
    assert_eq!(at(&directory, "10.0.0.8", 2).as_deref(), Some("for.ever"));
    let answer = send("/api/?type=user-id&key=x", LOGIN.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("Invalid Credential"),
        "{answer}"
    );
    let answer = send(&format!("/api/?{QUERY}"), b"<uid-message");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let stranger = {
        let _inside = runtime.enter();
        super::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    };
    let elsewhere = stranger.local_addr().unwrap();
    let directory_of = std::sync::Arc::clone(&directory);
    runtime.spawn(super::serve(stranger, self::user_id(), directory_of, || MINUTE_US));
    let mut stream = std::net::TcpStream::connect(elsewhere).unwrap();
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "a stranger's connection is closed");
    assert_eq!(directory.refused(Refusal::UserIdClient), 1);
    let _reset = send(&format!("/api/?{QUERY}"), &vec![b' '; BYTES_MAX + 1]);
    assert_eq!(directory.refused(Refusal::UserIdSize), 1);
}
