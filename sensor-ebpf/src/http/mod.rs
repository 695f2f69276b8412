//! The host of an HTTP/1 request (RFC 9112 sections 3.2 and 5).
//!
//! A machine over bytes: one call of [`HeadReader::step`] reads one byte. An absolute-form or
//! authority-form target names the host itself and beats the Host header (section 3.2.2).

use crate::abi::{NAME_MAX, NoName};
use crate::cursor::{WINDOW, Window};
use crate::flow::is_method_byte;
use crate::step::Step;

/// Longest method in the registry: `UPDATEREDIRECTREF`.
const METHOD_MAX: u32 = 17;

const HOST: [u8; 4] = *b"host";
const VERSION: [u8; 7] = *b"HTTP/1.";

/// What the reader expects next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Method,
    TargetStart,
    /// `http:` of an absolute-form target, or the host of an authority-form one.
    Scheme,
    SchemeColon,
    SchemeSlash,
    Authority,
    AuthorityRest,
    Target,
    Version,
    RequestLineEnd,
    LineStart,
    HeaderName,
    HostColon,
    HostSpace,
    HostValue,
    HeaderValue,
    HeadEnd,
}

/// Where the reader is in a request head, and the name once found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HeadReader {
    /// Offset of the next byte.
    at: u32,
    /// Offset of the name in the window.
    pub name_at: u32,
    /// Bytes of the name.
    pub name_length: u32,
    /// Bytes of an expected word matched so far.
    matched: u32,
    state: State,
    /// Inside the brackets of an IPv6 literal, colons belong to the name.
    bracket: u8,
    reserved: [u8; 6],
}

impl Default for HeadReader {
    fn default() -> Self {
        Self {
            at: 0,
            name_at: 0,
            name_length: 0,
            matched: 0,
            state: State::Method,
            bracket: 0,
            reserved: [0; 6],
        }
    }
}

impl HeadReader {
    /// Back to the start of a request, field by field: the value lives in a map.
    #[inline(always)]
    pub const fn begin(&mut self) {
        self.at = 0;
        self.name_at = 0;
        self.name_length = 0;
        self.matched = 0;
        self.state = State::Method;
        self.bracket = 0;
    }

    /// Reads one byte.
    #[inline(always)]
    pub fn step(&mut self, window: &Window) -> Step {
        // Long targets and header values go by eight bytes at a time.
        if matches!(self.state, State::Target | State::HeaderValue)
            && window.u64(self.at).is_ok_and(is_plain)
        {
            self.at += 8;
            return Step::More;
        }
        let Ok(byte) = window.u8(self.at) else {
            return Step::Stop(NoName::Truncated);
        };
        let step =
            if self.state_is_request_line() { self.request_line(byte) } else { self.header(byte) };
        self.at += 1;
        step
    }

    #[inline(always)]
    const fn state_is_request_line(&self) -> bool {
        (self.state as u8) < State::LineStart as u8
    }

    #[inline(always)]
    fn request_line(&mut self, byte: u8) -> Step {
        match self.state {
            State::Method => {
                if byte == b' ' && self.at > 0 {
                    self.state = State::TargetStart;
                } else if !is_method_byte(byte) || self.at >= METHOD_MAX {
                    return Step::Stop(NoName::NotTls);
                }
            }
            State::TargetStart => match byte {
                b' ' => {}
                b'/' | b'*' => self.state = State::Target,
                _ => {
                    self.begin_name(self.at);
                    self.bracket = u8::from(byte == b'[');
                    self.state = State::Scheme;
                }
            },
            State::Scheme => match byte {
                b':' if self.bracket == 0 => {
                    self.end_name();
                    self.state = State::SchemeColon;
                }
                b']' => self.bracket = 0,
                b' ' => return self.target_end_at_name(),
                b'\r' | b'\n' => return Step::Stop(NoName::NotTls),
                _ => {}
            },
            State::SchemeColon => {
                self.state = match byte {
                    b'/' => State::SchemeSlash,
                    b' ' => State::Version,
                    _ => State::AuthorityRest,
                };
            }
            State::SchemeSlash => {
                if byte != b'/' {
                    return Step::Stop(NoName::NotTls);
                }
                self.begin_name(self.at + 1);
                self.state = State::Authority;
            }
            State::Authority => match byte {
                // Userinfo (RFC 9110 section 4.2.4): the host comes after it.
                b'@' => self.begin_name(self.at + 1),
                b'[' => self.bracket = 1,
                b']' => self.bracket = 0,
                b'/' | b'?' | b'#' => {
                    self.end_name();
                    self.state = State::Target;
                }
                b':' if self.bracket == 0 => {
                    self.end_name();
                    self.state = State::AuthorityRest;
                }
                b' ' => return self.target_end_at_name(),
                b'\r' | b'\n' => return Step::Stop(NoName::NotTls),
                _ => {}
            },
            State::AuthorityRest => match byte {
                b'@' => {
                    self.begin_name(self.at + 1);
                    self.state = State::Authority;
                }
                b'/' | b'?' | b'#' => self.state = State::Target,
                b' ' => self.state = State::Version,
                b'\r' | b'\n' => return Step::Stop(NoName::NotTls),
                _ => {}
            },
            State::Target => match byte {
                b' ' => self.state = State::Version,
                b'\r' | b'\n' => return Step::Stop(NoName::NotTls),
                _ => {}
            },
            State::Version => return self.version(byte),
            State::RequestLineEnd => {
                if byte == b'\n' {
                    self.state = State::LineStart;
                }
            }
            State::LineStart
            | State::HeaderName
            | State::HostColon
            | State::HostSpace
            | State::HostValue
            | State::HeaderValue
            | State::HeadEnd => return Step::Stop(NoName::Malformed),
        }
        Step::More
    }

