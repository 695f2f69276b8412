//! Clocks that step back while records are written.

use super::*;

/// What a clock shows for each of three hundred records: it runs on for 36 hours, and steps back on its way.
fn stepping_back(by_us: i64) -> Vec<Record> {
    let all = (0..300_u64).map(|number| {
        let runs = number.cast_signed() * (36 * HOUR_US / 300);
        let stepped = if number < 200 { 0 } else { by_us };
        let end_us = NOON_US + runs - stepped;
        Record { start_us: end_us - 7, end_us, bytes_to_lan: number, ..record(number) }
    });
    all.collect()
}

#[test]
fn a_clock_that_steps_back_loses_no_record() {
    for by_us in [HOUR_US, DAY_US, 40 * DAY_US] {
        let (dir, mut store) = store();
        let records = stepping_back(by_us);
        for batch in records.chunks(7) {
            store.append(batch).unwrap();
            // By the same clock, days go only when they are over.
            let today = day_of(batch[batch.len() - 1].end_us).unwrap();
            assert_eq!(store.expire(1, today).unwrap().days, []);
        }
        let counters = Counters { stored: 300, duplicates: 0, corrupt_files: 0 };
        assert_eq!(store.counters(), counters);
        // Its successor goes on behind the highest number, which is not the newest record's.
        assert_eq!(store.last_sequence(&record(0).boot).unwrap(), Some(299));
        let mut found = sequences(&dir, &Query::default());
        found.sort_unstable();
        assert_eq!(found, (0..300).collect::<Vec<_>>());
        let reader = Reader::open(dir.path()).unwrap();
        let by_record = Query { boot: Some(record(0).boot), ..Query::default() };
        for by in EVERY_TOP {
            let sums = reader.top(&[by], TopOrder::Bytes, &Query::default()).unwrap();
            assert_eq!(sums, reader.top(&[by], TopOrder::Bytes, &by_record).unwrap(), "{by:?}");
        }
        // What is stored at the times that came twice is told of both.
        let twice = Query {
            since: Some(time(records[200].end_us)),
            until: Some(time(records[200].end_us + by_us)),
            ..Query::default()
        };
        let of_then = records.iter().filter(|record| {
            (records[200].end_us..records[200].end_us + by_us).contains(&record.end_us)
        });
        assert_eq!(sequences(&dir, &twice).len(), of_then.count());
    }
}
