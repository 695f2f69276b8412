//! The server name of a TLS `ClientHello` (RFC 8446 section 4.1.2, RFC 6066 section 3).
//!
//! A small machine: one call of [`HelloReader::step`] reads one extension, so that the kernel can
//! run it in a `bpf_loop` and the host in a plain loop.

use crate::abi::{NAME_MAX, NoName};
use crate::cursor::{Truncated, Window};
use crate::step::Step;

/// Extensions read: today's browsers send up to 20.
pub const EXTENSIONS_MAX: u32 = 64;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u32 = 0;
const HOST_NAME: u8 = 0;
/// Record header, handshake header, version and random.
const BEFORE_SESSION_ID: u32 = 5 + 4 + 2 + 32;
/// RFC 8446 section 4.1.2: `legacy_session_id<0..32>`.
const SESSION_ID_MAX: u32 = 32;

/// Where the reader is in a hello, and the name once found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HelloReader {
    /// Offset of the next extension.
    at: u32,
    /// Offset of the first byte after the extensions.
    end: u32,
    /// Offset of the name in the window.
    pub name_at: u32,
    /// Bytes of the name.
    pub name_length: u32,
}

impl HelloReader {
    /// Reads what comes before the extensions.
    #[inline(always)]
    pub fn begin(&mut self, window: &Window) -> Step {
        match self.before_extensions(window) {
            Ok(step) => step,
            Err(Truncated) => Step::Stop(NoName::Truncated),
        }
    }

    /// Reads one extension.
    #[inline(always)]
    pub fn step(&mut self, window: &Window) -> Step {
        match self.extension(window) {
            Ok(step) => step,
            Err(Truncated) => Step::Stop(NoName::Truncated),
        }
    }

    #[inline(always)]
    fn before_extensions(&mut self, window: &Window) -> Result<Step, Truncated> {
        if window.u8(0)? != HANDSHAKE || window.u8(5)? != CLIENT_HELLO {
            return Ok(Step::Stop(NoName::NotTls));
        }
        let hello_end = 9 + (u32::from(window.u8(6)?) << 16 | window.u16(7)?);
        let session_id = u32::from(window.u8(BEFORE_SESSION_ID)?);
        if session_id > SESSION_ID_MAX {
            return Ok(Step::Stop(NoName::Malformed));
        }
        let ciphers_at = BEFORE_SESSION_ID + 1 + session_id;
        let compression_at = ciphers_at + 2 + window.u16(ciphers_at)?;
        let extensions_at = compression_at + 1 + u32::from(window.u8(compression_at)?);
        if extensions_at == hello_end {
            return Ok(Step::Stop(NoName::NoSni));
        }
        self.at = extensions_at + 2;
        self.end = self.at + window.u16(extensions_at)?;
        if self.end > hello_end {
            return Ok(Step::Stop(NoName::Malformed));
        }
        Ok(Step::More)
    }

    #[inline(always)]
    fn extension(&mut self, window: &Window) -> Result<Step, Truncated> {
        let at = self.at;
        if at >= self.end {
            return Ok(Step::Stop(NoName::NoSni));
        }
        let kind = window.u16(at)?;
        let length = window.u16(at + 2)?;
        if at + 4 + length > self.end {
            return Ok(Step::Stop(NoName::Malformed));
        }
        if kind != SERVER_NAME {
            self.at = at + 4 + length;
            return Ok(Step::More);
        }
        // server_name_list length, name_type, host_name length.
        let name_length = window.u16(at + 7)?;
        if length < 5
            || window.u8(at + 6)? != HOST_NAME
            || name_length == 0
            || name_length > NAME_MAX as u32
            || name_length > length - 5
        {
            return Ok(Step::Stop(NoName::Malformed));
        }
        // The last byte must be here too.
        window.u8(at + 9 + name_length - 1)?;
        self.name_at = at + 9;
        self.name_length = name_length;
        Ok(Step::Found)
    }
}

/// The server name of the hello in `window`, as a range of it.
pub fn server_name(window: &Window) -> Result<core::ops::Range<usize>, NoName> {
    let mut reader = HelloReader::default();
    if let Step::Stop(reason) = reader.begin(window) {
        return Err(reason);
    }
    for _ in 0..EXTENSIONS_MAX {
        match reader.step(window) {
            Step::More => {}
            Step::Found => {
                let start = reader.name_at as usize;
                return Ok(start..start + reader.name_length as usize);
            }
            Step::Stop(reason) => return Err(reason),
        }
    }
    Err(NoName::Malformed)
}

#[cfg(test)]
mod tests;
