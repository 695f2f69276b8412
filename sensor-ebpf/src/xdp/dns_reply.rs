//! DNS answers over UDP on their way to the LAN, a stage behind [`egress`](crate::egress): the addresses they
//! give are kept with the name that was asked for, and records that policy does not want are renamed.
//!
//! Only answers to the query that their flow was last judged for are taken: who would plant a name must
//! know port, name and moment. The name in the question counts, not the alias behind it.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0};
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;
use sensor_ebpf::abi::{
    Address, AnsweredKey, AnsweredName, FlowKey, Happening, HttpsRecords, NAME_BUFFER, Verdict,
};
use sensor_ebpf::cursor::{WINDOW, bound};
use sensor_ebpf::dns::{
    HEADER, MESSAGE_STEPS_MAX, NAME_STEPS_MAX, PRIVATE_USE, Record, is_service, kept_ns,
};
use sensor_ebpf::name::{SUFFIX_STEPS_MAX, without_final_dot};
use sensor_ebpf::parse::Packet;
use sensor_ebpf::step::Step;

use crate::account::Row;
use crate::egress::CONTINUE;
use crate::flows;
use crate::group::{masks_of, of_address};
use crate::listed::Table;
use crate::maps::{self, ANSWERED, Reply};
use crate::steps::run_loop;

/// Offset of the checksum in a UDP header.
const CHECKSUM: u32 = 6;

/// Bytes that [`bpf_l4_csum_replace`] is told of: one word of the sum.
const SUM_WORD: u64 = 2;

/// Keeps what the stage needs of the packet.
#[inline(always)]
pub(crate) fn hand_over(
    packet: &Packet,
    key: &FlowKey,
    entry: u32,
    counters: u32,
    now_ns: u64,
) -> Option<()> {
    let reply = maps::reply()?;
    reply.flow = *key;
    reply.entry = entry;
    reply.now_ns = now_ns;
    reply.counters = counters;
    reply.transport = packet.transport;
    reply.payload = packet.payload;
    reply.payload_length = packet.payload_length;
    Some(())
}

#[inline(always)]
pub(crate) fn run(ctx: &TcContext) -> i32 {
    let Some(reply) = maps::reply() else { return CONTINUE };
    let Some(row) = Row::find(reply.counters) else { return CONTINUE };
    let Some(control) = maps::control() else { return CONTINUE };
    let skb = ctx.skb.skb;
    if fill_window(skb, reply).is_none() {
        return CONTINUE;
    }
    let policy = control.policy;
    let rules = masks_of(group_of(reply, policy), policy).dns;
    reply.renames = u32::from(rules.https_records == HttpsRecords::Rename as u8);
    read_name(reply);
    // Another policy may have come in between, with another key: then the name is not the one asked for.
    let key = Table::of(policy, control).key();
    reply.suffixes.begin(length_of_name(reply), key);
    run_loop(&mut Context { reply, skb }, SUFFIX_STEPS_MAX, suffix_step);
    match_query(reply);

    reply.addresses = 0;
    reply.renamed = 0;
    reply.message.begin_answer();
    run_loop(&mut Context { reply, skb }, MESSAGE_STEPS_MAX, message_step);
    if reply.addresses != 0 {
        let taken = reply.asked != 0;
        row.happened(if taken { Happening::AnswerNamed } else { Happening::AnswerUnasked });
    }
    if reply.renamed != 0 {
        row.happened(Happening::ServiceRecordRenamed);
    }
    CONTINUE
}

/// The group that the query was judged for; of its address where the table of flows was full.
#[inline(always)]
fn group_of(reply: &Reply, policy: u32) -> u32 {
    let flow = flows::at(reply.entry, &reply.flow);
    // SAFETY: the pointer is a live map value.
    let judged = flow.map(|flow| unsafe { &*flow }).filter(|flow| flow.policy == policy);
    judged.map_or_else(|| of_address(reply.flow.lan_address, policy), |flow| flow.group.into())
}

/// Copies the message, as far as it is read.
#[inline(always)]
fn fill_window(skb: *mut __sk_buff, reply: &mut Reply) -> Option<()> {
    if reply.payload_length < HEADER {
        return None;
    }
    let most = WINDOW as u32;
    let length = if reply.payload_length > most { most } else { reply.payload_length };
    reply.window.length = length;
    // The verifier wants the bound right before the call.
    let length = bound::<{ WINDOW as u32 - 1 }>(length - 1) + 1;
    let to = reply.window.bytes.as_mut_ptr().cast();
    // SAFETY: so many bytes fit the window.
    (unsafe { bpf_skb_load_bytes(skb.cast(), reply.payload, to, length) } == 0).then_some(())
}

struct Context<'a> {
    reply: &'a mut Reply,
    skb: *mut __sk_buff,
}

