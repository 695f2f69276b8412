//! What carries messages: a file, a connection, datagrams.

mod file;
mod tcp;
mod udp;

use std::io;
use std::time::Duration;

pub use self::file::FileOutput;
pub use self::tcp::TcpOutput;
pub use self::udp::UdpOutput;
use crate::config::{Export, Target};

/// Longest wait for a connection, and for room in one: what stands still for longer is given up and begun anew.
const PATIENCE: Duration = Duration::from_secs(3);

/// Takes messages one after the other.
pub trait Output: Send {
    /// Opens it anew.
    fn open(&mut self) -> io::Result<()>;

    /// Whether it is open, as far as can be told without a write.
    fn is_open(&mut self) -> bool;

    /// Closes it.
    fn close(&mut self);

    /// Takes a whole message or fails. What was written of one that failed is void.
    fn write(&mut self, message: &[u8]) -> io::Result<()>;

    /// Has what was written so far where a crash of the machine leaves it, where there is such a thing.
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether a message that failed should be tried again, once the output is open again.
    fn tries_again(&self) -> bool {
        true
    }

    /// Puts what was written so far aside, where there is such a thing.
    fn rotate(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an export's target asks for.
pub fn of(export: &Export) -> Box<dyn Output> {
    match &export.target {
        Target::File(path) => Box::new(FileOutput::new(path.clone(), export.rotate)),
        Target::Tcp(address) => Box::new(TcpOutput::new(address.clone())),
        Target::Udp(address) => Box::new(UdpOutput::new(address.clone())),
    }
}
