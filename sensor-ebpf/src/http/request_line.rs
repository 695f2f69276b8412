//! The first line of a request (RFC 9112 section 3).

use super::{RequestReader, State, fact};
use crate::abi::NoName;
use crate::step::Step;

/// Bytes of a method. The longest one in the registry has 17
/// (`UPDATEREDIRECTREF`); servers answer others too, and read on.
const METHOD_MAX: u32 = 64;

const VERSION: [u8; 7] = *b"HTTP/1.";

/// Where the major version stands.
const MAJOR_AT: u32 = 5;

impl RequestReader {
    #[inline(always)]
    pub(super) fn request_line(&mut self, byte: u8) -> Step {
        match self.state {
            State::Method => {
                if is_space(byte) {
                    self.state = State::TargetStart;
                } else if !is_token_byte(byte) || self.head_length > METHOD_MAX {
                    return self.lose(NoName::NotTls);
                }
            }
            State::TargetStart => {
                if byte == b'/' || byte == b'*' {
                    self.state = State::Target;
                } else if !is_space(byte) {
                    self.begin_name();
                    self.push(byte);
                    self.bracket = u8::from(byte == b'[');
                    self.state = State::Scheme;
                }
            }
            State::Version => return self.version(byte),
            State::RequestLineEnd => {
                if byte == b'\n' {
                    self.state = State::LineStart;
                }
            }
            _ => return self.target(byte),
        }
        Step::More
    }

    #[inline(always)]
    fn target(&mut self, byte: u8) -> Step {
        if byte == b'\r' || byte == b'\n' {
            // HTTP/0.9, or no HTTP.
            return self.lose(NoName::NotTls);
        }
        if is_space(byte) {
            if self.state == State::Scheme {
                self.facts |= fact::TUNNEL;
            }
            self.state = State::Version;
            self.matched = 0;
            return Step::More;
        }
        match self.state {
            State::Scheme => match byte {
                b':' if self.bracket == 0 => self.state = State::SchemeColon,
                b']' => {
                    self.bracket = 0;
                    self.push(byte);
                }
                _ => self.push(byte),
            },
            State::SchemeColon => {
                if byte == b'/' {
                    self.state = State::SchemeSlash;
                } else {
                    // The port of an authority.
                    self.facts |= fact::TUNNEL;
                    self.state = State::AuthorityRest;
                }
            }
            State::SchemeSlash => {
                if byte != b'/' {
                    return self.lose(NoName::NotTls);
                }
                self.restart_name();
                self.state = State::Authority;
            }
            State::Authority => match byte {
                // Userinfo (RFC 9110 section 4.2.4): the host comes after it.
                b'@' => self.restart_name(),
                b'/' | b'?' | b'#' => self.state = State::Target,
                b':' if self.bracket == 0 => self.state = State::AuthorityRest,
                _ => {
                    if byte == b'[' {
                        self.bracket = 1;
                    } else if byte == b']' {
                        self.bracket = 0;
                    }
                    self.push(byte);
                }
            },
            State::AuthorityRest => match byte {
                b'@' => {
                    self.restart_name();
                    self.state = State::Authority;
                }
                b'/' | b'?' | b'#' => self.state = State::Target,
                _ => {}
            },
            _ => {}
        }
        Step::More
    }
}

impl RequestReader {
    #[inline(always)]
    fn version(&mut self, byte: u8) -> Step {
        if is_space(byte) && self.matched == 0 {
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
            // A client that knows that the server speaks HTTP/2 (RFC 9113 section 3.3).
            let http2 = self.matched == MAJOR_AT && byte == b'2';
            return self.lose(if http2 { NoName::Http2 } else { NoName::NotTls });
        }
        self.matched += 1;
        if self.matched < VERSION.len() as u32 {
            return Step::More;
        }
        self.state = State::RequestLineEnd;
        if self.name_length > 0 { self.found() } else { Step::More }
    }
}

/// What methods are made of (RFC 9110 section 5.6.2).
#[inline(always)]
pub(super) const fn is_token_byte(byte: u8) -> bool {
    // As bits: comparisons would cost the verifier a branch each.
    const TOKEN: [u64; 2] = token_bits();
    let bits = if byte < 64 { TOKEN[0] } else { TOKEN[1] };
    byte < 128 && bits >> (byte & 63) & 1 != 0
}

const fn token_bits() -> [u64; 2] {
    let (mut low, mut high) = (0, 0);
    let mut byte = 0_u8;
    while byte < 128 {
        let is_token = byte.is_ascii_alphanumeric()
            || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
        if is_token && byte < 64 {
            low |= 1 << byte;
        } else if is_token {
            high |= 1 << (byte - 64);
        }
        byte += 1;
    }
    [low, high]
}

/// What separates the parts of the line for lenient servers (RFC 9112 section 3).
#[inline(always)]
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}
