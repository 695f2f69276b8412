//! What the requests of a packet name: collected while they are read, then judged one after the other.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Happening, NameSource, NoName};
use sensor_ebpf::cursor::bound;

use crate::account::Row;
use crate::maps::{Examination, JUDGING, NAMES_ROOM, NO_REQUEST, STAGES, Told, sight, stage};
use crate::payload;

/// Names of one packet that are judged. Each takes two tail calls, and the kernel makes 33
/// (`MAX_TAIL_CALL_CNT`). A name that comes again counts once: who pipelines asks one host.
const NAMES_MAX: u32 = 12;

/// Notes the name that the reader has found. `false`: there are too many.
#[inline(always)]
pub(crate) fn name(examination: &mut Examination) -> bool {
    if examination.requests.is_known_name() {
        return true;
    }
    if examination.names >= NAMES_MAX {
        return false;
    }
    let told = place(&mut examination.told, examination.names);
    examination.names += 1;
    told.no_name = NoName::Named as u8;
    told.is_further = u8::from(examination.requests.is_further_name());
    told.length = examination.requests.name_length();
    payload::copy_value(&mut told.name, examination.requests.name());
    true
}

/// Notes why there is no name.
#[inline(always)]
pub(crate) fn reason(examination: &mut Examination, reason: NoName) {
    // Behind the last name there is room for the reason why no more are read.
    const { assert!((NAMES_MAX as usize) < NAMES_ROOM) };
    let told = place(&mut examination.told, examination.names);
    if examination.names <= NAMES_MAX {
        examination.names += 1;
    }
    told.no_name = reason as u8;
    told.is_further = 0;
    told.length = 0;
}

#[inline(always)]
fn place(told: &mut [Told; NAMES_ROOM], number: u32) -> &mut Told {
    let index = bound::<{ NAMES_ROOM as u32 - 1 }>(number) as usize;
    // SAFETY: the mask keeps the index below the length of the array.
    unsafe { &mut *told.as_mut_ptr().add(index) }
}

/// Has the next one judged; behind the last, the packet goes on.
#[inline(always)]
pub(crate) fn judge_next(ctx: &XdpContext, examination: &mut Examination, row: Row) -> u32 {
    let judged = examination.names_judged;
    if judged < examination.names {
        examination.names_judged = judged + 1;
        examination.goes_on = JUDGING;
        examination.sight |= sight::HTTP;
        let told = place(&mut examination.told, judged);
        let event = &mut examination.event;
        event.no_name = told.no_name;
        event.name_source = NameSource::Http as u8;
        event.name.length = told.length as u16;
        examination.is_further_name = u32::from(told.is_further);
        payload::copy_value(&mut event.name.bytes, &told.name);
        // SAFETY: same context; on failure control comes back.
        unsafe { STAGES.tail_call(ctx, stage::JUDGE) };
    } else if examination.then_hello != 0 {
        examination.goes_on = NO_REQUEST;
        examination.sight &= !sight::HTTP;
        // SAFETY: as above.
        unsafe { STAGES.tail_call(ctx, stage::HANDSHAKE) };
    } else {
        return XDP_PASS;
    }
    row.happened(Happening::StageMissing);
    XDP_PASS
}
