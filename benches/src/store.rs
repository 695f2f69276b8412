//! The day store: how fast it takes records, and how long questions over a month take.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use sensor_user::record::{EndReason, Initiator, RECORD_VERSION, Record};
use sensor_user::store::{DayStore, Query, Reader, TopBy, TopOrder};

use crate::month::{self, Day, Draw, Drawn};
use crate::table::table;

/// Midnight of the month's last day, 2026-03-30: the day that a device is asked about.
const LAST_DAY_US: i64 = 1_774_828_800_000_000;

/// Days of the month.
const DAYS: u64 = 30;

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// Records of a transaction: what the daemon commits at most.
const BATCH: usize = 5_000;

/// Longest time a question may take, in the middle of its rounds.
const DEVICE_TARGET: Duration = Duration::from_millis(50);
const MONTH_TARGET: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct Options {
    /// Directory to make the month in, 0.5 GB; it is removed afterwards.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    dir: PathBuf,
    /// Records that are stored one by one, of the month's last day.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    records: u64,
    /// Rounds of each question.
    #[arg(long, value_name = "N", default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let dir = tempfile::tempdir_in(&options.dir)
        .with_context(|| format!("make a directory in {}", options.dir.display()))?;
    let rate = write_records(dir.path(), options.records)?;
    let rows = write_month(dir.path())?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{rate:.0} records/s into a day file, {} in all, in batches of {BATCH}",
        options.records
    )?;
    let [devices, sites, totals] = rows;
    writeln!(
        out,
        "roll-ups of a day of {} records and {} devices: {devices} rows by device, {sites} by site, {totals} of all",
        month::RECORDS_A_DAY,
        month::DEVICES
    )?;
    let reader = Reader::open(dir.path())?;
    let mut lines =
        vec![["question", "median ms", "max ms", "target ms"].map(str::to_owned).to_vec()];
    let mut slow = Vec::new();
    for (name, target, ask) in questions() {
        let mut times = Vec::new();
        for round in 0..options.rounds {
            let begin = Instant::now();
            let answers = ask(&reader, u64::from(round))?;
            times.push(begin.elapsed());
            ensure!(answers > 0, "{name}: no answer");
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().context("no round")?;
        let max = times.last().copied().context("no round")?;
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        let shown = target.map_or_else(String::new, ms);
        lines.push(vec![name.to_owned(), ms(median), ms(max), shown]);
        if target.is_some_and(|target| median > target) {
            slow.push(name);
        }
    }
    write!(out, "{}", table(&lines))?;
    writeln!(
        out,
        "Files are in the page cache, and opened anew for each question, as a command does."
    )?;
    ensure!(slow.is_empty(), "slower than their target: {}", slow.join(", "));
    Ok(())
}

