//! A client's datagram that could be QUIC: what it is, and of its Initials the name. [`initial`] opens one,
//! and [`quic_stream`] puts the pieces of its hello together.
//!
//! One Initial is opened a turn, with one set of keys, and a turn is one tail call: a datagram may bring several,
//! and which keys open one shows by trying.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Flow, NoName, QuicRule};
use sensor_ebpf::cursor::WINDOW;
use sensor_ebpf::flow::Phase;
use sensor_ebpf::quic::{
    ConnectionId, DATAGRAM_STEPS_MAX, Datagram, FrameReader, KeySchedule, Kind, Opening, Packet,
    Unread, is_port,
};

use crate::account::Row;
use crate::budget;
use crate::group::{self, masks_of};
use crate::handshake::{self, Fate, carry_out, followed, nameless};
use crate::held;
use crate::initial::{self, Opened};
use crate::maps::{self, Examination, sight, stage};
use crate::payload;
use crate::quic_stream::{self, Kept};
use crate::steps::run_loop;

/// What is known of a datagram between its turns.
#[repr(C)]
pub(crate) struct Quic {
    pub(crate) datagram: Datagram,
    /// Connection ID of the Initial at hand.
    pub(crate) id: ConnectionId,
    /// That of the datagram's first Initial.
    first_id: ConnectionId,
    pub(crate) schedule: KeySchedule,
    pub(crate) opening: Opening,
    pub(crate) frames: FrameReader,
    /// The flow's connections.
    pub(crate) kept: Kept,
    /// Sets of keys that did not open the Initial at hand.
    pub(crate) tried: u32,
    /// Initials found in the datagram.
    initials: u32,
    /// 1 where one of them had pieces.
    pub(crate) counted: u32,
    /// 1 where nothing follows the Initial at hand.
    is_last: u32,
    /// 1 where a name is in the event.
    pub(crate) named: u32,
    /// How far a loop came, see [`crate::initial`].
    pub(crate) progress: u32,
    /// Where an Initial without its keys is left: [`sensor_ebpf::abi::NoName`].
    pub(crate) reason: u32,
}

/// [`Examination::goes_on`] where the next Initial of the datagram is to be found.
const NEXT: u32 = 3;
/// [`Examination::goes_on`] where other keys are to be tried.
const AGAIN: u32 = 4;

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(quic) = maps::quic() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    handshake::begin(examination);
    if payload::fill_window(ctx, examination, 0).is_err() {
        return XDP_PASS;
    }
    if examination.goes_on == maps::FRESH {
        quic.counted = 0;
    }
    let fate = take_turn(ctx, examination, quic, row);
    let fate = if quic.counted == 0 { without_hello(examination, fate) } else { fate };
    carry_out::<{ stage::QUIC }>(ctx, examination, fate, row)
}

/// On a blocked flow nothing passes but what has a hello in it.
#[inline(always)]
pub(crate) fn without_hello(examination: &Examination, fate: Fate) -> Fate {
    let is_blocked = examination.sight & sight::BLOCKED != 0;
    if is_blocked && fate == Fate::Pass { Fate::Drop } else { fate }
}

