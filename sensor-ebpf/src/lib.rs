//! The data path of campus-sensor.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs)]

pub mod abi;
