//! Encrypted Client Hello: Chromium finds a site's keys in the HTTPS record that a resolver passes on, and
//! hides the name behind an outer one. Where the gateway takes the record out of what the resolver gets, the
//! name is in sight and is judged.
//!
//! The resolver is the campus's own, on the devices' side of the gateway, in a group that blocks nothing: a
//! device that asks through the gateway by itself gets neither address nor record of a blocked name.
//!
//! The keys are synthetic and the server has none: it takes an outer hello as what it says, under a certificate
//! that has the outer name. To Chromium this is a site that has given its keys up, and it asks again by the real
//! name, which is then judged. So it is seen here that the gateway is shown the outer name alone, not which
//! page a server with keys would send.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, Verdict};
use sensor_lab::lab::Lab;
use sensor_lab::process;
use sensor_lab::resolver::{Forwarder, Resolver};
use sensor_lab::sensor::{self, Mode, Sensor, Setup};
use sensor_lab::servers::WebServer;
use sensor_user::record::Record;

use super::device::{Browser, Loaded};
use super::hellos::{Capture, Hello, Summary};
use super::{ALLOWED, BLOCKED, POLICY, names, say, serve, stored};

/// Pages of each kind.
const LOADS: usize = 3;

const TLS_PORT: u16 = 443;

/// What all hellos with hidden names ask for. Allowed, and under the server's certificate.
const OUTER: &str = "ech.library.example";

/// In the devices' network, so that only the longer prefix tells it from them.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 3);

/// What the others prevent: as many connections as there are pages, and more, that go by the outer name.
#[test]
fn chromium_hides_names_where_https_records_are_kept() -> Result<()> {
    let seen = Seen::with_https_records("keep", Mode::Native)?;
    assert!(seen.hidden_hellos() >= 2 * LOADS, "{:?}", seen.hellos);
    for record in seen.records_of(OUTER) {
        assert_eq!((record.verdict, record.ech), (Verdict::Allow, Some(true)), "{record:?}");
        assert!(record.packets_to_lan > 0, "{record:?}");
    }
    seen.visible_names_are_judged()
}

/// The gateway answers in place of the resolver beyond it.
#[test]
fn chromium_shows_names_where_https_records_have_no_data() -> Result<()> {
    let seen = Seen::with_https_records("nodata", Mode::Native)?;
    assert!(seen.queries_beyond.iter().all(|count| *count == 0), "{:?}", seen.queries_beyond);
    nothing_is_hidden(&seen)
}

#[test]
fn chromium_shows_names_where_https_records_are_renamed() -> Result<()> {
    renamed(Mode::Native)
}

#[test]
fn chromium_shows_names_where_https_records_are_renamed_in_generic_mode() -> Result<()> {
    renamed(Mode::Generic)
}

fn renamed(mode: Mode) -> Result<()> {
    let seen = Seen::with_https_records("rename", mode)?;
    assert!(seen.queries_beyond.iter().all(|count| *count > 0), "{:?}", seen.queries_beyond);
    nothing_is_hidden(&seen)
}

fn nothing_is_hidden(seen: &Seen) -> Result<()> {
    assert_eq!(seen.hidden_hellos(), 0, "{:?}", seen.hellos);
    assert_eq!(seen.records_of(OUTER).count(), 0, "{:?}", seen.records);
    seen.visible_names_are_judged()
}

/// What became of allowed and blocked names in one browser.
struct Seen {
    allowed: Vec<String>,
    blocked: Vec<String>,
    loaded: Vec<Loaded>,
    hellos: Vec<Hello>,
    /// Of connections to the web server.
    records: Vec<Record>,
    /// For the HTTPS record of each name whose record the browser asked for, at the resolver beyond the gateway.
    queries_beyond: Vec<usize>,
    web: WebServer,
    _lab: Lab,
}

