//! One examiner at a time: the segments of a connection can come in on several CPUs at once.

use core::ffi::c_void;

use crate::steps::run_loop;

/// Times a lock is tried for before its segment is given up: some microseconds, longer than another
/// segment's examination takes.
const TRIES_MAX: u32 = 512;

/// Takes a lock, or waits for it a while. `false`: the other one is still at work.
#[inline(always)]
pub(crate) fn take(cell: &mut u32) -> bool {
    if is_taken(cell) {
        return true;
    }
    let mut context = Context { cell, taken: false };
    run_loop(&mut context, TRIES_MAX, step);
    context.taken
}

struct Context<'a> {
    cell: &'a mut u32,
    taken: bool,
}

unsafe extern "C" fn step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `take` passes the context.
    let context = unsafe { &mut *context.cast::<Context<'_>>() };
    context.taken = is_taken(context.cell);
    i64::from(context.taken)
}

/// Takes a lock, if it is free.
#[inline(always)]
pub(crate) fn is_taken(cell: &mut u32) -> bool {
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering, atomic_cxchg};
        // SAFETY: the reference is to an aligned, live map value.
        let (_, taken) = unsafe {
            atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(cell, 0, 1)
        };
        taken
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let free = *cell == 0;
        *cell = 1;
        free
    }
}

/// Gives a lock up.
#[inline(always)]
pub(crate) fn give_up(cell: &mut u32) {
    // Volatile: the store that lets others in comes after all others.
    // SAFETY: the reference is to a live map value.
    unsafe { core::ptr::write_volatile(cell, 0) };
}
