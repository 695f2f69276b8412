//! Why something that a source sent was not taken. Each is counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A packet for RADIUS from an address that is no client's.
    RadiusClient,
    /// A packet that is none of RADIUS (RFC 2865 section 3).
    RadiusMalformed,
    /// A packet that asks for something else than accounting.
    RadiusCode,
    /// A packet whose Request Authenticator was made with another secret (RFC 2866 section 3).
    RadiusSecret,
    /// A packet whose Message-Authenticator was (RFC 3579 section 3.2).
    RadiusMessage,
    /// A packet that was answered before.
    RadiusDuplicate,
    /// A request without a session, or without a status that is known.
    RadiusSession,
    /// News of a session of before its end.
    RadiusStale,
    /// A request of User-ID from an address that is no client's.
    UserIdClient,
    /// One without the key, or with another one.
    UserIdKey,
    /// One that is larger than is read.
    UserIdSize,
    /// One that is no message of User-ID: it is no XML, or declares a document type.
    UserIdMessage,
    /// An entry of one without an address or a user.
    UserIdEntry,
    /// A file of leases that cannot be read.
    LeaseFile,
    /// A line of one that is no lease.
    LeaseLine,
    /// A message of the kernel that tells of no neighbour.
    Neighbour,
}

impl Refusal {
    /// Every value.
    pub const ALL: &'static [Self] = &[
        Self::RadiusClient,
        Self::RadiusMalformed,
        Self::RadiusCode,
        Self::RadiusSecret,
        Self::RadiusMessage,
        Self::RadiusDuplicate,
        Self::RadiusSession,
        Self::RadiusStale,
        Self::UserIdClient,
        Self::UserIdKey,
        Self::UserIdSize,
        Self::UserIdMessage,
        Self::UserIdEntry,
        Self::LeaseFile,
        Self::LeaseLine,
        Self::Neighbour,
    ];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RadiusClient => "radius-client",
            Self::RadiusMalformed => "radius-malformed",
            Self::RadiusCode => "radius-code",
            Self::RadiusSecret => "radius-secret",
            Self::RadiusMessage => "radius-message-authenticator",
            Self::RadiusDuplicate => "radius-duplicate",
            Self::RadiusSession => "radius-session",
            Self::RadiusStale => "radius-stale",
            Self::UserIdClient => "user-id-client",
            Self::UserIdKey => "user-id-key",
            Self::UserIdSize => "user-id-size",
            Self::UserIdMessage => "user-id-message",
            Self::UserIdEntry => "user-id-entry",
            Self::LeaseFile => "lease-file",
            Self::LeaseLine => "lease-line",
            Self::Neighbour => "neighbour",
        }
    }
}

/// A counter for each.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    /// Counts one.
    pub fn count(&self, refusal: Refusal) {
        if let Some(counter) = self.0.get(refusal as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it happened.
    pub fn get(&self, refusal: Refusal) -> u64 {
        self.0.get(refusal as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}
