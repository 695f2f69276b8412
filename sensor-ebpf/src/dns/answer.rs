//! The answer to a query, made of the query itself: its identifier and questions stay as they are, byte
//! for byte, so that a stub which plays with the case of its names knows them again.

use super::message::{HEADER, MessageReader, QUESTIONS_MAX, TYPE_A, TYPE_AAAA};
use crate::abi::{BlockedAnswer, DnsRules};
use crate::cursor::Window;

/// Seconds a sinkhole's address may be kept: a name that is allowed again works within a minute.
pub const ANSWER_TTL_S: u32 = 60;

/// Bytes of a record with an IPv6 address: a pointer to the name, the tail, the address.
const ADDRESS_RECORD_MAX: u32 = 2 + 10 + 16;
/// Bytes of an OPT record with an extended error: name, tail, and the option.
const OPT_RECORD: u32 = 11 + 6;

/// Bytes of the longest answer.
pub const ANSWER_MAX: u32 =
    HEADER + QUESTIONS_MAX as u32 * (255 + 4) + ADDRESS_RECORD_MAX + OPT_RECORD;

/// QR, and RA: this is an answer, and there is recursion (RFC 1035 section 4.1.1).
const ANSWERED: u32 = 0x8080;
/// RD and CD are the asker's (RFC 1035 section 4.1.1, RFC 4035 section 3.2.2).
const ECHOED: u32 = 0x0110;
const NXDOMAIN: u32 = 3;

/// A pointer to the first question's name (RFC 1035 section 4.1.4).
const FIRST_NAME: u32 = 0xc000 | HEADER;
const INTERNET: u32 = 1;
const OPT: u32 = 41;
/// Bytes of UDP this gateway could take (RFC 6891 section 6.2.5; what fits every path).
const UDP_SIZE: u32 = 1232;
/// DO (RFC 3225 section 3).
const DNSSEC_OK: u32 = 0x8000;
/// RFC 8914 section 2, and its code 15: blocked.
const EXTENDED_ERROR: u32 = 15;
const BLOCKED: u32 = 15;

/// What the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Content {
    /// What the rules say of a blocked name.
    Blocked = 0,
    /// There is no such name, whatever the rules say.
    NoSuchName = 1,
    /// There is no record of this type.
    NoRecord = 2,
}

/// Turns the query in the window, walked by `message`, into its answer. Gives the bytes of the answer;
/// three zeroes follow them in the window.
#[inline(always)]
pub fn compose(
    window: &mut Window,
    message: &MessageReader,
    content: Content,
    rules: &DnsRules,
) -> u32 {
    let mut at = message.questions_end;
    let mut answers = 0;
    let sinkhole = content == Content::Blocked && rules.answer == BlockedAnswer::Sinkhole as u8;
    // The record names the first question, so it must be the only one.
    if sinkhole && message.questions == 1 {
        let after = address_record(window, at, message.kind(0), rules);
        answers = u32::from(after != at);
        at = after;
    }
    let no_name = content == Content::NoSuchName
        || content == Content::Blocked && rules.answer == BlockedAnswer::NxDomain as u8;
    let asked = (u64::from_be(window.word(0)) >> 32) as u32;
    let code = if no_name { NXDOMAIN } else { 0 };
    window.put16(2, ANSWERED | asked & ECHOED | code);
    window.put16(4, message.questions);
    window.put16(6, answers);
    window.put32(8, message.edns);
    if message.edns != 0 {
        at = opt_record(window, at, message.edns_flags & DNSSEC_OK);
    }
    window.put32(at, 0);
    window.length = at;
    at
}

/// The sinkhole's address, if there is one of this type. Gives the offset behind it.
#[inline(always)]
fn address_record(window: &mut Window, at: u32, kind: u32, rules: &DnsRules) -> u32 {
    let is_v4 = kind == TYPE_A && rules.sinkhole4 != [0; 4];
    let is_v6 = kind == TYPE_AAAA && rules.sinkhole6 != [0; 16];
    if !is_v4 && !is_v6 {
        return at;
    }
    window.put16(at, FIRST_NAME);
    window.put16(at + 2, kind);
    window.put16(at + 4, INTERNET);
    window.put32(at + 6, ANSWER_TTL_S);
    if is_v4 {
        window.put16(at + 10, 4);
        window.put_word(at + 12, u32::from_ne_bytes(rules.sinkhole4));
        return at + 16;
    }
    window.put16(at + 10, 16);
    let (words, _) = rules.sinkhole6.as_chunks();
    let mut to = at + 12;
    for word in words {
        window.put_word(to, u32::from_ne_bytes(*word));
        to += 4;
    }
    at + ADDRESS_RECORD_MAX
}

/// EDNS as the query had it, and why there is no better answer. Gives the offset behind it.
#[inline(always)]
fn opt_record(window: &mut Window, at: u32, flags: u32) -> u32 {
    // The root's name, and the first byte of the type.
    window.put16(at, 0);
    window.put16(at + 1, OPT);
    window.put16(at + 3, UDP_SIZE);
    window.put32(at + 5, flags);
    window.put16(at + 9, 6);
    window.put16(at + 11, EXTENDED_ERROR);
    window.put16(at + 13, 2);
    window.put16(at + 15, BLOCKED);
    at + OPT_RECORD
}
