//! `bpf(2)` commands that aya does not offer, and maps as memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::atomic::AtomicU64;

#[cfg(feature = "lab")]
const DELETE_ELEM: libc::c_long = 3;
#[cfg(feature = "lab")]
const GET_NEXT_KEY: libc::c_long = 4;
#[cfg(feature = "lab")]
const PROG_TEST_RUN: libc::c_long = 10;
const LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
const LOOKUP_BATCH: libc::c_long = 24;
#[cfg(feature = "lab")]
const UPDATE_BATCH: libc::c_long = 26;

/// `union bpf_attr` for commands on one element.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` for batch commands.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// `union bpf_attr` for runs of a program on a frame.
#[cfg(feature = "lab")]
#[repr(C)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<()> {
    // SAFETY: `attr` is a prefix of `union bpf_attr` for this command, of the size given, and its
    // pointers are to buffers that outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns when every program that was running has ended: `membarrier(2)`'s global command waits for a
/// grace period of the RCU that programs run under.
pub(super) fn wait_for_programs() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
    // SAFETY: no pointers. The kernel may be built without it; then a moment's sleep must do.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// The elements of an array that was made with `BPF_F_MMAPABLE`, or a part of a ring, as memory of this process.
pub(super) struct Mapping {
    start: *mut libc::c_void,
    bytes: usize,
}

impl Mapping {
    /// Maps the first `bytes` of an array's elements, which it must have.
    pub(super) fn of(array: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::part(array, 0, bytes, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// Maps so many bytes of a map from a page on.
    pub(super) fn part(
        map: impl AsFd,
        from: libc::off_t,
        bytes: usize,
        protection: libc::c_int,
    ) -> io::Result<Self> {
        let fd = map.as_fd().as_raw_fd();
        // SAFETY: a new shared mapping; the kernel refuses one beyond the map's end.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, from)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start, bytes })
    }

    /// The elements as words that the kernel writes too.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping starts at a page and has so many words; whoever else writes them does so word by word.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.bytes / size_of::<u64>()) }
    }

    /// Copies values to the first elements, as many as fit.
    pub(super) fn copy_from<T: aya::Pod>(&mut self, values: &[T]) {
        let count = values.len().min(self.bytes / size_of::<T>());
        // SAFETY: so many values lie within the mapping, whose start is that of a page; nobody else has a reference
        // into it, and programs read it only once its array is in its place.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.cast(), count) };
    }
}

// SAFETY: the mapping is not bound to a thread; what it has is written through atomics, or by who owns it alone.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and nobody holds a reference into it.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// Takes an element out of a hash map in one step; `None` where it is gone.
pub(super) fn take<K: aya::Pod, V: aya::Pod + Default>(
    map: BorrowedFd<'_>,
    key: &K,
) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(&mut value) as u64,
        flags: 0,
    };
    match bpf(LOOKUP_AND_DELETE_ELEM, &mut attr) {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Elements read in one call: enough for the fullest bucket of a hash map.
const BATCH: usize = 4096;

/// Calls `visit` with every element of a hash map. Elements that come or go meanwhile may be missed.
pub(super) fn scan<K: aya::Pod + Default, V: aya::Pod + Default>(
    map: BorrowedFd<'_>,
    mut visit: impl FnMut(&K, &V),
) -> io::Result<()> {
    let mut keys = vec![K::default(); BATCH];
    let mut values = vec![V::default(); BATCH];
    let (mut cursor, mut next) = (0_u32, 0_u32);
    let mut first = true;
    loop {
        let mut attr = BatchAttr {
            in_batch: if first { 0 } else { std::ptr::from_mut(&mut cursor) as u64 },
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map_fd: map.as_raw_fd() as u32,
            element_flags: 0,
            flags: 0,
        };
        let last = match bpf(LOOKUP_BATCH, &mut attr) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        for (key, value) in keys.iter().zip(&values).take(attr.count as usize) {
            visit(key, value);
        }
        if last {
            return Ok(());
        }
        cursor = next;
        first = false;
    }
}

/// Takes every element out of a hash map or trie whose keys have `key_size` bytes.
#[cfg(feature = "lab")]
pub(super) fn clear(map: BorrowedFd<'_>, key_size: usize) -> io::Result<()> {
    let mut key = vec![0_u8; key_size];
    let map_fd = map.as_raw_fd() as u32;
    loop {
        // No key: the first one.
        let next = key.as_mut_ptr() as u64;
        let mut attr = ElementAttr { map_fd, padding: 0, key: 0, value: next, flags: 0 };
        match bpf(GET_NEXT_KEY, &mut attr) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut attr = ElementAttr { map_fd, padding: 0, key: next, value: 0, flags: 0 };
        bpf(DELETE_ELEM, &mut attr)?;
    }
}

/// Makes `count` elements of an array zeros; each has `value_size` bytes, over all CPUs where each has its own.
#[cfg(feature = "lab")]
pub(super) fn zero(map: BorrowedFd<'_>, value_size: usize, count: u32) -> io::Result<()> {
    let keys: Vec<u32> = (0..count).collect();
    let values = vec![0_u8; value_size * keys.len()];
    let mut attr = BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map_fd: map.as_raw_fd() as u32,
        element_flags: 0,
        flags: 0,
    };
    bpf(UPDATE_BATCH, &mut attr)
}

/// Runs a program so many times on one frame, keeping nothing but what it said last.
#[cfg(feature = "lab")]
pub(super) fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<u32> {
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd() as u32,
        retval: 0,
        data_size_in: frame.len() as u32,
        data_size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat,
        duration: 0,
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    Ok(attr.retval)
}
