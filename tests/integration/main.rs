//! Integration tests: the loaded programs on frames from memory, what policies mean, the whole sensor in a lab, who
//! tries to get past it, what others read of its records, the spool on disks that
//! fail, and what needs a kernel that development machines may not have.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests know what they built"
)]

mod browsers;
mod captures;
mod engine;
mod evasion;
mod kernel;
mod live;
mod quic;
mod records;
mod store;
mod vm;
