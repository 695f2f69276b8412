//! Running a machine's steps in `bpf_loop`: the verifier walks one step, whatever their number.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;

/// One step; another result than 0 ends the loop.
pub(crate) type StepFn = unsafe extern "C" fn(u32, *mut c_void) -> i64;

/// Calls `step` until it ends the loop, at most `most` times.
///
/// `context` lies on the stack, as the helper wants it, and holds references to map values: the
/// machine's own state stays there, because state on the stack would be walked anew for every value
/// it can take.
#[inline(always)]
pub(crate) fn run_loop<T>(context: &mut T, most: u32, step: StepFn) {
    // SAFETY: the context outlives the call, and the steps cast it back to what it is.
    unsafe { bpf_loop(most, step as *mut c_void, core::ptr::from_mut(context).cast(), 0) };
}
