//! Every map, its size and why. Sizes that the configuration sets are replaced at load time.

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_ebpf::btf_maps;
use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use sensor_ebpf::abi::table::Line;
use sensor_ebpf::abi::{
    ANSWERED_MAX, Address, AnsweredKey, AnsweredName, Control, DomainEntry, Flow, FlowEndEvent,
    FlowEntry, FlowKey, GROUPS_MAX, GroupMasks, IFINDEX_MAX, INTERFACES_MAX, Interface,
    InterfaceCounters, LISTED_PREFIXES_MAX, LOGINS_MAX, MEMBERS_MAX, MemberKey, NAME_BUFFER,
    PORTS_MAX, Page, PageKey, PortKey, Prefix, Recorded, StoredHello, StoredName, VerdictEvent,
};
use sensor_ebpf::cursor::Window;
use sensor_ebpf::dns::{MessageReader, NameReader, Stream};
use sensor_ebpf::http::RequestReader;
use sensor_ebpf::locked::LockedReader;
use sensor_ebpf::name::SuffixReader;
use sensor_ebpf::options::OptionsReader;
use sensor_ebpf::parse::Packet;
use sensor_ebpf::reset::Order;
use sensor_ebpf::slot::{Comparison, Coverage, Slot, SlotShare};
use sensor_ebpf::tls::{HelloReader, OfferHash, READER_ROOM, Scan};

use crate::budget::Budget;
use crate::quic::Quic;

/// `BPF_F_NO_PREALLOC`: memory grows with use.
const NO_PREALLOC: u32 = 1;

/// `BPF_F_MMAPABLE`: user space stores into it without a system call.
const MMAPABLE: u32 = 1 << 10;

/// `BPF_F_INNER_MAP`: maps of other sizes may take its place.
const ANY_SIZE: u32 = 1 << 12;

/// Tail-call targets of [`STAGES`].
pub(crate) mod stage {
    /// Looks at a client's segment while a handshake is examined.
    pub(crate) const NORMALISE: u32 = 0;
    /// Reads a name from a segment that a hello or head starts in.
    pub(crate) const HANDSHAKE: u32 = 1;
    /// Reads a name from the segments of a stream that is kept in a slot.
    pub(crate) const ASSEMBLE: u32 = 2;
    /// Decides about a name, or about having none.
    pub(crate) const JUDGE: u32 = 3;
    /// Acts on a packet that does not pass.
    pub(crate) const REJECT: u32 = 4;
    /// Decides about a packet that belongs to no flow.
    pub(crate) const UNREAD: u32 = 5;
    /// Reads the names a DNS query asks for.
    pub(crate) const DNS: u32 = 6;
    /// Answers a DNS query.
    pub(crate) const ANSWER: u32 = 7;
    /// Finds the next DNS message of a connection.
    pub(crate) const DNS_STREAM: u32 = 8;
    /// Reads the requests of a connection.
    pub(crate) const REQUESTS: u32 = 9;
    /// Reads the Initials of a client's datagram.
    pub(crate) const QUIC: u32 = 10;
    /// Decides about where a packet opens a flow to.
    pub(crate) const DESTINATION: u32 = 11;
    /// Decides about a flow that an earlier policy judged.
    pub(crate) const REJUDGE: u32 = 12;
}

/// The stages behind the fast path.
#[map]
pub(crate) static STAGES: ProgramArray = ProgramArray::with_max_entries(16, 0);

/// Tail-call targets of [`EGRESS_STAGES`].
pub(crate) mod egress_stage {
    /// Reads a DNS answer.
    pub(crate) const DNS_REPLY: u32 = 0;
}

/// The stages behind egress: an array holds programs of one type.
#[map]
pub(crate) static EGRESS_STAGES: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Watched interfaces, by interface index: an array, because every packet looks here.
#[map]
pub(crate) static INTERFACES: Array<Interface> = Array::with_max_entries(IFINDEX_MAX + 1, 0);

/// Two rows an interface: ingress, egress.
#[map]
pub(crate) static COUNTERS: PerCpuArray<InterfaceCounters> =
    PerCpuArray::with_max_entries(INTERFACES_MAX * 2, 0);

/// Tags of the live flows: a line with the head, and a bucket in each line behind it; `kernel.flows_max`.
#[map]
pub(crate) static FLOW_TAGS: Array<Line> = Array::with_max_entries(2, MMAPABLE);

/// The flows themselves, eight for each bucket.
#[map]
pub(crate) static FLOW_ENTRIES: Array<FlowEntry> = Array::with_max_entries(8, MMAPABLE);

/// Live flows where the kernel's own map is compared with the table: one element where it is not. Preallocated: an
/// allocation per new flow costs four times the insert.
#[map]
pub(crate) static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(1, 0);

