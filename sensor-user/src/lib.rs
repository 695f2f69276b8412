//! The user-space half of campus-sensor.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "system calls and mapped memory")]
pub mod kernel;
