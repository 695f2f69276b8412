//! daemon.

pub mod config;
pub mod record;
