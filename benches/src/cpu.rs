//! The measuring thread: it stays on one CPU, and is timed by the CPU time it used.

use std::io;
use std::time::Duration;

/// Keeps this thread on the CPU it is on, and says which.
pub(crate) fn stay() -> io::Result<usize> {
    // SAFETY: no preconditions.
    let cpu = unsafe { libc::sched_getcpu() };
    let cpu = usize::try_from(cpu).map_err(|_negative| io::Error::last_os_error())?;
    // SAFETY: the set is plain bits, and all zero is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is initialised; the kernel names no CPU the set has no bit for.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is as large as said, and 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result == 0 { Ok(cpu) } else { Err(io::Error::last_os_error()) }
}

/// CPU time this thread has used. Unlike the kernel's own average of a test run, it has no
/// preemption in it and is not rounded to whole ns.
pub(crate) fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; every thread has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
