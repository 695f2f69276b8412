//! Running a reader's steps in `bpf_loop`: the verifier walks one step, whatever their number.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;

use crate::maps::Examination;

/// One step; another result than 0 ends the loop.
pub(crate) type StepFn = unsafe extern "C" fn(u32, *mut c_void) -> i64;

/// What a step is called with. The helper wants it on the stack; the reader's own state stays in the
/// map value, because state on the stack would be walked anew for every value it can take.
struct Context {
    examination: *mut Examination,
}

/// Calls `step` until it ends the loop, at most `most` times.
#[inline(always)]
pub(crate) fn run_loop(examination: &mut Examination, most: u32, step: StepFn) {
    let mut context = Context { examination };
    // SAFETY: the context outlives the call, and the steps cast it back to what it is.
    unsafe { bpf_loop(most, step as *mut c_void, (&raw mut context).cast(), 0) };
}

/// The examination a step works on.
///
/// # Safety
/// `context` must come from [`run_loop`].
#[inline(always)]
pub(crate) unsafe fn examination<'a>(context: *mut c_void) -> &'a mut Examination {
    // SAFETY: by the contract above; `run_loop` lends its exclusive reference for the loop.
    unsafe { &mut *(*context.cast::<Context>()).examination }
}