/// What of such a flow is recorded already. User space alone uses it; it is declared here so that it is sized like
/// [`FLOWS`].
#[map]
pub(crate) static RECORDED: HashMap<FlowKey, Recorded> = HashMap::with_max_entries(1, NO_PREALLOC);

/// Names by their hash; `kernel.names_max`. The least recently used goes first.
#[map]
pub(crate) static NAMES: LruHashMap<u64, StoredName> = LruHashMap::with_max_entries(65_536, 0);

/// What hellos offer, by a hash that does not depend on the order of extensions or on GREASE. A campus
/// has some hundred kinds of client; the least recently used goes first.
#[map]
pub(crate) static HELLOS: LruHashMap<u64, StoredHello> = LruHashMap::with_max_entries(1024, 0);

/// What devices were told of addresses. Beside it, not in it: a flow's own name.
#[map]
pub(crate) static ANSWERED: LruHashMap<AnsweredKey, AnsweredName> =
    LruHashMap::with_max_entries(ANSWERED_MAX, 0);

/// Handshakes in several segments; `kernel.handshake_slots`.
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(6144, 0);

/// Connections to resolvers whose queries come in pieces, or are not acknowledged yet: 2.1 MiB. Stubs ask
/// over TCP only where an answer does not fit UDP; the least recently used goes first.
#[map]
pub(crate) static STREAMS: LruHashMap<FlowKey, Stream> = LruHashMap::with_max_entries(512, 0);

/// What a new one is made in.
#[map]
static NEW_STREAM: PerCpuArray<Stream> = PerCpuArray::with_max_entries(1, 0);

/// Slots each device holds. A device that is forgotten here starts from 0.
#[map]
pub(crate) static SLOT_SHARES: LruHashMap<Address, SlotShare> =
    LruHashMap::with_max_entries(16_384, 0);

/// Lines of a table of listed names, as many as it has: an array.
///
/// The sizes of key and value are declared, not their types: Debian 12's kernel lets an array take this one's place only
/// where both have types or neither has, and those that user space makes have none. The loader reads the types of the fields.
#[repr(C)]
pub(crate) struct Lines {
    r#type: *const [i32; BPF_MAP_TYPE_ARRAY as usize],
    key_size: *const [i32; size_of::<u32>()],
    value_size: *const [i32; size_of::<Line>()],
    max_entries: *const [i32; 1],
    map_flags: *const [i32; (MMAPABLE | ANY_SIZE) as usize],
}

impl Lines {
    /// The line of a number, `None` behind the last.
    #[inline(always)]
    pub(crate) fn get(&self, number: u32) -> Option<&Line> {
        let map = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the reference is to a map, as the outer array gave it, with keys and values of these types; nobody
        // writes to its values.
        unsafe { bpf_map_lookup_elem(map, (&raw const number).cast()).cast::<Line>().as_ref() }
    }
}

/// Listed names of the policy in force and of the one being filled, a whole table each: the element is the
/// generation's lowest bit. `kernel.domains_max` is what user space puts into one.
#[btf_map]
pub(crate) static DOMAINS: btf_maps::ArrayOfMaps<Lines, 2> = btf_maps::ArrayOfMaps::new();

/// Listed ports of both policies.
#[map]
pub(crate) static PORTS: HashMap<PortKey, DomainEntry> =
    HashMap::with_max_entries(PORTS_MAX * 2, NO_PREALLOC);

/// Listed addresses of both policies.
#[map]
pub(crate) static PREFIXES: LpmTrie<Prefix, DomainEntry> =
    LpmTrie::with_max_entries(LISTED_PREFIXES_MAX * 2, NO_PREALLOC);

/// Addresses to groups, of both policies.
#[map]
pub(crate) static GROUP_PREFIXES: LpmTrie<Prefix, u32> =
    LpmTrie::with_max_entries(65_536, NO_PREALLOC);

/// What else puts devices into groups, of both policies: what they are, and who is logged in.
#[map]
pub(crate) static MEMBERS: HashMap<MemberKey, u32> =
    HashMap::with_max_entries((MEMBERS_MAX + LOGINS_MAX) * 2, NO_PREALLOC);

/// Masks of the groups: the row is the generation's lowest bit times [`GROUPS_MAX`] plus the group.
#[map]
pub(crate) static GROUPS: Array<GroupMasks> = Array::with_max_entries(GROUPS_MAX * 2, 0);

/// Block pages of both policies: one for each category a group blocks, 1.2 KiB each.
#[map]
pub(crate) static PAGES: HashMap<PageKey, Page> =
    HashMap::with_max_entries(GROUPS_MAX * 64 * 2, NO_PREALLOC);

