//! The whole sensor where the kernel has what development machines may lack: netem above all. Run by
//! `cargo xtask matrix` on each of its kernels; nothing here measures time, which means little there.
//!
//! - [`filters`]: the sensor attached the way the kernel has for it, replaced and removed.
//! - [`loss`]: a path that loses and reorders packets.
//!
//! Beside the tests: [`exchange`] is one TCP connection with a hello of a chosen size.

mod exchange;
mod filters;
mod loss;
