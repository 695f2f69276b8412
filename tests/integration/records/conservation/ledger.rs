//! What the day store says was sent, flow by flow, held against what was.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sensor_ebpf::abi::Volume;
use sensor_user::record::{EndReason, Record};
use sensor_user::store::{Query, Reader};

use super::count::Tally;
use super::traffic::{Ends, Flow, Way};

/// Records, summed up.
pub(super) struct Ledger {
    /// Of each flow, up and down.
    volumes: Vec<[Volume; 2]>,
    pub(super) records: u64,
}

/// What of all that was sent is in no record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) up: Volume,
    pub(super) down: Volume,
    /// Flows that miss something.
    pub(super) flows: u32,
}

impl Ledger {
    /// Reads the store: every record is of a flow that there is, no number is there twice, none is left out, and no flow
    /// ends twice.
    pub(super) fn read(store: &Path, flows: u32) -> Result<Self> {
        let mut volumes = vec![[Volume::default(); 2]; flows as usize];
        let mut numbers: HashMap<String, Vec<u64>> = HashMap::new();
        let mut ended = HashMap::new();
        let records = Reader::open(store)?.visit(&Query::default(), |record| {
            let flow = flow_of(&record, flows)?;
            let [up, down] = &mut volumes[flow.0 as usize];
            add(up, record.packets_to_peer, record.bytes_to_peer);
            add(down, record.packets_to_lan, record.bytes_to_lan);
            numbers.entry(record.boot.clone()).or_default().push(record.sequence);
            if record.end_reason.is_final() {
                let before = ended.insert(record.flow_id, brief(&record));
                ensure!(before.is_none(), "{before:?} had ended this flow: {record:?}");
            }
            is_whole(&record, flow)
        })?;
        for (boot, mut numbers) in numbers {
            numbers.sort_unstable();
            let wrong = (0..).zip(&numbers).find(|(expected, number)| expected != *number);
            ensure!(wrong.is_none(), "numbers of {boot} double or missing: {wrong:?}");
        }
        Ok(Self { volumes, records })
    }

    /// What of `sent` is missing. No flow may have more than was sent of it.
    pub(super) fn missing(&self, sent: &Tally) -> Result<Missing> {
        let mut missing = Missing::default();
        for flow in sent.flows() {
            let [up, down] = self.volumes[flow.0 as usize];
            let left = [(up, Way::Up), (down, Way::Down)].map(|(told, way)| {
                let sent = sent.of(flow, way);
                let packets = sent.packets.checked_sub(told.packets);
                packets.with_context(|| format!("{flow:?} {way:?}: {told:?} told of {sent:?} sent"))
            });
            let [up, down] = left;
            let (up, down) = (up?, down?);
            missing.flows += u32::from(up + down > 0);
            add(&mut missing.up, up, up * u64::from(flow.length(Way::Up)));
            add(&mut missing.down, down, down * u64::from(flow.length(Way::Down)));
        }
        Ok(missing)
    }
}

/// The flow that a record is of; an error where nobody sent it.
fn flow_of(record: &Record, flows: u32) -> Result<Flow> {
    let ends = Ends {
        device: (record.device, record.device_port),
        peer: (record.peer, record.peer_port),
        protocol: record.protocol,
    };
    Flow::between(&ends, flows).with_context(|| format!("nobody sent this: {record:?}"))
}

/// What two records that should be one are told apart by.
const fn brief(record: &Record) -> (u64, EndReason, [u64; 2], [i64; 2]) {
    let Record { sequence, end_reason, packets_to_peer, packets_to_lan, start_us, end_us, .. } =
        record;
    (*sequence, *end_reason, [*packets_to_peer, *packets_to_lan], [*start_us, *end_us])
}

/// Whether the bytes of a record are those of its packets: another flow's packet among them would show.
fn is_whole(record: &Record, flow: Flow) -> Result<()> {
    let Record { packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan, .. } = *record;
    let (up, down) = (u64::from(flow.length(Way::Up)), u64::from(flow.length(Way::Down)));
    ensure!(
        packets_to_peer * up == bytes_to_peer && packets_to_lan * down == bytes_to_lan,
        "packets of {up} and {down} bytes are told as {record:?}"
    );
    Ok(())
}

fn add(sum: &mut Volume, packets: u64, bytes: u64) {
    sum.packets += packets;
    sum.bytes += bytes;
}