/// Orders that wait for their packet between XDP and TC, where the driver carries no metadata. They wait
/// for microseconds; the least recently used goes first.
#[map]
pub(crate) static ORDERS: LruHashMap<FlowKey, Order> = LruHashMap::with_max_entries(1024, 0);

/// What each client has used up, see [`crate::budget`]. A client that is forgotten here starts anew.
#[map]
pub(crate) static BUDGETS: LruHashMap<Address, Budget> = LruHashMap::with_max_entries(16_384, 0);

/// Clients and servers that a connection was blocked of, and until when, ns of the sensor's clock. The least
/// recently used goes first: a minute of a campus has some hundred.
#[map]
pub(crate) static HELD: LruHashMap<AnsweredKey, u64> = LruHashMap::with_max_entries(4096, 0);

/// One cell: what user space tells the programs.
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, MMAPABLE);

/// Verdicts; `kernel.verdict_ring_kib`. Apart from flow ends, so that neither can crowd out the other.
#[map]
pub(crate) static VERDICTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Flow ends; `kernel.flow_end_ring_kib`.
#[map]
pub(crate) static FLOW_ENDS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// What the stages hand to each other, and what is too large for the stack.
#[repr(C)]
pub(crate) struct Examination {
    pub(crate) window: Window,
    /// Becomes the event; its key, name and name source are filled on the way.
    pub(crate) event: VerdictEvent,
    pub(crate) requests: RequestReader,
    /// What the requests in this packet name, until it is judged.
    pub(crate) told: [Told; NAMES_ROOM],
    pub(crate) suffixes: SuffixReader,
    pub(crate) locked: LockedReader,
    pub(crate) offer: OfferHash,
    pub(crate) comparison: Comparison,
    pub(crate) coverage: Coverage,
    pub(crate) options: OptionsReader,
    pub(crate) scan: Scan,
    pub(crate) dns: Query,
    /// The packet, as the entry program parsed it.
    pub(crate) packet: Packet,
    /// Offset in the packet that the window was last filled from; [`crate::payload::NOWHERE`] of none.
    pub(crate) window_from: u32,
    /// Sequence number of the first byte the server does not have, for its reset.
    pub(crate) server_next: u32,
    /// How a reader ended, see [`crate::hello::Outcome`]; or what to do, see [`crate::reject`].
    pub(crate) outcome: u32,
    /// Number of the slot that has the hello in this datagram; 0 of none, and of segments.
    pub(crate) connection: u32,
    /// Number of the flow's entry, see [`crate::flows::at`].
    pub(crate) entry: u32,
    /// Counter row of the interface.
    pub(crate) counters: u32,
    /// Names in `told`, and reasons for none.
    pub(crate) names: u32,
    /// 1 where the name in the event is not the first of its head.
    pub(crate) is_further_name: u32,
    /// Names, and reasons for none, that were judged of those.
    pub(crate) names_judged: u32,
    /// [`FRESH`], [`JUDGING`] or [`NO_REQUEST`].
    pub(crate) goes_on: u32,
    /// 1 where a hello is looked for in this packet once the names in it have passed.
    pub(crate) then_hello: u32,
    /// Bits of [`sight`].
    pub(crate) sight: u32,
    /// Number of the set that a locked suffix of the name is in; 0 of none.
    pub(crate) locked_set: u32,
    /// [`Control::epoch`] that the packet is judged in.
    pub(crate) epoch: u32,
}

/// [`Examination::goes_on`] of a packet that nothing was read of.
pub(crate) const FRESH: u32 = 0;
/// [`Examination::goes_on`] while what its requests name is judged.
pub(crate) const JUDGING: u32 = 1;
/// [`Examination::goes_on`] of a packet that carries no request.
pub(crate) const NO_REQUEST: u32 = 2;

/// Room for what the requests of a packet name: a power of two, so that an index can be masked.
pub(crate) const NAMES_ROOM: usize = 16;

/// A name, or the reason for none.
#[repr(C)]
pub(crate) struct Told {
    pub(crate) name: [u8; NAME_BUFFER],
    pub(crate) length: u32,
    /// A [`sensor_ebpf::abi::NoName`].
    pub(crate) no_name: u8,
    /// 1 where it is not the first name of its head.
    pub(crate) is_further: u8,
    pub(crate) reserved: u16,
}

/// A DNS query on its way through the stages.
#[repr(C)]
pub(crate) struct Query {
    pub(crate) message: MessageReader,
    pub(crate) name: NameReader,
    /// Questions that were judged; one more than there are once the reason for no more of them was.
    pub(crate) judged: u32,
    /// A [`sensor_ebpf::dns::Content`]: what the answer says.
    pub(crate) content: u32,
    /// Where its message is from, see [`crate::dns`].
    pub(crate) stream: u32,
    /// Offset behind its message in the stream.
    pub(crate) end: u32,
}

