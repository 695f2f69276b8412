//! A walk over a message (RFC 1035 section 4.1): where its questions lie, and its records.

use crate::abi::NoName;
use crate::cursor::{Window, bound};

/// Bytes of a header (section 4.1.1).
pub const HEADER: u32 = 12;

/// Questions read of a query. A query has one (RFC 9619); servers refuse those with more.
pub const QUESTIONS_MAX: usize = 4;

/// Records walked of a message: answers have a few, queries one or two.
pub const RECORDS_MAX: u32 = 64;

/// Steps of a walk: the header, and for each question or record its labels and what stands behind them.
/// Beyond them the rest of a message is not read.
pub const MESSAGE_STEPS_MAX: u32 = 1024;

/// Bytes of a name on the wire (section 2.3.4).
const NAME_WIRE_MAX: u32 = 255;

/// Type and class of a question (section 4.1.2).
const QUESTION_TAIL: u32 = 4;
/// Type, class, time to live and length of a record (section 4.1.3).
const RECORD_TAIL: u32 = 10;

/// An IPv4 address.
pub const TYPE_A: u32 = 1;
/// An IPv6 address (RFC 3596 section 2.1).
pub const TYPE_AAAA: u32 = 28;
/// EDNS (RFC 6891 section 6.1.1).
const TYPE_OPT: u32 = 41;
/// Service binding (RFC 9460 section 14.1).
pub const TYPE_SVCB: u32 = 64;
/// The same for HTTPS.
pub const TYPE_HTTPS: u32 = 65;

/// QR of the flags: the message is an answer.
const RESPONSE: u32 = 0x8000;
const OPCODE: u32 = 0x7800;

/// A record, as far as it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// Its type; 0 where the last step read no record.
    pub kind: u32,
    /// Its class.
    pub class: u32,
    /// Offset of the type.
    pub at: u32,
    /// Offset of the data.
    pub data: u32,
    /// Bytes of the data.
    pub length: u32,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// Records of the answer section behind it, and itself; 0 beyond that section.
    pub answer: u32,
}

// What is read next. What stands behind a name has the number after it.
const START: u32 = 0;
const QUESTION_NAME: u32 = 1;
const QUESTION: u32 = QUESTION_NAME + 1;
const RECORD_NAME: u32 = 3;

/// Where the walk is, and what it has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MessageReader {
    field: u32,
    at: u32,
    /// Bytes of the present name so far.
    name_bytes: u32,
    /// Offset of the present name.
    name_at: u32,
    questions_left: u32,
    answers_left: u32,
    records_left: u32,
    /// 1 where an answer is walked, 0 for a query.
    is_answer: u32,
    /// Questions that were read whole.
    pub questions: u32,
    /// Offset behind the last of them.
    pub questions_end: u32,
    /// Offsets of their names.
    names_at: [u32; QUESTIONS_MAX],
    /// Their types.
    kinds: [u32; QUESTIONS_MAX],
    /// 1 where there is an OPT record.
    pub edns: u32,
    /// Its extended flags (RFC 6891 section 6.1.3).
    pub edns_flags: u32,
    /// Why the walk ended within the questions, a [`NoName`]; 0 where it did not.
    pub reason: u32,
    /// The record that the last step read.
    pub record: Record,
}

impl MessageReader {
    /// Starts over a query.
    #[inline(always)]
    pub const fn begin_query(&mut self) {
        self.begin();
        self.is_answer = 0;
    }

    /// Starts over an answer.
    #[inline(always)]
    pub const fn begin_answer(&mut self) {
        self.begin();
        self.is_answer = 1;
    }

    /// Field by field: the value lives in a map.
    #[inline(always)]
    const fn begin(&mut self) {
        self.field = START;
        self.at = 0;
        self.name_bytes = 0;
        self.name_at = 0;
        self.questions_left = 0;
        self.answers_left = 0;
        self.records_left = 0;
        self.questions = 0;
        self.questions_end = HEADER;
        self.edns = 0;
        self.edns_flags = 0;
        self.reason = 0;
        self.record.kind = 0;
    }

    /// Why a query's questions could not all be read.
    #[inline(always)]
    pub fn reason(&self) -> NoName {
        NoName::try_from(self.reason as u8).unwrap_or(NoName::DnsMalformed)
    }

    /// Offset of the name of a question.
    #[inline(always)]
    pub fn name_at(&self, question: u32) -> u32 {
        let index = bound::<{ QUESTIONS_MAX as u32 - 1 }>(question) as usize;
        // SAFETY: the mask keeps the index below the length of the array.
        unsafe { *self.names_at.as_ptr().add(index) }
    }

