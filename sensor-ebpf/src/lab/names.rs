//! Look-ups of names, one a run: in the table the sensor has, and in the kernel's own maps.

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::btf_maps;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_map_lookup_elem};
use aya_ebpf::macros::{btf_map, map, xdp};
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::table::{Head, Line};
use sensor_ebpf::abi::{DomainEntry, LISTED_LABELS_MAX, NAME_BUFFER};
use sensor_ebpf::cursor::bound;
use sensor_ebpf::name::{HashKey, SUFFIX_STEPS_MAX, SuffixReader, folded};
use sensor_ebpf::table::deepest;

/// Names that are asked for in turn; a power of two.
const ASKED: u32 = 1 << 16;

/// Bytes of such a name, and behind it one for its length.
const ROOM: usize = 64;

/// Key of the hash map, and of what is only hashed.
const MAP_KEY: HashKey = HashKey { start: 1, multiplier: 0x9e37_79b9_7f4a_7c15 };

/// `BPF_F_NO_PREALLOC`: a trie must.
const NO_PREALLOC: u32 = 1;

/// In words, as they are copied.
#[map]
static ASKED_NAMES: Array<[u64; ROOM / 8]> = Array::with_max_entries(ASKED, 0);

/// As the sensor declares them; the loader reads the types of the fields.
#[repr(C)]
struct Lines {
    r#type: *const [i32; BPF_MAP_TYPE_ARRAY as usize],
    key_size: *const [i32; size_of::<u32>()],
    value_size: *const [i32; size_of::<Line>()],
    max_entries: *const [i32; 1],
    map_flags: *const [i32; 1 << 10 | 1 << 12],
}

impl Lines {
    #[inline(always)]
    fn get(&self, number: u32) -> Option<&Line> {
        let map = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the reference is to a map, with keys and values of these types.
        unsafe { bpf_map_lookup_elem(map, (&raw const number).cast()).cast::<Line>().as_ref() }
    }
}

#[btf_map]
static LISTED: btf_maps::ArrayOfMaps<Lines, 2> = btf_maps::ArrayOfMaps::new();

#[map]
static LISTED_MAP: HashMap<u64, DomainEntry> = HashMap::with_max_entries(1, 0);

/// By the name from its end on, and a dot behind it.
#[map]
static LISTED_TRIE: LpmTrie<[u8; ROOM], DomainEntry> = LpmTrie::with_max_entries(1, NO_PREALLOC);

#[repr(C)]
struct Scratch {
    name: [u8; NAME_BUFFER],
    suffixes: SuffixReader,
    reversed: Key<[u8; ROOM]>,
    length: u32,
    at: u32,
    turn: u32,
}

/// Look-ups that found something.
#[map]
static FOUND: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map]
static NAMES_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Takes the next name, as the sensor has it from a packet.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "the name comes first in a struct with words")]
fn next() -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's own element, taken once a run.
    let scratch = unsafe { &mut *NAMES_SCRATCH.get_ptr_mut(0)? };
    scratch.turn = scratch.turn.wrapping_add(1);
    let asked = ASKED_NAMES.get(scratch.turn & (ASKED - 1))?;
    let name = (&raw mut scratch.name).cast::<[u64; ROOM / 8]>();
    // SAFETY: the name is longer than that, and aligned like the struct it comes first in.
    unsafe { *name = *asked };
    scratch.length = u32::from(scratch.name[ROOM - 1]) & (ROOM as u32 - 1);
    Some(scratch)
}

/// Makes the name canonical and hashes its suffixes.
#[inline(always)]
fn hash(scratch: &mut Scratch, key: HashKey) {
    scratch.suffixes.begin(scratch.length, key);
    each_word(scratch, hash_step);
}

unsafe extern "C" fn hash_step(_: u32, scratch: *mut c_void) -> i64 {
    // SAFETY: only `each_word` passes it.
    let scratch = unsafe { &mut **scratch.cast::<&mut Scratch>() };
    i64::from(!scratch.suffixes.step(&mut scratch.name))
}

