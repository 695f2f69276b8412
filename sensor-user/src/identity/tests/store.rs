//! What the store keeps, forgets, corrects and tells.

use super::{MINUTE_US, Teller, address, mac, shown, time};
use crate::identity::{
    ADDRESS_FACTS_MAX, DEVICE_ADDRESSES_MAX, Fact, Source, Store, TOLERANCE_US, told,
};

/// `address from..to: was -> is`, a line each; minutes.
fn amendments(store: &mut Store) -> Vec<String> {
    let amendments = store.take_changes().amendments.into_iter();
    let line = |one: crate::identity::Amendment| {
        let span = (one.from_us / MINUTE_US, one.to_us / MINUTE_US);
        let (was, is) = (shown(one.was.as_ref()), shown(one.is.as_ref()));
        format!("{} {}..{}: {was} -> {is}", one.address, span.0, span.1)
    };
    amendments.map(line).collect()
}

#[test]
fn what_is_learnt_in_time_amends_nothing() {
    let mut teller = Teller::of(
        "10 lease 5 A laptop 10..70\n 11 user-id 5 smith 45\n 40 lease 5 A laptop 40..100
         41 seen 5 A\n 50 user-id 5 smith 45\n 60 logout 5\n 70 released 5",
    );
    assert_eq!(amendments(&mut teller.store), Vec::<String>::new());
    assert_eq!(teller.store.counts().amendments, 0);
}

#[test]
fn a_late_stop_amends_what_was_said_since() {
    let mut teller = Teller::of("10 start s1 A 5 smith\n 12 seen 5 A\n 60 stop s1 at 20");
    assert_eq!(
        amendments(&mut teller.store),
        ["10.0.0.5 20..60: A - smith radius stated -> A - - neighbour stated"]
    );
}

#[test]
fn a_late_start_amends_what_nobody_knew() {
    let mut teller = Teller::of("10 seen 5 A\n 60 start s1 A - smith since 30");
    assert_eq!(
        amendments(&mut teller.store),
        ["10.0.0.5 30..60: A - - neighbour stated -> A - smith radius stated"]
    );
    // It reaches every address of the device.
    let mut teller = Teller::of("10 seen 5 A\n 20 seen x7 A\n 60 start s1 A - smith since 15");
    assert_eq!(
        amendments(&mut teller.store),
        [
            "10.0.0.5 15..60: A - - neighbour stated -> A - smith radius stated",
            "2001:db8::7 19..60: A - - neighbour stated -> A - smith radius stated",
        ]
    );
}

#[test]
fn nothing_is_amended_before_anything_was_known() {
    let mut teller = Teller::of("100 lease 5 A laptop 10..200\n 100 lease 6 B phone 20..200");
    assert_eq!(amendments(&mut teller.store), Vec::<String>::new());
    assert_eq!(teller.at("5", "50"), "A laptop - dhcp-lease stated");
}

#[test]
fn what_was_known_stays_known() {
    let mut teller = Teller::of("10 start s1 A 5 smith");
    let before = teller.store.version();
    teller.tell("60 stop s1 at 20");
    let was = teller.store.resolve_as_known(address("5"), time("30"), before);
    assert_eq!(shown(was.as_ref()), "A - smith radius stated");
    assert_eq!(teller.at("5", "30"), "nobody");
    assert!(teller.store.version() > before);
}

#[test]
fn changes_name_every_address_of_the_device() {
    let mut teller = Teller::of("10 seen 5 A\n 10 seen x7 A");
    let _told = teller.store.take_changes();
    let mut check = |line: &str, expected: &[&str]| {
        teller.tell(line);
        let told = teller.store.take_changes().addresses;
        let expected = expected.iter().map(|text| address(text)).collect();
        assert_eq!(told, expected, "{line}");
    };
    check("11 user-id 5 smith 45", &["5", "x7"]);
    check("12 start s1 A - smith", &["5", "x7"]);
    check("13 user-out 5 smith", &["5", "x7"]);
    check("14 stop s1", &["5", "x7"]);
    check("15 user-id 9 jones 10", &["9"]);
    check("24 expire", &[]);
    check("25 expire", &["9"]);
    // The device has gone from one of them.
    check("30 seen x7 B", &["5", "x7"]);
}

