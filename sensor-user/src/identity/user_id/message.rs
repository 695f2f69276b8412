//! A message: `<uid-message><type>update</type><payload><login><entry name ip timeout/>…`.
//!
//! A document type is refused, and with it every entity that is not one of XML's own five: nothing in a message grows.

use std::net::IpAddr;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::identity::Refusal;

/// How deep elements lie: an entry is the fourth.
const DEPTH_MAX: usize = 8;

/// Longest timeout that is told apart from longer ones, minutes: a month.
const TIMEOUT_MAX_MIN: u32 = 31 * 24 * 60;

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Who has logged in where, and for how many minutes that holds, where it says so.
    pub logins: Vec<(IpAddr, String, Option<u32>)>,
    /// Who has logged out where.
    pub logouts: Vec<(IpAddr, String)>,
    /// Entries that name nobody or no address.
    pub refused: usize,
}

/// Where an entry stands.
#[derive(Clone, Copy)]
enum Kind {
    Login,
    Logout,
}

/// Reads a message.
pub fn read(text: &str) -> Result<Message, Refusal> {
    let mut reader = Reader::from_str(text);
    let mut message = Message::default();
    let mut path: Vec<String> = Vec::new();
    let mut is_message = false;
    loop {
        match reader.read_event().map_err(|_error| Refusal::UserIdMessage)? {
            Event::Start(element) => {
                is_message |= path.is_empty() && element.name().as_ref() == "uid-message";
                take(&element, &path, &mut message);
                path.push(element.name().as_ref().to_owned());
                if path.len() > DEPTH_MAX {
                    return Err(Refusal::UserIdMessage);
                }
            }
            Event::Empty(element) => take(&element, &path, &mut message),
            Event::End(_) => {
                path.pop();
            }
            Event::DocType(_) => return Err(Refusal::UserIdMessage),
            Event::Eof => break,
            // Version and type say what the rest says too, and groups are the policy's.
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::GeneralRef(_) => {}
        }
    }
    if is_message && path.is_empty() { Ok(message) } else { Err(Refusal::UserIdMessage) }
}

fn take(element: &BytesStart<'_>, path: &[String], message: &mut Message) {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let kind = match (path.as_slice(), element.name().as_ref()) {
        (["uid-message", "payload", "login"], "entry") => Kind::Login,
        (["uid-message", "payload", "logout"], "entry") => Kind::Logout,
        _ => return,
    };
    let Some((address, name, timeout)) = entry(element) else {
        message.refused += 1;
        return;
    };
    match kind {
        Kind::Login => message.logins.push((address, name, timeout)),
        Kind::Logout => message.logouts.push((address, name)),
    }
}

fn entry(element: &BytesStart<'_>) -> Option<(IpAddr, String, Option<u32>)> {
    let attribute = |name: &str| -> Option<Option<String>> {
        let Some(attribute) = element.try_get_attribute(name).ok()? else { return Some(None) };
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
        Some(Some(value.into_owned()))
    };
    let address = attribute("ip")??.trim().parse().ok()?;
    let name = attribute("name")??;
    let timeout = match attribute("timeout")? {
        Some(minutes) => Some(minutes.trim().parse::<u32>().ok()?.min(TIMEOUT_MAX_MIN)),
        None => None,
    };
    Some((address, name, timeout))
}
