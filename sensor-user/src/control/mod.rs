//! The control socket: HTTP/1.1 and JSON over a Unix socket, for the command line.
//!
//! `GET /v1/status` answers a [`status::Status`]; `POST /v1/policy/reload` reads the policy file again.

pub mod client;
pub mod server;
pub mod status;