/// A question: its name, its target, and how it is asked; it returns how many rows the answer has.
type Question = (&'static str, Option<Duration>, fn(&Reader, u64) -> Result<usize>);

fn questions() -> [Question; 4] {
    [
        ("device on a day", Some(DEVICE_TARGET), |reader, round| {
            let device = IpAddr::from(month::address(round * 977 % month::DEVICES));
            let query = Query { device: Some(device), ..day()? };
            Ok(reader.sightings(&query)?.len().min(reader.visits(&query)?.len()))
        }),
        ("blocked by group and category, 30 days", Some(MONTH_TARGET), |reader, _| {
            let query = Query { verdict: Some(Verdict::Block), ..Query::default() };
            Ok(reader.top(&[TopBy::Group, TopBy::Category], TopOrder::Flows, &query)?.len())
        }),
        ("sites of a day", None, |reader, _| {
            Ok(reader.top(&[TopBy::Site], TopOrder::Flows, &day()?)?.len())
        }),
        ("devices of a day", None, |reader, _| {
            Ok(reader.top(&[TopBy::Device], TopOrder::Bytes, &day()?)?.len())
        }),
    ]
}

/// The month's last day.
fn day() -> Result<Query> {
    let since = Timestamp::from_microsecond(LAST_DAY_US)?;
    let until = since.checked_add(SignedDuration::from_hours(24))?;
    Ok(Query { since: Some(since), until: Some(until), ..Query::default() })
}

/// Stores records as the daemon does; records a second.
fn write_records(dir: &Path, count: u64) -> Result<f64> {
    let mut store = DayStore::open(dir, "bench")?;
    let mut draw = Draw(0);
    let mut taken = Duration::ZERO;
    let mut batch = Vec::with_capacity(BATCH);
    for sequence in 0..count {
        // In the order of time, as flows end.
        let share = i64::try_from(sequence * 1_000_000 / count)?;
        batch.push(record(
            sequence,
            LAST_DAY_US + 6 * HOUR_US + share * 16 * HOUR_US / 1_000_000,
            &mut draw,
        ));
        if batch.len() == BATCH || sequence + 1 == count {
            let begin = Instant::now();
            store.append(&batch)?;
            taken += begin.elapsed();
            batch.clear();
        }
    }
    let begin = Instant::now();
    drop(store);
    taken += begin.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    Ok(count as f64 / taken.as_secs_f64())
}

/// A record of the month.
pub(crate) fn record(sequence: u64, end_us: i64, draw: &mut Draw) -> Record {
    let one = Drawn::new(draw);
    let is_named = one.site > 0;
    let verdict = [Verdict::Undecided, Verdict::Allow, Verdict::Block];
    Record {
        schema_version: RECORD_VERSION,
        sensor: "bench".to_owned(),
        boot: "9f0c1f8e-5d0a-4c39-9c5c-0a5a64a4a2d1".to_owned(),
        sequence,
        flow_id: draw.next(),
        start_us: end_us - 2_000_000,
        end_us,
        device: month::address(one.device).into(),
        device_port: 40_000,
        mac: None,
        mac_randomised: None,
        host_name: None,
        user: None,
        identity_source: None,
        identity_confidence: None,
        peer: std::net::Ipv4Addr::from_bits(0xc633_0000 | (draw.next() & 0x3fff) as u32).into(),
        peer_port: 443,
        protocol: 6,
        zone: 0,
        interface: "lan0".to_owned(),
        packets_to_peer: 3,
        bytes_to_peer: 900,
        packets_to_lan: 2,
        bytes_to_lan: draw.below(1 << 16),
        name: is_named.then(|| format!("www.{}", month::site(one.site))),
        name_source: if is_named { NameSource::Tls } else { NameSource::None },
        no_name: if is_named { NoName::Named } else { NoName::NotTls },
        verdict: *usize::try_from(one.verdict)
            .ok()
            .and_then(|number| verdict.get(number))
            .unwrap_or(&Verdict::Undecided),
        categories: month::categories(one.categories),
        list: None,
        policy: Some("1".to_owned()),
        group: Some(month::group(one.group)),
        tls_version: Some("TLS 1.3".to_owned()),
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        ech: Some(false),
        ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned()),
        application: None,
        quic_version: None,
        quic_datagrams: None,
        end_reason: EndReason::EndOfFlow,
        initiator: Initiator::Lan,
    }
}

/// Gives the last day all of its roll-ups, and those before it what all devices did together.
fn write_month(dir: &Path) -> Result<[usize; 3]> {
    let mut of_last_day = [0; 3];
    for back in (0..DAYS).rev() {
        let midnight_us = LAST_DAY_US - i64::try_from(back)? * DAY_US;
        if back > 0 {
            // The store lays the file out.
            let record = record(back, midnight_us, &mut Draw(back));
            DayStore::open(dir, "bench")?.append(&[record])?;
        }
        let date = Timestamp::from_microsecond(midnight_us)?.strftime("%Y-%m-%d").to_string();
        let mut file = Connection::open(dir.join(format!("flows-{date}.db")))?;
        file.pragma_update(None, "synchronous", "off")?;
        let day = Day::draw(back, back == 0);
        day.write(&mut file)?;
        of_last_day = day.rows();
    }
    Ok(of_last_day)
}
