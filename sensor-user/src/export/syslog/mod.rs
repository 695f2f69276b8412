//! Syslog (RFC 5424) of blocks, alerts and evasions, one message each.
//!
//! Over UDP a message is a datagram (RFC 5426), over TCP its length goes before it (RFC 6587 section 3.4.1).

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fields::{Field, Fields};
use super::message::{Encoder, Message, cut, fitted};
use super::occurrence::Occurrence;
use crate::record::Record;

/// Longest message over UDP: what receivers should be able to take (RFC 5426 section 3.2).
const DATAGRAM_BYTES: usize = 2048;

/// Longest message over TCP: what rsyslog takes by default.
const STREAM_BYTES: usize = 8192;

/// Cuts of each value of a message that is too long. With the last, forty-one values and all names are below 2048 bytes.
const CUTS: &[usize] = &[255, 64, 16];

/// Bytes of each value in the sentence: the whole of it is in the structured data.
const SENTENCE_VALUE_BYTES: usize = 255;

/// Facility `local0`: those before it are the system's own.
const FACILITY: u8 = 16;

/// What carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One a datagram.
    Datagram,
    /// One behind the other, each after its length.
    OctetCounting,
}

/// Records as messages of syslog.
pub struct Syslog {
    fields: Fields,
    framing: Framing,
    enterprise: u32,
}

impl Syslog {
    /// An encoder that tells these fields, in structured data of that enterprise.
    pub const fn new(fields: Fields, framing: Framing, enterprise: u32) -> Self {
        Self { fields, framing, enterprise }
    }

    fn written(&self, occurrence: Occurrence, record: &Record, bytes: usize) -> Vec<u8> {
        let priority = FACILITY * 8 + severity(occurrence);
        let time = Timestamp::from_microsecond(record.end_us).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let host = if self.fields.has(Field::Sensor) { cut(&record.sensor, bytes) } else { "-" };
        let id = occurrence.name().to_ascii_uppercase();
        let mut message =
            format!("<{priority}>1 {time} {host} campus-sensor - {id} [flow@{}", self.enterprise);
        for field in self.fields.iter() {
            let text = field.value(record).text();
            if !text.is_empty() {
                let value = escaped(cut(&text, bytes));
                write!(message, " {}=\"{value}\"", field.name())
                    .expect("a String takes all that is written");
            }
        }
        message.push_str("] ");
        message.push_str(&self.sentence(occurrence, record, bytes));
        message.into_bytes()
    }

    /// What happened, for people.
    fn sentence(&self, occurrence: Occurrence, record: &Record, bytes: usize) -> String {
        let what = match occurrence {
            Occurrence::Evasion => "two versions of one hello",
            Occurrence::Block => "blocked",
            Occurrence::Alert => "told of by policy",
        };
        let shown = |field: Field| {
            let text =
                if self.fields.has(field) { field.value(record).text() } else { String::new() };
            cut(&text, bytes.min(SENTENCE_VALUE_BYTES)).to_owned()
        };
        let mut sentence = what.to_owned();
        for (before, field) in
            [(": ", Field::Name), (" for ", Field::Device), (", ", Field::Categories)]
        {
            let text = shown(field);
            if !text.is_empty() {
                sentence.push_str(before);
                sentence.push_str(&text);
            }
        }
        sentence
    }
}

impl Encoder for Syslog {
    fn message(&mut self, records: &[&Record]) -> Message {
        let Some((record, occurrence)) =
            records.first().and_then(|record| Some((record, Occurrence::of(record)?)))
        else {
            // Nothing happened in it; an export's filter lets none of these through.
            return Message { bytes: Vec::new(), records: 1 };
        };
        let written = |cut| self.written(occurrence, record, cut);
        let bytes = match self.framing {
            Framing::Datagram => fitted(DATAGRAM_BYTES, CUTS, written),
            Framing::OctetCounting => {
                let message = fitted(STREAM_BYTES, CUTS, written);
                [format!("{} ", message.len()).into_bytes(), message].concat()
            }
        };
        Message { bytes, records: 1 }
    }
}

/// Severities of RFC 5424 section 6.2.1: a warning is something to look into, a notice is policy at work.
const fn severity(occurrence: Occurrence) -> u8 {
    const WARNING: u8 = 4;
    const NOTICE: u8 = 5;
    match occurrence {
        Occurrence::Evasion | Occurrence::Alert => WARNING,
        Occurrence::Block => NOTICE,
    }
}

/// A value of structured data (RFC 5424 section 6.3.3).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests;