    #[inline(always)]
    fn header(&mut self, byte: u8) -> Step {
        match self.state {
            State::LineStart => match byte {
                b'\r' => self.state = State::HeadEnd,
                b'\n' => return Step::Stop(NoName::NoHost),
                // A folded line goes on with the header before it (RFC 9112 section 5.2).
                b' ' | b'\t' => self.state = State::HeaderValue,
                _ => {
                    self.matched = 0;
                    self.state = State::HeaderName;
                    self.header_name(byte);
                }
            },
            State::HeaderName => self.header_name(byte),
            State::HostColon => match byte {
                b':' => self.state = State::HostSpace,
                b' ' | b'\t' => {}
                b'\n' => self.state = State::LineStart,
                _ => self.state = State::HeaderValue,
            },
            State::HostSpace => match byte {
                b' ' | b'\t' => {}
                b'\r' | b'\n' => return self.line_end(byte),
                b':' => return Step::Stop(NoName::Malformed),
                _ => {
                    self.begin_name(self.at);
                    self.bracket = u8::from(byte == b'[');
                    self.state = State::HostValue;
                }
            },
            State::HostValue => match byte {
                b']' => self.bracket = 0,
                b':' if self.bracket == 0 => return self.host_end(),
                b' ' | b'\t' | b'\r' | b'\n' => return self.host_end(),
                _ => {}
            },
            State::HeaderValue => return self.line_end(byte),
            State::HeadEnd => {
                return Step::Stop(if byte == b'\n' { NoName::NoHost } else { NoName::Malformed });
            }
            State::Method
            | State::TargetStart
            | State::Scheme
            | State::SchemeColon
            | State::SchemeSlash
            | State::Authority
            | State::AuthorityRest
            | State::Target
            | State::Version
            | State::RequestLineEnd => return Step::Stop(NoName::Malformed),
        }
        Step::More
    }

    #[inline(always)]
    fn version(&mut self, byte: u8) -> Step {
        if byte == b' ' && self.matched == 0 {
            return Step::More;
        }
        let expected = match self.matched {
            0 => VERSION[0],
            1 => VERSION[1],
            2 => VERSION[2],
            3 => VERSION[3],
            4 => VERSION[4],
            5 => VERSION[5],
            _ => VERSION[6],
        };
        if byte != expected {
            return Step::Stop(NoName::NotTls);
        }
        self.matched += 1;
        if self.matched < VERSION.len() as u32 {
            return Step::More;
        }
        if self.name_length > 0 {
            return self.checked_name();
        }
        self.state = State::RequestLineEnd;
        Step::More
    }

    #[inline(always)]
    const fn header_name(&mut self, byte: u8) {
        let expected = match self.matched {
            0 => HOST[0],
            1 => HOST[1],
            2 => HOST[2],
            _ => HOST[3],
        };
        if byte | 0x20 == expected {
            self.matched += 1;
            if self.matched == HOST.len() as u32 {
                self.state = State::HostColon;
            }
        } else if byte == b'\n' {
            self.state = State::LineStart;
        } else {
            self.state = State::HeaderValue;
        }
    }

    #[inline(always)]
    const fn line_end(&mut self, byte: u8) -> Step {
        if byte == b'\n' {
            self.state = State::LineStart;
        }
        Step::More
    }

    #[inline(always)]
    const fn begin_name(&mut self, at: u32) {
        self.name_at = at;
        self.name_length = 0;
    }

    #[inline(always)]
    const fn end_name(&mut self) {
        self.name_length = self.at.wrapping_sub(self.name_at);
    }

    #[inline(always)]
    const fn target_end_at_name(&mut self) -> Step {
        self.end_name();
        self.state = State::Version;
        Step::More
    }

    #[inline(always)]
    fn host_end(&mut self) -> Step {
        self.end_name();
        self.checked_name()
    }

    #[inline(always)]
    const fn checked_name(&self) -> Step {
        if self.name_length == 0 || self.name_length > NAME_MAX as u32 {
            return Step::Stop(NoName::Malformed);
        }
        Step::Found
    }
}

/// True where none of eight bytes is a space or a control byte: nothing that ends a target or a line.
#[inline(always)]
const fn is_plain(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte below 0x21 borrows; one that borrows without need only costs eight single steps.
    word.wrapping_sub(ONES * 0x21) & !word & HIGH == 0
}

/// The host of the request in `window`, as a range of it.
pub fn host(window: &Window) -> Result<core::ops::Range<usize>, NoName> {
    let mut reader = HeadReader::default();
    for _ in 0..=WINDOW {
        match reader.step(window) {
            Step::More | Step::Pause => {}
            Step::Found => {
                let start = reader.name_at as usize;
                return Ok(start..start + reader.name_length as usize);
            }
            Step::Stop(reason) => return Err(reason),
        }
    }
    Err(NoName::Truncated)
}

#[cfg(test)]
mod tests;