/// A DNS answer on its way from egress to its stage, and what that stage reads it with.
#[repr(C)]
pub(crate) struct Reply {
    pub(crate) window: Window,
    pub(crate) message: MessageReader,
    pub(crate) reader: NameReader,
    pub(crate) suffixes: SuffixReader,
    /// The name asked for.
    pub(crate) name: [u8; NAME_BUFFER],
    /// The flow it belongs to.
    pub(crate) flow: FlowKey,
    /// Where the next address goes.
    pub(crate) key: AnsweredKey,
    pub(crate) answered: AnsweredName,
    pub(crate) now_ns: u64,
    /// Number of its entry, see [`crate::flows::at`].
    pub(crate) entry: u32,
    /// Counter row of the interface.
    pub(crate) counters: u32,
    /// Offsets in the frame, and bytes of the payload.
    pub(crate) transport: u32,
    pub(crate) payload: u32,
    pub(crate) payload_length: u32,
    /// 1 where the device asked for this name.
    pub(crate) asked: u32,
    /// 1 where service records are renamed.
    pub(crate) renames: u32,
    /// Addresses that were kept, or would have been had they been asked for.
    pub(crate) addresses: u32,
    /// Records that were renamed.
    pub(crate) renamed: u32,
    /// 1 where the name was read to its end.
    pub(crate) named: u32,
}

/// One a CPU: egress does not nest in itself.
#[map]
static REPLIES: PerCpuArray<Reply> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's answer.
#[inline(always)]
pub(crate) fn reply() -> Option<&'static mut Reply> {
    // SAFETY: per-CPU memory of a hook that does not nest in itself; each program takes the reference once.
    REPLIES.get_ptr_mut(0).map(|reply| unsafe { &mut *reply })
}

/// This CPU's memory: [`Examination`], and the reader of a hello that is in no slot.
#[repr(C)]
pub(crate) struct Scratch {
    reader: HelloReader,
    examination: Examination,
}

// A masked store through the reader stays within the value.
const _: () = assert!(size_of::<Examination>() >= READER_ROOM);

/// Bits of [`Examination::sight`].
pub(crate) mod sight {
    /// The interface is a tap: nothing is enforced, no segment is left out.
    pub(crate) const TAP: u32 = 1;
    /// The packet belongs to a flow, and the client is its LAN side: its stream can be followed.
    pub(crate) const FOLLOWED: u32 = 2;
    /// XDP runs behind GRO: merged frames carry partial checksums.
    pub(crate) const MERGED: u32 = 4;
    /// What is judged was asked for by DNS: the verdict is of one query.
    pub(crate) const DNS: u32 = 8;
    /// What is judged was read of requests: the verdict leaves the flow's phase as it is.
    pub(crate) const HTTP: u32 = 16;
    /// The flow is blocked: only a hello of another connection gets through.
    pub(crate) const BLOCKED: u32 = 32;
}

/// One a CPU: XDP programs do not nest.
#[map]
pub(crate) static EXAMINATIONS: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// What a hook needs to make or end a flow.
#[repr(C)]
pub(crate) struct Staging {
    pub(crate) flow: Flow,
    pub(crate) end: FlowEndEvent,
}

/// One a CPU and hook: a cloned packet runs egress inside ingress.
#[map]
pub(crate) static STAGING: PerCpuArray<Staging> = PerCpuArray::with_max_entries(2, 0);

/// One a CPU: XDP programs do not nest.
#[map]
static QUICS: PerCpuArray<Quic> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's memory for opening an Initial.
#[inline(always)]
pub(crate) fn quic() -> Option<&'static mut Quic> {
    // SAFETY: per-CPU memory of a hook that does not nest; its one user takes the reference once.
    QUICS.get_ptr_mut(0).map(|quic| unsafe { &mut *quic })
}

/// This CPU's memory for a stream that is about to be kept.
#[inline(always)]
pub(crate) fn new_stream() -> Option<&'static mut Stream> {
    // SAFETY: per-CPU memory of a hook that does not nest; its one user takes the reference once.
    NEW_STREAM.get_ptr_mut(0).map(|stream| unsafe { &mut *stream })
}

/// The control cell, `None` only before the map exists.
#[inline(always)]
pub(crate) fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}

/// This CPU's examination.
#[inline(always)]
pub(crate) fn examination() -> Option<&'static mut Examination> {
    scratch().map(|(examination, _)| examination)
}

/// This CPU's examination and reader.
#[inline(always)]
pub(crate) fn scratch() -> Option<(&'static mut Examination, &'static mut HelloReader)> {
    // SAFETY: per-CPU memory of a hook that does not nest; each program takes the reference once.
    let scratch = EXAMINATIONS.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })?;
    Some((&mut scratch.examination, &mut scratch.reader))
}
