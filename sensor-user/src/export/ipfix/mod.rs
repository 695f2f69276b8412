//! IPFIX (RFC 7011) over UDP and TCP.
//!
//! [`elements`] are the columns, [`mod@templates`] tells them to collectors, [`mod@write`] makes bytes of all. Templates come
//! first on a connection; over UDP, where a collector may have missed them, again and again. The sequence number counts
//! data records, those of options too, so that a collector sees what it has missed; it starts at nothing with each
//! connection.

mod elements;
mod templates;
#[cfg(test)]
mod tests;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::elements::{Element, Half};
use self::templates::{Sent, columns, options, template_id, templates, types};
use self::write::{Family, HEADER_BYTES, SET_BYTES, message, set, value};
use super::fields::{Field, Fields};
use super::message::{Encoder, Message, fitted};
use super::state::State;
use crate::config::{Directions, Export};
use crate::record::Record;

/// Bytes of a message over UDP: what an Ethernet of 1500 bytes carries below the headers of IPv6 and UDP, and of a tunnel
/// (RFC 7011 section 10.3.3 wants no fragments).
const DATAGRAM_BYTES: usize = 1400;

/// Bytes of a message over TCP: enough that its header costs nothing, and a collector's buffer holds it.
const STREAM_BYTES: usize = 16 * 1024;

/// Time after which templates are told again over UDP (RFC 7011 section 8.1 wants them again and again): what a collector
/// that starts anew leaves unread at most.
const TEMPLATES_AGAIN: Duration = Duration::from_mins(1);

/// Messages after which they are told again: a busy exporter's collector that starts anew waits no minute.
const TEMPLATES_AGAIN_MESSAGES: u32 = 4096;

/// Cuts of each text of a data record that is too long for a message. With the last, any is below 1400 bytes.
const CUTS: &[usize] = &[255, 64, 16];

/// What carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// UDP: messages get lost.
    Datagrams,
    /// TCP.
    Stream,
}

/// What is told before records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Templates,
    Options,
    Types,
}

const PARTS: [Part; 3] = [Part::Templates, Part::Options, Part::Types];

/// Records as messages of IPFIX.
pub struct Ipfix {
    fields: Fields,
    directions: Directions,
    enterprise: u32,
    domain: u32,
    carrier: Carrier,
    columns: Vec<&'static Element>,
    sensor: String,
    state: Arc<State>,
    sequence: u32,
    sent: Sent,
    due: VecDeque<Part>,
    told: Option<Instant>,
    messages_since: u32,
    /// Data records that the last message told of the record that comes next.
    halves_told: usize,
}

impl Ipfix {
    /// An encoder of that sensor's records. `state` tells what was shed.
    pub fn new(export: &Export, carrier: Carrier, sensor: &str, state: Arc<State>) -> Self {
        let Export { fields, enterprise, ipfix, .. } = export;
        let sensor = if fields.has(Field::Sensor) { sensor.to_owned() } else { String::new() };
        let since_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        Self {
            fields: *fields,
            directions: ipfix.directions,
            enterprise: *enterprise,
            domain: ipfix.domain,
            carrier,
            columns: columns(*fields, ipfix.directions),
            sensor,
            state,
            sequence: 0,
            sent: Sent { since_ms, ..Sent::default() },
            due: PARTS.into(),
            told: None,
            messages_since: 0,
            halves_told: 0,
        }
    }

    const fn room(&self) -> usize {
        match self.carrier {
            Carrier::Datagrams => DATAGRAM_BYTES,
            Carrier::Stream => STREAM_BYTES,
        }
    }

    /// A message of sets that have so many data records.
    fn finish(&mut self, sets: &[u8], records: u32) -> Vec<u8> {
        let export_s = u32::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let message = message(sets, export_s, self.sequence, self.domain);
        self.sequence = self.sequence.wrapping_add(records);
        self.sent.messages += 1;
        self.messages_since += 1;
        message
    }

    /// The data records of a flow record. Each fits a message by itself.
    fn halves(&self, record: &Record) -> impl Iterator<Item = Vec<u8>> {
        let forth = Half { record, fields: self.fields, is_back: false };
        let back = Half { is_back: true, ..forth };
        // What nobody sent is no flow; the device's side is told in any case, so that each record is.
        let is_told = self.directions == Directions::Uniflow && record.packets_to_lan > 0;
        let family = Family::of(record);
        [Some(forth), is_told.then_some(back)].into_iter().flatten().map(move |half| {
            fitted(self.room() - HEADER_BYTES - SET_BYTES, CUTS, |text_bytes| {
                let mut written = Vec::new();
                for column in &self.columns {
                    let told = (column.value)(&half);
                    value(&told, column.form, family, text_bytes, &mut written);
                }
                written
            })
        })
    }

    /// Sets of as many data records as fit, of the leading records, and how many of each are in them.
    fn sets(&self, records: &[&Record]) -> Filled {
        let mut filled = Filled { halves_told: self.halves_told, ..Filled::default() };
        for record in records {
            let id = template_id(Family::of(record));
            for half in self.halves(record).skip(filled.halves_told) {
                let set = set(id, &half);
                if filled.told > 0 && HEADER_BYTES + filled.sets.len() + set.len() > self.room() {
                    return filled;
                }
                filled.sets.extend(set);
                filled.told += 1;
                filled.halves_told += 1;
            }
            filled.halves_told = 0;
            filled.records += 1;
        }
        filled
    }
}

/// What goes into one message.
#[derive(Default)]
struct Filled {
    sets: Vec<u8>,
    /// Data records in it.
    told: u32,
    /// Records that are done with.
    records: usize,
    /// Data records told of the one that comes next, which did not fit as a whole.
    halves_told: usize,
}

impl Encoder for Ipfix {
    fn restart(&mut self) {
        (self.sequence, self.halves_told) = (0, 0);
        self.due = PARTS.into();
        self.told = None;
    }

    fn opening(&mut self, now: Instant) -> Option<Message> {
        let is_old = self.told.is_some_and(|told| now.duration_since(told) >= TEMPLATES_AGAIN)
            || self.messages_since >= TEMPLATES_AGAIN_MESSAGES;
        if self.carrier == Carrier::Datagrams && is_old && self.due.is_empty() {
            self.due = PARTS.into();
        }
        let part = self.due.pop_front()?;
        self.told = Some(now);
        let (sets, records) = match part {
            Part::Templates => (templates(&self.columns, self.enterprise), 0),
            Part::Options => {
                let sent = Sent { shed: self.state.shed(), ..self.sent };
                options(self.domain, &self.sensor, sent)
            }
            Part::Types => types(&self.columns, self.enterprise),
        };
        if sets.is_empty() {
            // None of the columns is ours: there is nothing to tell of them, and nothing is due behind it.
            return None;
        }
        let bytes = self.finish(&sets, records);
        self.messages_since = 0;
        Some(Message { bytes, records: 0 })
    }

    fn message(&mut self, records: &[&Record]) -> Message {
        let Filled { sets, told, records, halves_told } = self.sets(records);
        self.halves_told = halves_told;
        self.sent.records += u64::from(told);
        Message { bytes: self.finish(&sets, told), records }
    }
}
