//! One connection through the gateway: a hello, and an answer to it once it is whole.
//!
//! TLS itself is not needed for this: what counts are both ends' TCP stacks and the hello's bytes.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sensor_lab::frames::Hello;
use sensor_lab::lab::{Family, Lab};
use sensor_lab::process;

const ANSWER: &[u8] = b"answered";

/// How much a client has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// Some 250 bytes.
    OneSegment,
    /// Some 1,900 bytes with the name in the last of them, as browsers may send it.
    TwoSegments,
}

/// What became of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server read the whole hello; the client read the whole answer.
    Whole,
    Reset,
    /// Nothing came any more.
    Silence,
    /// The other end closed early.
    Closed,
}

/// Both ends of a connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) client: End,
    pub(super) server: End,
}

/// Says hello to a server that knows its length; either end gives up after `patience` without a byte.
pub(super) fn exchange(lab: &Lab, name: &str, size: Size, patience: Duration) -> Result<Ends> {
    let hello = hello(name, size);
    let listener = lab.server().inside(|| listen().context("listen"))?;
    let port = listener.local_addr().context("the server's port")?.port();
    let server = SocketAddr::from((Family::V4.server(), port));
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&listener, hello.len(), patience));
        let client = lab.client().inside(|| ask(server, &hello, patience).context("ask"));
        let Ok(server) = serving.join() else { bail!("the server panicked") };
        Ok(Ends { client: client?, server: server? })
    })
}

fn hello(name: &str, size: Size) -> Vec<u8> {
    /// The type of a key share; a post-quantum one fills most of a segment.
    const KEY_SHARE: u16 = 51;
    let hello = Hello::of(name);
    match size {
        Size::OneSegment => hello.bytes(),
        Size::TwoSegments => Hello { before: vec![(KEY_SHARE, 1_600)], ..hello }.bytes(),
    }
}

fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // So that a client that never comes is not waited for without end.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(listener: &TcpListener, length: usize, patience: Duration) -> Result<End> {
    let start = Instant::now();
    let accepted = process::wait_until("a client", 2 * patience, || match listener.accept() {
        Ok((stream, _)) => Ok(Some(Some(stream))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok((start.elapsed() > patience).then_some(None))
        }
        Err(error) => Err(error.into()),
    })?;
    // Where the last packet of the handshake is lost, a reset may be the next that comes.
    let Some(mut stream) = accepted else { return Ok(End::Silence) };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(patience))?;
    let end = end_of(stream.read_exact(&mut vec![0; length]))?;
    if end == End::Whole {
        stream.write_all(ANSWER)?;
        // Until the client has the answer and closes: whatever else comes is the client's to judge.
        let _closed = stream.read(&mut [0]);
    }
    Ok(end)
}

fn ask(server: SocketAddr, hello: &[u8], patience: Duration) -> Result<End> {
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    let mut answer = [0; ANSWER.len()];
    end_of(stream.write_all(hello).and_then(|()| stream.read_exact(&mut answer)))
}

fn end_of(result: io::Result<()>) -> Result<End> {
    match result.map_err(|error| error.kind()) {
        Ok(()) => Ok(End::Whole),
        Err(io::ErrorKind::ConnectionReset) => Ok(End::Reset),
        Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(End::Silence),
        Err(io::ErrorKind::UnexpectedEof) => Ok(End::Closed),
        Err(other) => bail!("an end of the connection: {other}"),
    }
}
