//! Who was where, of what was told when.

mod cases;
mod directory;
mod properties;
mod store;

use std::net::IpAddr;

use super::told::{self, Session};
use super::{DeviceIdentity, Ended, Login, Onset, Source, Store};
use crate::policy::member::Mac;

/// µs of a minute.
const MINUTE_US: i64 = 60_000_000;

/// A long session without news; minutes.
const SESSION: i64 = 1_000;

/// A store that is told things by lines of text.
///
/// Each line begins with the minute it is told at. Times are minutes, with `.s` seconds behind them; devices are
/// letters, and `-` is what is not told. In lower case a device's address is made up.
#[derive(Default)]
struct Teller {
    store: Store,
}

impl Teller {
    fn of(lines: &str) -> Self {
        let mut teller = Self::default();
        lines.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| {
            teller.tell(line);
        });
        teller
    }

    fn tell(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let now = time(words[0]);
        let store = &mut self.store;
        match words[1..] {
            ["lease", at, device, name, span] => {
                let (from, to) = span.split_once("..").unwrap();
                let name = (name != "-").then(|| name.to_owned());
                let (onset, from) = match from.strip_prefix('~') {
                    Some(from) => (Onset::Found, from),
                    None => (Onset::Began, from),
                };
                let to = (!to.is_empty()).then(|| time(to));
                let fact = told::lease(address(at), mac(device), name, onset, (time(from), to));
                store.learn(fact, now);
            }
            ["seen", at, device] => {
                store.learn(told::neighbour(address(at), mac(device).unwrap(), now), now);
            }
            ["start" | "interim", name, device, at, user] => {
                start(store, words[1] == "start", (name, device, at, user), now, now);
            }
            ["start", name, device, at, user, "since", from] => {
                start(store, true, (name, device, at, user), time(from), now);
            }
            ["stop", name] => drop(store.end(&Ended::Session(name), now, now)),
            ["stop", name, "at", at] => drop(store.end(&Ended::Session(name), time(at), now)),
            ["reboot", nas] => drop(store.end(&Ended::Sessions(nas), now, now)),
            ["user-id", at, user, minutes] => {
                let minutes: i64 = minutes.parse().unwrap();
                let expires = now + minutes * MINUTE_US;
                let fact = told::user_id(address(at), user.to_owned(), now, Some(expires));
                store.learn(fact, now);
            }
            ["user-out", at, user] => {
                let user = (user != "-").then_some(user);
                let ended = Ended::At { source: Source::UserId, address: address(at), user };
                store.end(&ended, now, now);
            }
            ["login", at, user] => {
                let login = Login { user: user.to_owned(), roles: Vec::new() };
                store.learn(told::login(address(at), login, now), now);
            }
            ["logout", at] => drop(store.end(&Ended::Users(address(at)), now, now)),
            ["released" | "gone", at] => {
                let source = match words[1] {
                    "gone" => Source::Neighbour,
                    _ => Source::DhcpLease,
                };
                store.end(&Ended::At { source, address: address(at), user: None }, now, now);
            }
            ["clock", by] => store.clock_stepped(by.parse::<i64>().unwrap() * MINUTE_US),
            ["expire"] => store.expire(now),
            ref other => panic!("{other:?} in {line:?}"),
        }
    }

    fn at(&self, at: &str, minute: &str) -> String {
        shown(self.store.resolve(address(at), time(minute)).as_ref())
    }
}

fn start(
    store: &mut Store,
    is_start: bool,
    (name, device, at, user): (&str, &str, &str, &str),
    from_us: i64,
    now: i64,
) {
    let addresses: Vec<IpAddr> = if at == "-" { vec![] } else { vec![address(at)] };
    let session = Session {
        name,
        user: (user != "-").then_some(user),
        roles: &[],
        mac: mac(device),
        addresses: &addresses,
        onset: if is_start { Onset::Began } else { Onset::Found },
        from_us,
        addresses_from_us: from_us,
        expires_us: now + SESSION * MINUTE_US,
    };
    store.learn_all(session.facts(), now);
}

/// `device name user source confidence`, each `-` where it is not known; `nobody` where nothing is.
fn shown(identity: Option<&DeviceIdentity>) -> String {
    let Some(identity) = identity else { return "nobody".to_owned() };
    let device = identity.mac.map_or("-".to_owned(), |mac| {
        let letter = char::from(mac.0[5]);
        if mac.is_local() { letter.to_ascii_lowercase() } else { letter }.to_string()
    });
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let (name, user) = (text(&identity.host_name), text(&identity.user));
    format!("{device} {name} {user} {} {}", identity.source.name(), identity.confidence.name())
}

fn mac(device: &str) -> Option<Mac> {
    let letter = device.bytes().next().filter(u8::is_ascii_alphabetic)?;
    let first = if letter.is_ascii_lowercase() { 0x02 } else { 0x00 };
    Some(Mac([first, 0x53, 0, 0, 0, letter.to_ascii_uppercase()]))
}

/// `5` is 10.0.0.5; `x5` is an IPv6 address.
fn address(text: &str) -> IpAddr {
    match text.strip_prefix('x') {
        Some(number) => format!("2001:db8::{number}").parse().unwrap(),
        None => format!("10.0.0.{text}").parse().unwrap(),
    }
}

fn time(text: &str) -> i64 {
    let (minutes, seconds) = text.split_once('.').unwrap_or((text, "0"));
    minutes.parse::<i64>().unwrap() * MINUTE_US + seconds.parse::<i64>().unwrap() * 1_000_000
}
