//! The control socket: HTTP/1.1 over a Unix socket, for the command line and for monitoring.
//!
//! `GET /v1/status` answers a [`status::Status`] as JSON, `GET /metrics` the same as text of `OpenMetrics`;
//! `POST /v1/policy/reload` reads the policy file again. `/v1/logins` says who is logged in where, and is told so;
//! `GET /v1/amendments` answers what of the past is known otherwise than records of then say; `GET /v1/top` a
//! [`top::Top`], which is gathered while somebody goes on asking for it.

pub mod client;
pub mod direction;
pub mod identity;
pub mod logins;
pub mod openmetrics;
pub mod server;
pub mod status;
pub mod top;
