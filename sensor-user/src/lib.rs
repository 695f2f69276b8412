//! daemon.
pub mod policy;
