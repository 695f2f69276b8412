//! System calls the standard library has no name for, signals above all: the lab's only `unsafe`.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, pipe};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use crate::leftover;

/// Write end of the pipe on which the handler tells the watcher which signal came.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Ends the process in an orderly way on SIGINT and SIGTERM: everything the lab made is removed first.
///
/// The handler only writes a byte; a thread does the work. Handlers, unlike blocked signals, are not
/// inherited by the programs the lab starts.
pub(crate) fn clean_up_on_interrupt() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok((reader, writer)) = pipe() else { return };
        PIPE.store(writer.into_raw_fd(), Ordering::Release);
        thread::spawn(move || watch(reader));
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let handler = on_signal as extern "C" fn(libc::c_int);
            // SAFETY: `on_signal` has the signature of a handler and only makes calls that are
            // allowed in one.
            unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        }
    });
}

extern "C" fn on_signal(signal: libc::c_int) {
    let byte = u8::try_from(signal).unwrap_or(u8::MAX);
    // SAFETY: the descriptor stays open as long as the process, and one byte is read from the stack.
    unsafe { libc::write(PIPE.load(Ordering::Acquire), (&raw const byte).cast(), 1) };
}

#[expect(clippy::exit, reason = "an interrupted program ends here, once its traces are gone")]
fn watch(mut pipe: PipeReader) {
    let mut signal = [0_u8];
    if pipe.read_exact(&mut signal).is_ok() {
        let [signal] = signal;
        leftover::remove_all_then(|| std::process::exit(128 + i32::from(signal)));
    }
}

/// Sends a signal to a process the lab started and has not reaped yet.
pub(crate) fn send(pid: u32, signal: libc::c_int) {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: takes two integers; `pid` is positive, so no group is meant.
    unsafe { libc::kill(pid, signal) };
}

/// Waits for a child, whoever holds its handle.
pub(crate) fn reap(pid: u32) {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: a null status pointer means that the status is not wanted.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

/// Takes the calling thread, and no other, into a network namespace.
pub(crate) fn enter_network(namespace: &File) -> io::Result<()> {
    // SAFETY: takes an open descriptor and a flag; sockets this thread has keep their namespace.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a packet socket receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    /// Nothing: it only sends.
    None,
    /// What comes in.
    Incoming,
    /// What comes in and what goes out.
    Both,
}

/// A socket for whole frames of one interface, in the calling thread's network namespace.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the system's constants fit its own structures"
)]
pub(crate) fn packet_socket(interface: i32, frames: Frames) -> io::Result<OwnedFd> {
    const EVERY_PROTOCOL: u16 = (libc::ETH_P_ALL as u16).to_be();
    let protocol = if frames == Frames::None { 0 } else { EVERY_PROTOCOL };
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // With no protocol it hears nothing before it is bound.
    // SAFETY: takes three integers.
    let descriptor = unsafe { libc::socket(libc::AF_PACKET, flags, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    if frames == Frames::Incoming {
        set_option(socket.as_fd(), (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING), 1)?;
    }
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: interface,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a whole one of its family, and its length is its size.
    match unsafe { libc::bind(descriptor, (&raw const address).cast(), length) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets so many bytes wait at a socket, whatever the machine's limit is.
pub(crate) fn set_receive_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE), bytes)
}

/// Frames that found no room at a packet socket since this was asked last.
#[expect(clippy::cast_possible_truncation, reason = "two integers")]
pub(crate) fn dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // `struct tpacket_stats`: frames that were taken or dropped, and those that were dropped.
    let mut statistics = [0_u32; 2];
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            statistics.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let [_, dropped] = statistics;
    if result == 0 { Ok(dropped) } else { Err(io::Error::last_os_error()) }
}

#[expect(clippy::cast_possible_truncation, reason = "an integer's size")]
fn set_option(socket: BorrowedFd<'_>, (level, name): (i32, i32), value: i32) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is an integer, as these options have it.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
