//! What a daemon that starts asks for.

use super::*;

/// A flow that was silent for long has a record with a high number and an early end, in another day's file perhaps.
#[test]
fn the_newest_records_are_those_with_the_highest_numbers() {
    let (dir, mut store) = store();
    let silent = Record { end_us: NOON_US - DAY_US, flow_id: 77, ..record(70) };
    let of_others = [
        Record { boot: "later".into(), ..record(71) },
        Record { sensor: "gw-2".into(), ..record(72) },
    ];
    let records: Vec<_> = (0..70).map(record).chain([silent.clone()]).collect();
    store.append(&records).unwrap();
    store.append(&of_others).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let mut told = reader.told_since(&silent.sensor, &silent.boot, 68).unwrap();
    told.sort_by_key(|told| told.sequence);
    let expected: Vec<_> = records.iter().skip(68).map(Told::from).collect();
    assert_eq!(told, expected);
    assert_eq!(expected.last().map(|told| (told.sequence, told.flow_id)), Some((70, 77)));
}
