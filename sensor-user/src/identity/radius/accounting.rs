//! Requests of accounting as facts: sessions begin, go on, move and end.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::packet::Request;
use crate::identity::name::Domains;
use crate::identity::told::Session;
use crate::identity::{Directory, Ended, Onset, Refusal, SESSION_BYTES_MAX, name};
use crate::policy::member::Mac;

/// Requests remembered, to know one that is sent again: a client has 256 identifiers.
const REMEMBERED_MAX: usize = 1 << 14;

/// For how long: clients send again for some minutes at most. One that begins anew may send the same to the byte; µs.
const REMEMBERED_US: i64 = 300 * SECOND_US;

/// How old the time of an event may be to be believed. Older ones are of clocks that were never set; µs.
const EVENT_AGE_MAX_US: i64 = 24 * 3600 * 1_000_000;

/// µs of a second.
const SECOND_US: i64 = 1_000_000;

/// Types of attributes, and the documents that define them.
mod attribute {
    pub(super) const USER_NAME: u8 = 1; // RFC 2865
    pub(super) const NAS_IP_ADDRESS: u8 = 4; // RFC 2865
    pub(super) const FRAMED_IP_ADDRESS: u8 = 8; // RFC 2865
    pub(super) const CALLING_STATION_ID: u8 = 31; // RFC 2865
    pub(super) const NAS_IDENTIFIER: u8 = 32; // RFC 2865
    pub(super) const ACCT_STATUS_TYPE: u8 = 40; // RFC 2866
    pub(super) const ACCT_DELAY_TIME: u8 = 41; // RFC 2866
    pub(super) const ACCT_SESSION_ID: u8 = 44; // RFC 2866
    pub(super) const ACCT_SESSION_TIME: u8 = 46; // RFC 2866
    pub(super) const EVENT_TIMESTAMP: u8 = 55; // RFC 2869
    pub(super) const NAS_IPV6_ADDRESS: u8 = 95; // RFC 3162
    pub(super) const FRAMED_IPV6_PREFIX: u8 = 97; // RFC 3162
    pub(super) const FRAMED_IPV6_ADDRESS: u8 = 168; // RFC 6911
}

/// Values of Acct-Status-Type (RFC 2866 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Start,
    Stop,
    Interim,
    /// The client begins or ends to account: none of its sessions is left.
    OnOrOff,
}

/// Who may account, and what is remembered of it.
#[derive(Debug)]
pub struct Accounting {
    clients: Vec<IpNet>,
    secret: Vec<u8>,
    domains: Domains,
    session_us: i64,
    answered: BTreeSet<Mark>,
    order: VecDeque<(i64, Mark)>,
}

/// What tells a request from all others: its sender, its identifier, its authenticator.
type Mark = (SocketAddr, u8, [u8; 16]);

impl Accounting {
    /// Takes requests of these clients, who share a secret. A session that nothing is told of for `session_s` seconds is
    /// given up.
    pub fn new(clients: Vec<IpNet>, secret: Vec<u8>, domains: Domains, session_s: u32) -> Self {
        let session_us = i64::from(session_s) * SECOND_US;
        let (answered, order) = (BTreeSet::new(), VecDeque::new());
        Self { clients, secret, domains, session_us, answered, order }
    }

    /// Takes a packet and returns what is to be answered; nothing, where it is refused.
    pub fn take(
        &mut self,
        packet: &[u8],
        from: SocketAddr,
        directory: &Directory,
        now_us: i64,
    ) -> Option<Vec<u8>> {
        let client = from.ip().to_canonical();
        if !self.clients.iter().any(|prefix| prefix.contains(&client)) {
            directory.refuse(Refusal::RadiusClient);
            return None;
        }
        let request = match Request::read(packet, &self.secret) {
            Ok(request) => request,
            Err(refusal) => {
                directory.refuse(refusal);
                return None;
            }
        };
        let (identifier, authenticator) = request.mark();
        if self.is_new((from, identifier, authenticator), now_us) {
            if let Err(refusal) = self.account(&request, client, directory, now_us) {
                directory.refuse(refusal);
            }
        } else {
            directory.refuse(Refusal::RadiusDuplicate);
        }
        // What is not understood is answered too: it would come again and again (RFC 2866 section 2).
        Some(request.answer(&self.secret))
    }

    fn is_new(&mut self, mark: Mark, now_us: i64) -> bool {
        while let Some((then_us, oldest)) = self.order.front().copied() {
            // A clock that was set back is no reason to remember for longer.
            let age_us = now_us.abs_diff(then_us);
            if age_us < REMEMBERED_US.unsigned_abs() && self.order.len() < REMEMBERED_MAX {
                break;
            }
            self.order.pop_front();
            self.answered.remove(&oldest);
        }
        let is_new = self.answered.insert(mark);
        if is_new {
            self.order.push_back((now_us, mark));
        }
        is_new
    }

