//! A connection that messages are written to.

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};

use super::{Output, PATIENCE};

/// A connection to a host and port.
pub struct TcpOutput {
    address: String,
    stream: Option<TcpStream>,
}

impl TcpOutput {
    /// Connects to `HOST:PORT`; the name is looked up each time.
    pub const fn new(address: String) -> Self {
        Self { address, stream: None }
    }
}

impl Output for TcpOutput {
    fn open(&mut self) -> io::Result<()> {
        self.stream = None;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_write_timeout(Some(PATIENCE))?;
                    self.stream = Some(stream);
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// A receiver that closed is seen before anything is written: what goes into a connection after that is lost.
    fn is_open(&mut self) -> bool {
        let Some(stream) = &self.stream else { return false };
        if stream.set_nonblocking(true).is_err() {
            return false;
        }
        // Receivers say nothing, so nothing is taken off.
        let is_open = match stream.peek(&mut [0]) {
            Ok(bytes) => bytes > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        is_open && stream.set_nonblocking(false).is_ok()
    }

    fn close(&mut self) {
        self.stream = None;
    }

    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        stream.write_all(message)
    }
}