impl Seen {
    fn with_https_records(https_records: &str, mode: Mode) -> Result<Self> {
        let lab = Lab::build()?;
        let web = serve(&lab)?;
        let (allowed, blocked) = (names("open", ALLOWED, LOADS), names("slots", BLOCKED, LOADS));
        let both = super::in_turns(&allowed, &blocked);
        let known: Vec<_> = both.iter().map(String::as_str).collect();
        let resolver = Resolver::start_with(&lab, &known, &hex(&https_record()))?;
        let sensor = start_sensor(&lab, mode, https_records)?;
        let forwarder = Forwarder::start(&lab, RESOLVER, &both[0])?;

        let capture = Capture::start(&lab)?;
        // The first name is loaded twice: a browser that has not read yet whom to ask has the system ask, and that
        // asks for addresses alone.
        let mut loaded =
            Browser::Chromium.load_resolved(&lab, &web, &[&both[..1], &both].concat())?;
        loaded.remove(0);
        let wanted = [&[OUTER.to_owned()], &both[..]].concat();
        let hellos = capture.finish(&wanted)?;
        let mut queries_beyond = Vec::new();
        for name in &both {
            // A browser that is slow to read whom to ask has the system ask, which asks for addresses alone.
            if forwarder.asked_for_https(name)? > 0 {
                queries_beyond.push(resolver.asked_for_https(name)?);
            }
        }
        let (asked, names) = (queries_beyond.len(), both.len());
        assert!(asked * 3 >= names * 2, "the records of {asked} of {names} names were asked for");
        let named: BTreeSet<_> =
            hellos.iter().filter_map(|hello| Some(&hello.name.as_ref()?.0)).collect();
        let records = process::wait_until("a record of every name", process::SHORT, || {
            let mut records = stored(&sensor)?;
            records.retain(|one| one.peer_port == TLS_PORT);
            let recorded: BTreeSet<_> =
                records.iter().filter_map(|one| one.name.as_ref()).collect();
            Ok(named.is_subset(&recorded).then_some(records))
        })?;
        let seen =
            Self { allowed, blocked, loaded, hellos, records, queries_beyond, web, _lab: lab };
        say(&format!(
            "{https_records}, {mode:?}: {}, {} for {OUTER}",
            Summary(&seen.hellos),
            seen.hidden_hellos()
        ));
        Ok(seen)
    }

    fn hidden_hellos(&self) -> usize {
        self.hellos.iter().filter(|hello| hello.is_for(OUTER)).count()
    }

    fn records_of(&self, name: &str) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |one| one.name.as_deref() == Some(name))
    }

    /// Each name is in a hello in the end; the blocked ones get no further.
    fn visible_names_are_judged(&self) -> Result<()> {
        for (names, verdict) in [(&self.allowed, Verdict::Allow), (&self.blocked, Verdict::Block)] {
            for name in names {
                let is_seen = self.hellos.iter().any(|hello| hello.is_for(name));
                assert!(is_seen, "no hello for {name}: {:?}", self.hellos);
                let mut count = 0;
                for record in self.records_of(name) {
                    let found = (record.verdict, record.name_source);
                    assert_eq!(found, (verdict, NameSource::Tls), "{record:?}");
                    count += 1;
                }
                assert!(count > 0, "no record of {name}: {:?}", self.records);
            }
        }
        super::only_the_allowed_were_shown(
            &self.web,
            self.loaded.clone(),
            &self.allowed,
            &self.blocked,
        )
    }
}

fn start_sensor(lab: &Lab, mode: Mode, https_records: &str) -> Result<Sensor> {
    let policy = format!(
        "{POLICY}\n[[group]]\nname = \"resolvers\"\nprefixes = [\"{RESOLVER}/32\"]\nblock = []\n\n\
         [group.dns]\nhttps_records = \"{https_records}\"\n"
    );
    let list = ("lists/casinos.txt".to_owned(), format!("{BLOCKED}\n"));
    let setup = Setup { mode, files: vec![list], ..Setup::with_policy(&policy) };
    Sensor::start(lab, &sensor::binary()?, &setup)
}

/// As [RFC 9460 section 2.2](https://www.rfc-editor.org/rfc/rfc9460#section-2.2) has it: priority 1, the name
/// itself, and `ech` with one configuration.
fn https_record() -> Vec<u8> {
    const ECH: u16 = 5;
    let configurations = prefixed(&ech_configuration());
    [&[0, 1][..], &[0], &ECH.to_be_bytes(), &prefixed(&configurations)].concat()
}

/// As [RFC 9849 section 4](https://www.rfc-editor.org/rfc/rfc9849#section-4) has it.
fn ech_configuration() -> Vec<u8> {
    const VERSION: [u8; 2] = [0xfe, 0x0d];
    const X25519_HKDF_SHA256: [u8; 2] = [0, 0x20];
    const HKDF_SHA256_AES_128_GCM: [u8; 4] = [0, 1, 0, 1];
    // X25519's base point: any point is a key, and nobody decrypts here.
    let mut key = [0; 32];
    key[0] = 9;
    let (identifier, longest_name, no_extensions) = (&[7][..], &[64][..], &[0, 0][..]);
    let contents = [
        identifier,
        &X25519_HKDF_SHA256,
        &prefixed(&key),
        &prefixed(&HKDF_SHA256_AES_128_GCM),
        longest_name,
        &[u8::try_from(OUTER.len()).expect("a name of a few bytes")],
        OUTER.as_bytes(),
        no_extensions,
    ];
    [&VERSION[..], &prefixed(&contents.concat())].concat()
}

/// Behind its length in two bytes.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a few bytes");
    [&length.to_be_bytes(), bytes].concat()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes all that is written");
    }
    text
}
