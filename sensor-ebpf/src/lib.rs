//! The data path of campus-sensor: what crosses to user space, and parsers that are the same source
//! in the kernel and on the host.
//!
//! In the order a packet meets it: [`cursor`] reads bytes, [`parse`] makes a packet of a frame,
//! [`flow`] and [`flow_table`] find what it belongs to, [`tls`], [`http`], [`quic`] and [`dns`] read the name, [`name`] makes it canonical
//! and hashes it, [`table`] and [`locked`] have what is listed, [`policy`] decides, [`reset`] answers. The programs that run these in the kernel are
//! the binary of this crate, in `xdp/`.
//!
//! The library never names aya-ebpf, std or a clock, and its parsers cannot panic: every read is
//! checked, every loop is bounded.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![warn(missing_docs)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths and offsets of a packet fit 32 bits; masks make the rest explicit"
)]

pub mod abi;
pub mod cursor;
pub mod dns;
pub mod flow;
pub mod flow_table;
pub mod http;
pub mod locked;
pub mod name;
pub mod normalise;
pub mod options;
pub mod parse;
pub mod policy;
pub mod probe;
pub mod quic;
pub mod reset;
mod sha256;
pub mod slot;
pub mod step;
pub mod table;
pub mod tls;
