//! daemon.

pub mod record;
