//! Pseudonyms in place of what names a person in records: users, host names and MAC addresses.
//!
//! A pseudonym is a keyed hash (HMAC-SHA256, RFC 2104), so it says nothing to who has records and no key. What it stands for
//! is found by trying who it may be ([`reidentify`]), with the key, which is kept apart from the records, and never without a
//! line in the [`audit`] log.
//!
//! Addresses stay as they are: the daemon needs them to find after a crash what was told already, and collectors know
//! flows by them. Who was at an address is in other files, of the identity journal and of DHCP servers.

pub mod audit;
mod key;
pub mod reidentify;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub use self::key::KeyError;
use crate::hex::{hex, unhex};
use crate::policy::member::Mac;
use crate::record::Record;

/// Begins a pseudonym of a text.
const PREFIX: &str = "p-";

/// Bytes of a pseudonym: 128 bits, under which a campus has no two alike.
const PSEUDONYM_BYTES: usize = 16;

/// Bytes of a key: those of the hash.
const KEY_BYTES: usize = 32;

/// A key.
type Key = [u8; KEY_BYTES];

/// What records have in place of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pseudonymise {
    /// Names as they are.
    #[default]
    Off,
    /// The same pseudonym for as long as the key is the same.
    Keyed,
    /// Another one each day.
    Daily,
}

impl Pseudonymise {
    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Keyed => "keyed",
            Self::Daily => "daily",
        }
    }
}

/// What is named. Pseudonyms of equal texts differ from kind to kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A user.
    User,
    /// What a device calls itself.
    HostName,
    /// A device.
    Mac,
}

impl Kind {
    /// The name of the record's field.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::HostName => "host_name",
            Self::Mac => "mac",
        }
    }
}

/// Makes pseudonyms.
#[derive(Clone, PartialEq, Eq)]
pub struct Pseudonyms {
    master: Key,
    is_daily: bool,
}

impl fmt::Debug for Pseudonyms {
    /// Without the key.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Pseudonyms").field("is_daily", &self.is_daily).finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// With the key in a file, which is made where there is none; nothing where names are to stay.
    pub fn open(how: Pseudonymise, key_file: &Path) -> Result<Option<Self>, KeyError> {
        Self::with(how, || key::read_or_make(key_file))
    }

    /// With the key in a file that must be there.
    pub fn read(how: Pseudonymise, key_file: &Path) -> Result<Option<Self>, KeyError> {
        Self::with(how, || key::read(key_file))
    }

    fn with(
        how: Pseudonymise,
        key: impl FnOnce() -> Result<Key, KeyError>,
    ) -> Result<Option<Self>, KeyError> {
        let is_daily = match how {
            Pseudonymise::Off => return Ok(None),
            Pseudonymise::Keyed => false,
            Pseudonymise::Daily => true,
        };
        Ok(Some(Self { master: key()?, is_daily }))
    }

    /// Puts pseudonyms in place of names, as of the UTC days that records end in.
    pub fn cover(&self, records: &mut [Record]) {
        let mut of_day: Option<(Option<Date>, Namer)> = None;
        for record in records {
            let day = self.is_daily.then(|| day_of(record.end_us));
            let namer = match of_day {
                Some((known, namer)) if known == day => namer,
                Some(_) | None => self.namer(day),
            };
            of_day = Some((day, namer));
            record.user = record.user.as_deref().map(|user| namer.text(Kind::User, user));
            record.host_name =
                record.host_name.as_deref().map(|name| namer.text(Kind::HostName, name));
            record.mac = record.mac.map(|mac| namer.mac(mac));
            record.mac_randomised = record.mac.map(Mac::is_local);
        }
    }

    /// What makes pseudonyms of one day, or those that stay.
    pub(crate) fn namer(&self, day: Option<Date>) -> Namer {
        let what = day.map_or_else(|| "always".to_owned(), |day| day.to_string());
        Namer(keyed(&self.master, &["campus-sensor pseudonyms", &what]))
    }

    /// What a user may be called in a day's records, whichever way was configured when they were made.
    pub fn users(&self, day: Date, user: &str) -> [String; 2] {
        [None, Some(day)].map(|day| self.namer(day).text(Kind::User, user))
    }

    /// The same of a device.
    pub fn macs(&self, day: Date, mac: Mac) -> [Mac; 2] {
        [None, Some(day)].map(|day| self.namer(day).mac(mac))
    }

    /// A hash of an answer that nobody makes without the key: names of a campus are few enough to be tried.
    pub(crate) fn digest(&self, answer: &str) -> String {
        hex(keyed(&self.master, &["campus-sensor answer", answer]))
    }
}

/// Pseudonyms under one key.
#[derive(Clone, Copy)]
pub(crate) struct Namer(Key);

impl Namer {
    /// The pseudonym of a text: `p-` and 32 hexadecimal digits.
    pub(crate) fn text(&self, kind: Kind, text: &str) -> String {
        let hash = keyed(&self.0, &[kind.name(), text]);
        let (short, _) = hash.split_at(PSEUDONYM_BYTES);
        format!("{PREFIX}{}", hex(short))
    }

    /// The pseudonym of a MAC address: one that is locally administered, so that it has its place in every format. It has
    /// 46 bits: among a hundred thousand devices two are alike once in ten thousand campuses.
    pub(crate) fn mac(&self, mac: Mac) -> Mac {
        let hash = keyed(&self.0, &[Kind::Mac.name(), &mac.to_string()]);
        let mut bytes = [0; 6];
        bytes.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        let [first, ..] = &mut bytes;
        // Of one device, and locally administered (IEEE 802, section 8.2).
        *first = *first & !0x01 | 0x02;
        Mac(bytes)
    }
}

/// Whether a text is a pseudonym of a text.
pub fn is_pseudonym(text: &str) -> bool {
    let digits = text.strip_prefix(PREFIX).and_then(unhex);
    digits.is_some_and(|bytes| bytes.len() == PSEUDONYM_BYTES)
}

/// HMAC-SHA256 of texts, each behind its length.
fn keyed(key: &Key, texts: &[&str]) -> Key {
    let mut hash = <Hmac<Sha256>>::new_from_slice(key).expect("HMAC takes a key of any length");
    for text in texts {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into_bytes().into()
}

/// The UTC day of a time, µs since 1970; what no calendar has is the first.
fn day_of(time_us: i64) -> Date {
    let time = Timestamp::from_microsecond(time_us).unwrap_or(Timestamp::MIN);
    time.to_zoned(TimeZone::UTC).date()
}
