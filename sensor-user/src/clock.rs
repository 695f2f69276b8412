//! The machine's clocks, read in one place.

use std::time::SystemTime;

use crate::assembly::Clocks;
use crate::kernel::monotonic_ns;

/// Now, in both forms. A step of the wall clock shows in the offset alone.
pub fn now() -> Clocks {
    let now_ns = monotonic_ns();
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wall_ns = i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX);
    Clocks { now_ns, wall_offset_ns: wall_ns.saturating_sub(now_ns.cast_signed()) }
}