#[inline(always)]
fn take_turn(ctx: &XdpContext, examination: &mut Examination, quic: &mut Quic, row: Row) -> Fate {
    if examination.goes_on == maps::FRESH
        && let Err(fate) = start(ctx, examination, quic, row)
    {
        return fate;
    }
    if examination.goes_on != AGAIN {
        match next(examination, quic) {
            Ok(true) => {}
            Ok(false) if is_cut(examination) => return oversize(examination, row),
            Ok(false) => return conclude(quic),
            // Servers stop at such a packet too, behind others.
            Err(_) if quic.initials > 0 && !is_cut(examination) => return conclude(quic),
            Err(unread) => return unreadable(examination, unread, row),
        }
        if quic.initials > 0 && !quic.first_id.is(&quic.id) {
            // Receivers should leave it out (RFC 9000 section 12.2): whether one does is not known.
            return refused(examination, NoName::Evasion, row);
        }
        quic.first_id = quic.id;
        quic.initials += 1;
        if !budget::grants_initial(examination.event.key.lan_address) {
            return refused(examination, NoName::QuicBudget, row);
        }
        quic_stream::find(examination, quic);
        quic.tried = 0;
    }
    match initial::open(examination, quic) {
        Opened::Yes => {}
        Opened::Other => {
            quic.tried += 1;
            examination.goes_on = AGAIN;
            return Fate::Other;
        }
        Opened::No => return unopened(examination, quic, row),
    }
    // Before pieces are taken: what is read of them fills the window anew.
    // Kept in memory, where the verifier forgets it: else it walks all that follows twice.
    let is_last = quic.datagram.is_over(&examination.window) && !is_cut(examination);
    quic.is_last = u32::from(is_last);
    let fate = quic_stream::take(examination, quic, row);
    if fate != Fate::Pass {
        return fate;
    }
    if quic.is_last != 0 {
        return conclude(quic);
    }
    examination.goes_on = NEXT;
    Fate::Other
}

/// What the datagram is, and whether it is to be read.
#[inline(always)]
fn start(
    ctx: &XdpContext,
    examination: &mut Examination,
    quic: &mut Quic,
    row: Row,
) -> Result<(), Fate> {
    let port = examination.event.key.peer_port;
    let kind = Kind::of(&examination.window, port);
    let reason = match kind {
        Kind::Long => NoName::Named,
        Kind::Short if held::is_held(&examination.event.key, examination.event.time_ns) => {
            NoName::QuicHeld
        }
        Kind::Short => NoName::MidStream,
        Kind::Gquic => NoName::Gquic,
        Kind::Dtls => NoName::Dtls,
        Kind::Other => NoName::NotQuic,
    };
    if kind == Kind::Other || kind == Kind::Dtls {
        return Err(plain(examination, reason, row));
    }
    let policy = maps::control().map_or(0, |control| control.policy);
    let rule = masks_of(group::of(ctx, examination, policy), policy).quic;
    if rule == QuicRule::Allow as u64 {
        return Err(plain(examination, NoName::NotExamined, row));
    }
    if rule == QuicRule::Drop as u64 && is_port(port) {
        return Err(nameless(examination, NoName::QuicRefused));
    }
    if kind != Kind::Long {
        return Err(plain(examination, reason, row));
    }
    quic.datagram.begin();
    quic.initials = 0;
    quic.named = 0;
    Ok(())
}

/// Leaves a flow alone whose first datagram has no Initial, once policy has heard why.
#[inline(always)]
pub(crate) fn plain(examination: &mut Examination, reason: NoName, row: Row) -> Fate {
    let Some(flow) = followed(examination) else { return Fate::Pass };
    if flow.phase != Phase::Waiting as u8 || flow.slot != 0 {
        // What it was at first is what it is.
        return Fate::Pass;
    }
    flow.phase = Phase::Done as u8;
    if reason == NoName::NotQuic || reason == NoName::NotExamined {
        flow.no_name = reason as u8;
        row.no_name(reason);
        return Fate::Pass;
    }
    nameless(examination, reason)
}

/// Goes on to the next Initial. `false`: there is none.
#[inline(always)]
fn next(examination: &mut Examination, quic: &mut Quic) -> Result<bool, Unread> {
    quic.progress = UNFINISHED;
    run_loop(
        &mut Context { examination: &mut *examination, quic: &mut *quic },
        DATAGRAM_STEPS_MAX,
        packet_step,
    );
    match quic.progress {
        FOUND => {
            quic.id.take(&quic.datagram.header, &examination.window);
            Ok(true)
        }
        OVER => Ok(false),
        NEGOTIATION => Err(Unread::Negotiation),
        VERSION => Err(Unread::UnknownVersion),
        GQUIC => Err(Unread::Gquic),
        TRUNCATED => Err(Unread::Truncated),
        MALFORMED => Err(Unread::Malformed),
        _ => Err(Unread::NotQuic),
    }
}

