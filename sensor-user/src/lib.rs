//! The user-space half of campus-sensor.
#![deny(unsafe_code)]

pub mod config;
#[expect(unsafe_code, reason = "system calls and mapped memory")]
pub mod kernel;
pub mod policy;
pub mod record;
pub mod replay;
pub mod store;