#[test]
fn a_router_is_no_device() {
    let mut teller = Teller::of("10 user-id 200 smith 900");
    for number in 1..=DEVICE_ADDRESSES_MAX {
        teller.tell(&format!("10 seen {number} R"));
    }
    teller.tell("10 login 1 jones");
    assert_eq!(teller.at("2", "11"), "R - jones login inferred");
    teller.tell("12 seen 200 R");
    assert_eq!(teller.at("2", "13"), "nobody");
    assert_eq!(teller.at("200", "13"), "- - smith user-id stated");
}

#[test]
fn an_address_keeps_so_many_facts_and_the_oldest_go_first() {
    let mut teller = Teller::default();
    for minute in 0..ADDRESS_FACTS_MAX + 10 {
        let user = if minute % 2 == 0 { "smith" } else { "jones" };
        teller.tell(&format!("{minute} login 5 {user}"));
    }
    assert_eq!(teller.store.len(), ADDRESS_FACTS_MAX);
    assert_eq!(teller.store.counts().forgotten, 10);
    assert_eq!(teller.at("5", "5"), "nobody");
    assert_eq!(teller.at("5", "11"), "- - jones login stated");
    // Beside it nothing is forgotten.
    teller.tell("200 login 6 brown");
    assert_eq!(teller.store.counts().forgotten, 10);
}

#[test]
fn what_says_nothing_is_not_kept() {
    let mut store = Store::default();
    let about = |fact: Fact| Fact { address: Some(address("5")), ..fact };
    let nothing = about(Fact::new(Source::DhcpLease, 0));
    let group = Fact { mac: mac("A"), ..nothing.clone() };
    let group = Fact {
        mac: group.mac.map(|mut mac| {
            mac.0[0] |= 1;
            mac
        }),
        ..group
    };
    let long = Fact { host_name: Some("a".repeat(256)), ..nothing.clone() };
    let of_nobody = Fact { user: Some("smith".into()), ..Fact::new(Source::Radius, 0) };
    for fact in [nothing, group, long, of_nobody] {
        assert!(!store.learn(fact.clone(), MINUTE_US), "{fact:?}");
    }
    assert_eq!((store.counts().unsound, store.len()), (4, 0));
}

#[test]
fn a_renewal_is_no_new_fact() {
    let mut teller = Teller::default();
    for minute in 0..100 {
        teller.tell(&format!("{minute} lease 5 A laptop {minute}..{}", minute + 60));
        teller.tell(&format!("{minute} user-id 5 smith 45"));
        teller.tell(&format!("{minute} seen 5 A"));
    }
    assert_eq!(teller.store.len(), 3);
    assert_eq!(teller.at("5", "143"), "A laptop smith user-id stated");
}

#[test]
fn a_store_is_restored_from_what_it_kept() {
    let told = "10 start s1 A 5 smith\n 11 lease 5 A laptop 11..70\n 60 stop s1 at 20
                61 user-id 5 jones 45";
    let teller = Teller::of(told);
    let mut restored = Store::default();
    for kept in teller.store.iter() {
        restored.restore(kept.clone(), time("62"));
    }
    for minute in 0..120 {
        let at = minute * MINUTE_US + TOLERANCE_US;
        for known in 0..=teller.store.version() {
            let ask = |store: &Store| store.resolve_as_known(address("5"), at, known);
            assert_eq!(ask(&restored), ask(&teller.store), "{minute} at version {known}");
        }
    }
    // It goes on with numbers of its own.
    restored.learn(told::neighbour(address("5"), mac("B").unwrap(), time("63")), time("63"));
    assert_eq!(restored.len(), teller.store.len() + 1);
}
