//! Integration tests: the loaded programs on frames from memory, and the whole sensor in a lab.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests know what they built"
)]

mod browsers;
mod evasion;
mod kernel;
mod live;