#[expect(clippy::cast_ptr_alignment, reason = "the machine loads and stores words anywhere")]
unsafe extern "C" fn reverse_step(_: u32, scratch: *mut c_void) -> i64 {
    // SAFETY: only `each_word` passes it.
    let scratch = unsafe { &mut **scratch.cast::<&mut Scratch>() };
    if scratch.length == 0 {
        return 1;
    }
    let count = if scratch.length < 8 { scratch.length } else { 8 };
    scratch.length -= count;
    let from = bound::<{ ROOM as u32 - 1 }>(scratch.length) as usize;
    let to = bound::<{ ROOM as u32 - 1 }>(scratch.at) as usize;
    scratch.at += count;
    // SAFETY: both places are in their arrays, and behind each of these there are eight bytes more.
    unsafe {
        let word = folded(*scratch.name.as_ptr().add(from).cast::<u64>());
        let word = (word << (bound::<7>(8 - count) * 8)).swap_bytes();
        *scratch.reversed.data.as_mut_ptr().add(to).cast::<u64>() = word;
    }
    0
}

#[inline(always)]
fn each_word(mut scratch: &mut Scratch, step: unsafe extern "C" fn(u32, *mut c_void) -> i64) {
    let context = (&raw mut scratch).cast();
    // SAFETY: the step takes what is passed, and no longer than the call.
    unsafe { bpf_loop(SUFFIX_STEPS_MAX, step as *mut c_void, context, 0) };
}

/// Counts what was found.
#[inline(always)]
fn tell(categories: u64) -> u32 {
    if let Some(found) = FOUND.get_ptr_mut(0) {
        // SAFETY: this CPU's own element.
        unsafe { *found += u64::from(categories != 0) };
    }
    XDP_PASS
}

/// Hashes the suffixes of a name and looks none up.
#[xdp]
pub(crate) fn names_hashed(_ctx: XdpContext) -> u32 {
    let Some(scratch) = next() else { return XDP_ABORTED };
    hash(scratch, MAP_KEY);
    tell(0)
}

/// Looks a name up as the sensor does.
#[xdp]
pub(crate) fn names_table(_ctx: XdpContext) -> u32 {
    let Some(scratch) = next() else { return XDP_ABORTED };
    let Some(lines) = LISTED.get(scratch.turn & 1) else { return XDP_ABORTED };
    let Some(head) = lines.get(0).map(Head::of) else { return XDP_ABORTED };
    hash(scratch, head.key);
    let entry = deepest(head, &scratch.suffixes, |line| lines.get(line));
    tell(entry.categories)
}

/// Looks its suffixes up in a hash map, deepest first.
#[xdp]
pub(crate) fn names_map(_ctx: XdpContext) -> u32 {
    let Some(scratch) = next() else { return XDP_ABORTED };
    hash(scratch, MAP_KEY);
    let mut labels = scratch.suffixes.listable();
    let rounds = bound::<{ LISTED_LABELS_MAX as u32 * 2 - 1 }>(LISTED_LABELS_MAX as u32);
    for _ in 0..rounds {
        if labels == 0 {
            break;
        }
        // SAFETY: the value is copied out at once.
        if let Some(entry) = unsafe { LISTED_MAP.get(scratch.suffixes.suffix(labels)) } {
            return tell(entry.categories);
        }
        labels -= 1;
    }
    tell(0)
}

/// Looks it up from its end on in a trie.
#[xdp]
pub(crate) fn names_trie(_ctx: XdpContext) -> u32 {
    let Some(scratch) = next() else { return XDP_ABORTED };
    scratch.at = 0;
    let length = scratch.length;
    each_word(scratch, reverse_step);
    let at = bound::<{ ROOM as u32 - 1 }>(length) as usize;
    // SAFETY: the index is masked to be below the length of the array.
    unsafe { *scratch.reversed.data.as_mut_ptr().add(at) = b'.' };
    scratch.reversed.prefix_len = 8 * (length + 1);
    tell(LISTED_TRIE.get(&scratch.reversed).map_or(0, |entry| entry.categories))
}
