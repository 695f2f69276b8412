//! What passes now, by device, name, verdict and reason, kept only while somebody looks.
//!
//! Records tell of a flow when it ends or has lasted; what passes now shows in the flows that live. Each sweep reads every
//! flow, so what a flow has gained since the sweep before is known for one look-up of each that is not silent, and what it gained until it left
//! the table is known as it leaves. A flow that was there before somebody looked counts from then on. So the sums are of
//! each packet of a flow once, and never of one that came before.
//!
//! Sums are of [`WINDOW_NS`] each, and the last [`WINDOWS`] are told together. While nobody has asked for [`IDLE_NS`],
//! there is nothing here, and a sweep does no more than look at one number. Meanwhile a flow that is not silent costs about a
//! microsecond a sweep.

mod meter;
mod seen;
mod sums;
mod watch;

pub use meter::Meter;
pub use sums::{Bounded, Device, Sums, Window};
pub use watch::Watch;

/// Least time that sums are gathered for before they are shown: what people take in. A sweep that is less often makes it
/// longer.
pub const WINDOW_NS: u64 = 2_000_000_000;

/// Sums told together: ten seconds, in which a blocked flow of three packets can be read off a screen.
pub const WINDOWS: usize = 5;

/// Whoever looks asks again within it; after that all is let go of.
pub const IDLE_NS: u64 = 15_000_000_000;

/// Flows whose last numbers are remembered, 57 bytes each, 15 MB at most. What is beyond is not told, and counted.
pub const FLOWS_MAX: usize = 200_000;

/// Devices told apart in one sum, 96 bytes each; the rest is summed as others. A campus has as many active within seconds.
pub const DEVICES_MAX: usize = 4_096;

/// Names told apart likewise, 200 bytes each.
pub const NAMES_MAX: usize = 8_192;
