//! daemon.

pub mod cli;
pub mod config;
pub mod record;
pub mod store;