    /// Type of a question.
    #[inline(always)]
    pub fn kind(&self, question: u32) -> u32 {
        let index = bound::<{ QUESTIONS_MAX as u32 - 1 }>(question) as usize;
        // SAFETY: the mask keeps the index below the length of the array.
        unsafe { *self.kinds.as_ptr().add(index) }
    }

    /// Reads the header, a label, or what stands behind a name. `false`: the walk is over.
    #[inline(always)]
    pub fn step(&mut self, window: &Window) -> bool {
        self.record.kind = 0;
        match self.field {
            START => self.header(window),
            QUESTION_NAME | RECORD_NAME => self.label(window),
            QUESTION => self.question(window),
            _ => self.record(window),
        }
    }

    #[inline(always)]
    fn stop(&mut self, reason: NoName) -> bool {
        // Beyond the questions nothing is missed: a record that cannot be read is none.
        if self.field < RECORD_NAME {
            self.reason = reason as u32;
        }
        false
    }

    #[inline(always)]
    fn header(&mut self, window: &Window) -> bool {
        if window.length < HEADER {
            return self.stop(NoName::NoQuery);
        }
        let word = |at: u32| u64::from_be(window.word(at));
        let (first, second) = (word(0), word(8));
        let flags = (first >> 32) as u32 & 0xffff;
        self.questions_left = (first >> 16) as u32 & 0xffff;
        self.answers_left = first as u32 & 0xffff;
        self.records_left =
            self.answers_left + ((second >> 48) as u32 & 0xffff) + ((second >> 32) as u32 & 0xffff);
        let expected = if self.is_answer != 0 { RESPONSE } else { 0 };
        if flags & (RESPONSE | OPCODE) != expected || self.questions_left == 0 {
            return self.stop(NoName::NoQuery);
        }
        self.at = HEADER;
        self.begin_name(QUESTION_NAME);
        true
    }

    #[inline(always)]
    const fn begin_name(&mut self, field: u32) {
        self.field = field;
        self.name_at = self.at;
        self.name_bytes = 1;
    }

    /// A label, the root, or a pointer, which ends a name (section 4.1.4). Where it points to is
    /// another reader's matter.
    #[inline(always)]
    fn label(&mut self, window: &Window) -> bool {
        let Ok(byte) = window.u8(self.at) else { return self.stop(NoName::DnsTruncated) };
        let length = u32::from(byte);
        if length >= 0xc0 {
            self.at += 2;
            self.field += 1;
            return true;
        }
        if length >= 0x40 {
            return self.stop(NoName::DnsMalformed);
        }
        self.at += 1 + length;
        if length == 0 {
            self.field += 1;
            return true;
        }
        self.name_bytes += 1 + length;
        if self.name_bytes > NAME_WIRE_MAX {
            return self.stop(NoName::DnsMalformed);
        }
        true
    }

    #[inline(always)]
    fn question(&mut self, window: &Window) -> bool {
        if self.at + QUESTION_TAIL > window.length {
            return self.stop(NoName::DnsTruncated);
        }
        let index = bound::<{ QUESTIONS_MAX as u32 - 1 }>(self.questions) as usize;
        let kind = (u64::from_be(window.word(self.at)) >> 48) as u32;
        // SAFETY: the mask keeps the index below the length of both arrays.
        unsafe {
            *self.names_at.as_mut_ptr().add(index) = self.name_at;
            *self.kinds.as_mut_ptr().add(index) = kind;
        }
        self.at += QUESTION_TAIL;
        self.questions += 1;
        self.questions_end = self.at;
        self.questions_left -= 1;
        if self.questions_left == 0 {
            return self.next_record();
        }
        if self.questions == QUESTIONS_MAX as u32 {
            return self.stop(NoName::DnsMalformed);
        }
        self.begin_name(QUESTION_NAME);
        true
    }

    #[inline(always)]
    fn next_record(&mut self) -> bool {
        self.begin_name(RECORD_NAME);
        self.records_left != 0
    }

    #[inline(always)]
    fn record(&mut self, window: &Window) -> bool {
        if self.at + RECORD_TAIL > window.length {
            return false;
        }
        let first = u64::from_be(window.word(self.at));
        let kind = (first >> 48) as u32;
        let length = (u64::from_be(window.word(self.at + 8)) >> 48) as u32;
        let data = self.at + RECORD_TAIL;
        if data + length > window.length {
            return false;
        }
        if kind == TYPE_OPT {
            self.edns = 1;
            self.edns_flags = first as u32 & 0xffff;
        }
        self.record = Record {
            kind,
            class: (first >> 32) as u32 & 0xffff,
            at: self.at,
            data,
            length,
            ttl: first as u32,
            answer: self.answers_left,
        };
        self.at = data + length;
        self.records_left -= 1;
        if self.answers_left != 0 {
            self.answers_left -= 1;
        }
        self.next_record()
    }
}
