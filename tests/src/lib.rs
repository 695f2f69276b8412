//! The lab: a client, a gateway and a server in network namespaces of their own, real programs at
//! both ends, and the sensor on the gateway. Needs root, and the programs `cargo xtask setup` installs.
//!
//! ```text
//!  client eth0 ── 10.77.1.0/24, fd77:1::/64 ── lan0 gateway wan0 ── 10.77.2.0/24, fd77:2::/64 ── eth0 server
//!  curl, Python                      campus-sensor on lan0, NAT on wan0                             nginx
//! ```
//!
//! In the order in which a test meets them:
//! - [`lab`]: builds and removes the three namespaces; one lab a process at a time.
//! - [`servers`]: nginx with certificates for the names a test wants, and its access log.
//! - [`sensor`]: the daemon with a configuration of its own; start, stop, kill, ask.
//! - [`clients`]: what a request got, and how soon.
//! - [`evaders`]: programs made to get past a sensor.
//! - [`dns`]: queries and answers, byte by byte; [`resolver`]: dnsmasq, and what it was asked;
//!   [`signed`]: a zone with signatures.
//! - [`quic`]: datagrams of QUIC clients, byte by byte.
//! - [`script`]: a TCP client that sends what a test says, down to the bit.
//! - [`pins`]: a directory for what a sensor pins.
//! - [`packets`]: whole frames in and out of an interface.
//! - [`disk`]: a file system that gets full.
//! - [`namespace`], [`process`]: one namespace, one bounded program in it.
//! - `leftover`, `signal`: what must be gone afterwards, also after a panic or Ctrl-C.
//!
//! Invariants: addresses live only inside the lab's namespaces. Only processes started here are
//! ended, by their id. Nothing waits without a limit, and nothing sleeps where it can ask.

/// Set where nothing is to be left out: more sizes, more seeds, more repetitions.
pub const FULL_VARIABLE: &str = "CAMPUS_SENSOR_FULL";

/// Names a folder of malformed captures to run, in place of frames that the tests break themselves.
pub const MALFORMED_VARIABLE: &str = "CAMPUS_SENSOR_MALFORMED";

pub mod clients;
pub mod disk;
#[expect(clippy::cast_possible_truncation, reason = "builders know the lengths of what they build")]
pub mod dns;
pub mod evaders;
#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "builders know the lengths of what they build"
)]
pub mod frames;
pub mod lab;
mod leftover;
pub mod namespace;
pub mod packets;
pub mod pins;
pub mod process;
#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "builders know the lengths of what they build"
)]
pub mod quic;
pub mod resolver;
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "numbers on the wire wrap, and builders know the lengths of what they build"
)]
pub mod script;
pub mod sensor;
pub mod servers;
mod signal;
pub mod signed;
