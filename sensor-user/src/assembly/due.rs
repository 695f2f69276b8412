//! When a flow is due for a record. Pure: a flow, what is recorded of it, and the time.

use sensor_ebpf::abi::{Flow, Recorded, Verdict};
use sensor_ebpf::parse::ACK;

use crate::config;
use crate::record::EndReason;

/// The configured times, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Silence that ends a flow.
    pub idle_ns: u64,
    /// Silence that ends an established TCP connection.
    pub tcp_idle_ns: u64,
    /// Time between two records of a long flow.
    pub active_ns: u64,
    /// Time for stragglers after a connection's end.
    pub linger_ns: u64,
    /// Time a blocked flow is remembered after its last packet.
    pub blocked_hold_ns: u64,
}

impl From<&config::Flow> for Timeouts {
    fn from(flow: &config::Flow) -> Self {
        let seconds = |seconds: u32| u64::from(seconds) * 1_000_000_000;
        Self {
            idle_ns: seconds(flow.idle_timeout_s),
            tcp_idle_ns: seconds(flow.tcp_idle_timeout_s),
            active_ns: seconds(flow.active_timeout_s),
            linger_ns: u64::from(flow.linger_ms) * 1_000_000,
            blocked_hold_ns: seconds(flow.blocked_hold_s),
        }
    }
}

impl Timeouts {
    /// A quick look that spares most flows of a sweep the question of what is recorded.
    pub fn may_be_due(&self, flow: &Flow, now_ns: u64) -> bool {
        let silence = now_ns.saturating_sub(flow.last_ns);
        flow.is_closed()
            || is_blocked(flow)
            || silence >= self.idle_ns
            || now_ns.saturating_sub(flow.first_ns) >= self.active_ns
    }
}

/// What a flow is due for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its last record: it leaves the table.
    Last(EndReason),
    /// A record of what came since the last one: it stays.
    SoFar(EndReason),
}

/// Whether a flow is due, at `now_ns`.
pub fn due(
    flow: &Flow,
    recorded: Option<&Recorded>,
    now_ns: u64,
    timeouts: &Timeouts,
) -> Option<Due> {
    let silence = now_ns.saturating_sub(flow.last_ns);
    if is_blocked(flow) {
        // Told soon, remembered long: its key stays blocked while the client may retry.
        if silence >= timeouts.blocked_hold_ns {
            return Some(Due::Last(EndReason::ForcedEnd));
        }
        let told = recorded.is_some();
        return (!told && silence >= timeouts.linger_ns)
            .then_some(Due::SoFar(EndReason::ForcedEnd));
    }
    if flow.is_closed() {
        // A client that resets its half of a connection may go on with it.
        let wait = if flow.is_unsettled() { timeouts.blocked_hold_ns } else { timeouts.linger_ns };
        return (silence >= wait).then_some(Due::Last(EndReason::EndOfFlow));
    }
    let idle = if is_established(flow) { timeouts.tcp_idle_ns } else { timeouts.idle_ns };
    // So may one that stops in the middle of a hello.
    let idle = if flow.slot == 0 { idle } else { idle.max(timeouts.blocked_hold_ns) };
    if silence >= idle {
        return Some(Due::Last(EndReason::IdleTimeout));
    }
    let since = recorded.map_or(flow.first_ns, |recorded| recorded.recorded_ns);
    (now_ns.saturating_sub(since) >= timeouts.active_ns)
        .then_some(Due::SoFar(EndReason::ActiveTimeout))
}

/// True where the kernel answers or drops the flow's packets.
pub(super) const fn is_blocked(flow: &Flow) -> bool {
    flow.verdict == Verdict::Block as u8
}

/// What tells whether a flow has become another connection's, which has no room for the event of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    is_closed: bool,
    is_blocked: bool,
}

impl Stand {
    pub(super) fn of(flow: &Flow) -> Self {
        Self { is_closed: flow.is_closed(), is_blocked: is_blocked(flow) }
    }
}