// Values of `Quic::progress` while packets are gone through.
const UNFINISHED: u32 = 0;
const FOUND: u32 = 1;
const OVER: u32 = 2;
const NEGOTIATION: u32 = 3;
const VERSION: u32 = 4;
const GQUIC: u32 = 5;
const TRUNCATED: u32 = 6;
const MALFORMED: u32 = 7;

pub(crate) struct Context<'a> {
    pub(crate) examination: &'a mut Examination,
    pub(crate) quic: &'a mut Quic,
}

unsafe extern "C" fn packet_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `next` passes the context.
    let Context { examination, quic } = unsafe { &mut *context.cast::<Context<'_>>() };
    quic.progress = match quic.datagram.step(&examination.window) {
        Ok(Packet::Other) => return 0,
        Ok(Packet::Initial) => FOUND,
        // A client sends no Retry, and servers stop at it.
        Ok(Packet::Retry | Packet::End) => OVER,
        Err(Unread::Negotiation) => NEGOTIATION,
        Err(Unread::UnknownVersion) => VERSION,
        Err(Unread::Gquic) => GQUIC,
        Err(Unread::Truncated) => TRUNCATED,
        Err(Unread::Malformed) => MALFORMED,
        Err(_) => UNFINISHED,
    };
    1
}

/// True where the datagram goes on behind the window: none that starts a connection is so long.
#[inline(always)]
fn is_cut(examination: &Examination) -> bool {
    examination.packet.payload_length > WINDOW as u32
}

#[inline(always)]
fn oversize(examination: &mut Examination, row: Row) -> Fate {
    refused(examination, NoName::Oversize, row)
}

/// What becomes of a datagram with a packet that cannot be told from its header.
#[inline(always)]
fn unreadable(examination: &mut Examination, unread: Unread, row: Row) -> Fate {
    let reason = match unread {
        Unread::Negotiation => NoName::QuicNegotiation,
        Unread::UnknownVersion => NoName::QuicVersion,
        Unread::Gquic => NoName::Gquic,
        Unread::Truncated if is_cut(examination) => NoName::Oversize,
        Unread::Truncated => NoName::Truncated,
        Unread::Malformed => NoName::Malformed,
        Unread::NotQuic | Unread::WrongKeys | Unread::Oversize => NoName::NotQuic,
    };
    if reason == NoName::NotQuic {
        return plain(examination, reason, row);
    }
    refused(examination, reason, row)
}

/// Leaves to policy what becomes of a datagram that is QUIC, as far as its port or its version tells. On another
/// port that version may be anything.
#[inline(always)]
pub(crate) fn refused(examination: &mut Examination, reason: NoName, row: Row) -> Fate {
    if !is_port(examination.event.key.peer_port) {
        return plain(examination, NoName::NotQuic, row);
    }
    if held::is_held(&examination.event.key, examination.event.time_ns) {
        return nameless(examination, NoName::QuicHeld);
    }
    nameless(examination, reason)
}

/// An Initial that no keys open. Beside one with a name it is nothing to a server, as both have one ID. Once the server has answered it may be one of a hello that was judged, whose keys
/// are forgotten: what it lacks then is a hello.
#[inline(always)]
fn unopened(examination: &mut Examination, quic: &Quic, row: Row) -> Fate {
    let answered = |flow: &Flow| flow.phase == Phase::Answered as u8 && flow.slot == 0;
    if quic.named != 0 || followed(examination).is_some_and(|flow| answered(flow)) {
        return conclude(quic);
    }
    let reason =
        if quic.reason == NoName::Oversize as u32 { NoName::Oversize } else { NoName::QuicKeys };
    refused(examination, reason, row)
}

/// All Initials of a datagram were read.
#[inline(always)]
fn conclude(quic: &Quic) -> Fate {
    if quic.named != 0 { Fate::Judge } else { Fate::Pass }
}
