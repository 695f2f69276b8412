//! Integration tests: the loaded programs on frames from memory, the whole sensor in a lab, and who tries to
//! get past it.

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