/// True for a TCP connection both ends acknowledged.
const fn is_established(flow: &Flow) -> bool {
    flow.lan_tcp_flags & flow.peer_tcp_flags & ACK != 0
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::flow::Phase;
    use sensor_ebpf::parse::{FIN, RST, SYN};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TIMEOUTS: Timeouts = Timeouts {
        idle_ns: 60 * SECOND,
        tcp_idle_ns: 600 * SECOND,
        active_ns: 300 * SECOND,
        linger_ns: 2 * SECOND,
        blocked_hold_ns: 180 * SECOND,
    };

    /// A flow from 1000 s on, last seen at `last`.
    fn flow(last: u64, lan_tcp_flags: u8, peer_tcp_flags: u8) -> Flow {
        let (first_ns, last_ns) = (1000 * SECOND, last * SECOND);
        Flow { first_ns, last_ns, lan_tcp_flags, peer_tcp_flags, ..Flow::default() }
    }

    fn recorded(at: u64) -> Recorded {
        Recorded { recorded_ns: at * SECOND, ..Recorded::default() }
    }

    #[test]
    fn when_flows_are_due() {
        use Due::{Last, SoFar};
        use EndReason::{ActiveTimeout, EndOfFlow, ForcedEnd, IdleTimeout};
        let open = ACK | SYN;
        let done = |flow| Flow { phase: Phase::Done as u8, ..flow };
        let half = |flow| Flow { slot: 1, ..flow };
        let blocked = |last| Flow { verdict: Verdict::Block as u8, ..flow(last, open, open) };
        let rows = [
            ("fresh", flow(1000, 0, 0), None, 1001, None),
            ("silent datagrams", flow(1000, 0, 0), None, 1060, Some(Last(IdleTimeout))),
            ("half-open TCP", flow(1000, SYN, 0), None, 1060, Some(Last(IdleTimeout))),
            ("silent connection", flow(1000, open, open), None, 1060, None),
            ("long silent connection", flow(1000, open, open), None, 1600, Some(Last(IdleTimeout))),
            ("busy connection", flow(1299, open, open), None, 1300, Some(SoFar(ActiveTimeout))),
            ("recorded lately", flow(1399, open, open), Some(recorded(1300)), 1400, None),
            ("closing", flow(1000, FIN, ACK), None, 1010, None),
            ("closed, stragglers", flow(1000, FIN, FIN), None, 1001, None),
            ("closed", flow(1000, FIN, FIN), None, 1002, Some(Last(EndOfFlow))),
            ("reset by the server", flow(1000, 0, RST), None, 1002, Some(Last(EndOfFlow))),
            ("reset", done(flow(1000, RST, 0)), None, 1002, Some(Last(EndOfFlow))),
            ("reset before its hello was answered", flow(1000, RST, 0), None, 1179, None),
            ("long before", flow(1000, RST, 0), None, 1180, Some(Last(EndOfFlow))),
            ("half a hello", half(flow(1000, SYN, 0)), None, 1179, None),
            (
                "half a hello long ago",
                half(flow(1000, SYN, 0)),
                None,
                1180,
                Some(Last(IdleTimeout)),
            ),
            ("blocked just now", blocked(1000), None, 1001, None),
            ("blocked", blocked(1000), None, 1002, Some(SoFar(ForcedEnd))),
            ("blocked and told", blocked(1000), Some(recorded(1002)), 1100, None),
            ("blocked long ago", blocked(1000), Some(recorded(1002)), 1180, Some(Last(ForcedEnd))),
            ("a clock that stepped back", flow(1000, open, open), None, 900, None),
        ];
        for (what, flow, recorded, now, expected) in rows {
            let now_ns = now * SECOND;
            let found = due(&flow, recorded.as_ref(), now_ns, &TIMEOUTS);
            assert_eq!(found, expected, "{what}");
            if found.is_some() {
                assert!(TIMEOUTS.may_be_due(&flow, now_ns), "{what}: the quick look misses it");
            }
        }
    }
}