    fn account(
        &self,
        request: &Request<'_>,
        client: IpAddr,
        directory: &Directory,
        now_us: i64,
    ) -> Result<(), Refusal> {
        let status = match number(request, attribute::ACCT_STATUS_TYPE) {
            Some(1) => Status::Start,
            Some(2) => Status::Stop,
            Some(3) => Status::Interim,
            Some(7 | 8) => Status::OnOrOff,
            Some(_) | None => return Err(Refusal::RadiusSession),
        };
        let at_us = event_us(request, now_us);
        let nas = nas(request, client);
        if status == Status::OnOrOff {
            directory.end(&Ended::Sessions(&nas), at_us, now_us);
            return Ok(());
        }
        let id = text(request, attribute::ACCT_SESSION_ID).filter(|id| !id.is_empty());
        let name = nas + &id.ok_or(Refusal::RadiusSession)?;
        if name.len() > SESSION_BYTES_MAX {
            return Err(Refusal::RadiusSession);
        }
        let ended_us = directory.session_end(&name);
        if ended_us.is_some_and(|ended| at_us <= ended) {
            return Err(Refusal::RadiusStale);
        }
        if status == Status::Stop && directory.end(&Ended::Session(&name), at_us, now_us) > 0 {
            return Ok(());
        }
        let mac = text(request, attribute::CALLING_STATION_ID);
        let mac = mac.and_then(|text| name::mac(&text)).filter(|mac: &Mac| !mac.is_group());
        let user = text(request, attribute::USER_NAME).and_then(|text| self.domains.user(&text));
        let addresses = addresses(request);
        let lasted_us = match status {
            Status::Start | Status::OnOrOff => 0,
            Status::Stop | Status::Interim => {
                i64::from(number(request, attribute::ACCT_SESSION_TIME).unwrap_or(0)) * SECOND_US
            }
        };
        // A name that is used again is of a session of its own.
        let from_us = at_us.saturating_sub(lasted_us).max(ended_us.unwrap_or(i64::MIN));
        let session = Session {
            name: &name,
            user: user.as_deref(),
            roles: &[],
            mac,
            addresses: &addresses,
            onset: if status == Status::Interim { Onset::Found } else { Onset::Began },
            from_us,
            // It may have had another one before.
            addresses_from_us: if status == Status::Stop { from_us } else { at_us },
            expires_us: now_us.saturating_add(self.session_us),
        };
        let mut facts = session.facts();
        if status == Status::Stop {
            // Its start was lost: what it tells is of the past.
            for fact in &mut facts {
                fact.to_us = Some(at_us);
            }
        }
        directory.end(&Ended::Elsewhere { session: &name, addresses: &addresses }, at_us, now_us);
        directory.learn(facts, now_us);
        Ok(())
    }
}

/// When it happened: how long ago its sender says, or when, if that can be.
fn event_us(request: &Request<'_>, now_us: i64) -> i64 {
    let told = number(request, attribute::EVENT_TIMESTAMP)
        .map(|seconds| i64::from(seconds) * SECOND_US)
        .filter(|told| (now_us - EVENT_AGE_MAX_US..=now_us).contains(told));
    let delayed = number(request, attribute::ACCT_DELAY_TIME)
        .map(|seconds| i64::from(seconds) * SECOND_US)
        .filter(|delay| *delay <= EVENT_AGE_MAX_US)
        .map(|delay| now_us - delay);
    delayed.or(told).unwrap_or(now_us)
}

/// What the names of a client's sessions begin with: session ids are unique within a client only.
fn nas(request: &Request<'_>, client: IpAddr) -> String {
    let name = text(request, attribute::NAS_IDENTIFIER);
    let name = name.or_else(|| {
        let bytes = request.attribute(attribute::NAS_IP_ADDRESS)?;
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string())
    });
    let name = name.or_else(|| {
        let bytes = request.attribute(attribute::NAS_IPV6_ADDRESS)?;
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string())
    });
    format!("{}|", name.unwrap_or_else(|| client.to_string()).replace('|', " "))
}

/// Every address that the device is given. A prefix is one if it has no host bits.
fn addresses(request: &Request<'_>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (kind, value) in request.attributes() {
        let address = match (kind, value) {
            (attribute::FRAMED_IP_ADDRESS, _) => {
                // All ones and all ones but the last let the client choose (RFC 2865 section 5.8).
                let chosen = [Ipv4Addr::BROADCAST, Ipv4Addr::from([255, 255, 255, 254])];
                let address = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
                address.filter(|address| !chosen.contains(address)).map(IpAddr::from)
            }
            (attribute::FRAMED_IPV6_PREFIX, [_, 128, prefix @ ..])
            | (attribute::FRAMED_IPV6_ADDRESS, prefix) => {
                <[u8; 16]>::try_from(prefix).ok().map(Ipv6Addr::from).map(IpAddr::from)
            }
            (_, _) => None,
        };
        addresses.extend(address.filter(|address| !address.is_unspecified()));
    }
    addresses
}

fn number(request: &Request<'_>, kind: u8) -> Option<u32> {
    request.attribute(kind)?.try_into().ok().map(u32::from_be_bytes)
}

fn text(request: &Request<'_>, kind: u8) -> Option<String> {
    let text = String::from_utf8_lossy(request.attribute(kind)?);
    Some(text.trim_end_matches('\0').to_owned())
}
