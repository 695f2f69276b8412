//! The command line.

pub mod flows;
pub mod table;
pub mod time;
pub mod top;
