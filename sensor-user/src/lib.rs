//! The user-space half of campus-sensor, in the order things flow:
//!
//! - [`config`] and [`policy`] are read and checked, with [`lists`] of other formats; a [`bundle`] brings a policy that
//!   somebody signed; [`daemon`] puts a sensor together from them;
//! - [`engine`] makes the table of listed names that the kernel looks names up in;
//! - [`kernel`] loads and attaches the programs, fills their tables and takes their events;
//! - [`pipeline`] carries events to [`assembly`], which makes a [`record`] of each flow and of what its
//!   [`hello`] offers, and records to the [`store`]; [`schema`] tells others what is in them;
//! - [`spool`] keeps records on disk until everyone they go to has them;
//! - [`export`] sends records on in formats others read;
//! - [`privacy`] puts pseudonyms in place of names, where that is wanted;
//! - [`control`] answers the [`cli`]; [`metrics`], [`names`] and [`clock`] serve all of them;
//! - [`replay`] runs the same programs over captures.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests know their numbers"))]

pub mod assembly;
pub mod bundle;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod export;
pub mod hello;
pub mod identity;
#[expect(unsafe_code, reason = "system calls and mapped memory")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "system calls want their own integers; sizes and descriptors fit them"
)]
pub mod kernel;
pub mod lists;
pub mod metrics;
pub mod names;
pub mod pipeline;
pub mod policy;
pub mod privacy;
pub mod record;
pub mod replay;
pub mod schema;
pub mod spool;
pub mod store;

mod hex;
mod progress;
mod sum;