/// The first question's name: an answer has one (RFC 9619).
#[inline(always)]
fn read_name(reply: &mut Reply) {
    reply.named = 0;
    reply.reader.begin(HEADER);
    let skb = core::ptr::null_mut();
    run_loop(&mut Context { reply, skb }, NAME_STEPS_MAX, name_step);
}

unsafe extern "C" fn name_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `read_name` passes the context.
    let reply = unsafe { &mut *(*context.cast::<Context<'_>>()).reply };
    match reply.reader.step(&reply.window, &mut reply.name) {
        Step::More => 0,
        Step::Found => {
            reply.named = 1;
            1
        }
        Step::Stop(_) | Step::Pause => 1,
    }
}

#[inline(always)]
fn length_of_name(reply: &Reply) -> u32 {
    let length = reply.reader.length;
    let last_at = bound::<{ NAME_BUFFER as u32 - 1 }>(length.wrapping_sub(1)) as usize;
    // SAFETY: the mask keeps the index below the length of the array.
    let last = unsafe { *reply.name.as_ptr().add(last_at) };
    without_final_dot(length, last)
}

unsafe extern "C" fn suffix_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `run` passes the context.
    let reply = unsafe { &mut *(*context.cast::<Context<'_>>()).reply };
    i64::from(!reply.suffixes.step(&mut reply.name))
}

/// Sees whether the flow's last query was for this name, and takes from it what is known of the name.
#[inline(always)]
fn match_query(reply: &mut Reply) {
    reply.asked = 0;
    let hash = reply.suffixes.whole();
    let Some(flow) = flows::at(reply.entry, &reply.flow) else { return };
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &*flow };
    let sent = flow.to_peer.packets != 0 && flow.verdict != Verdict::Block as u8;
    if reply.named == 0 || !sent || flow.name_hash != hash {
        return;
    }
    reply.asked = 1;
    reply.answered.name_hash = hash;
    reply.answered.categories = flow.categories;
    reply.answered.policy = flow.policy;
    reply.answered.reserved = 0;
    reply.key = AnsweredKey::of(&reply.flow);
}

unsafe extern "C" fn message_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `run` passes the context.
    let Context { reply, skb } = unsafe { &mut *context.cast::<Context<'_>>() };
    let more = reply.message.step(&reply.window);
    let record = reply.message.record;
    if is_service(record.kind) {
        if reply.renames != 0 && rename(*skb, reply, &record).is_some() {
            reply.renamed += 1;
        }
    } else if let Some(address) = record.address(&reply.window) {
        reply.addresses += 1;
        if reply.message.questions != 1 {
            reply.asked = 0;
        }
        if reply.asked != 0 {
            keep(reply, address, record.ttl);
        }
    }
    i64::from(!more)
}

/// Keeps an address with the name. The newest name wins; a name that holds goes on from where it began.
#[inline(always)]
fn keep(reply: &mut Reply, address: Address, ttl: u32) {
    let now_ns = reply.now_ns;
    reply.key.peer_address = address;
    reply.answered.since_ns = now_ns;
    reply.answered.until_ns = now_ns + kept_ns(ttl);
    if let Some(known) = ANSWERED.get_ptr(&reply.key) {
        // SAFETY: the pointer is a live map value.
        let known: &AnsweredName = unsafe { &*known };
        if known.name_hash == reply.answered.name_hash && known.held_at(now_ns) {
            reply.answered.since_ns = known.since_ns;
            reply.answered.until_ns = reply.answered.until_ns.max(known.until_ns);
        }
    }
    // Without room the flow stays without this name.
    let _kept = ANSWERED.insert(&reply.key, &reply.answered, 0);
}

/// Writes the first byte of a record's type, and mends the sum. The kernel leaves a sum of 0 alone, and one
/// that the card will fill in.
#[inline(always)]
fn rename(skb: *mut __sk_buff, reply: &Reply, record: &Record) -> Option<()> {
    let byte = PRIVATE_USE;
    let at = reply.payload + record.at;
    // SAFETY: one byte of the stack is read.
    let written =
        unsafe { bpf_skb_store_bytes(skb.cast(), at, (&raw const byte).cast(), 1, 0) } == 0;
    // Headers before the message have an even length: the byte is the first of its word at even offsets.
    let word = if record.at & 1 == 0 { [byte, 0] } else { [0, byte] };
    let word = u64::from(u16::from_ne_bytes(word));
    let sum_at = reply.transport + CHECKSUM;
    let flags = u64::from(BPF_F_MARK_MANGLED_0) | SUM_WORD;
    // SAFETY: the context is this program's.
    let mended = written && unsafe { bpf_l4_csum_replace(skb.cast(), sum_at, 0, word, flags) } == 0;
    mended.then_some(())
}
