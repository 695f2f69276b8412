use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::{Value, json};

use super::app::{App, Pane};
use super::keys::Action;
use super::losses::losses;
use super::rates::Rate;
use super::snapshot::Snapshot;
use super::view::{self, Theme};
use crate::cli::hostile;

/// Sums of a row: flows, blocked, packets and bytes up, down, and bytes without a name.
fn sums(of: [u64; 7]) -> Value {
    let [flows, blocked, packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan, unnamed] =
        of;
    json!({
        "flows": flows, "blocked": blocked,
        "packets_to_peer": packets_to_peer, "bytes_to_peer": bytes_to_peer,
        "packets_to_lan": packets_to_lan, "bytes_to_lan": bytes_to_lan, "bytes_unnamed": unnamed,
    })
}

/// A row with its sums.
fn row(mut fields: Value, of: [u64; 7]) -> Value {
    let all = fields.as_object_mut().unwrap();
    all.extend(sums(of).as_object().unwrap().clone());
    fields
}

/// A status after so many seconds of even traffic.
fn status(seconds: u64) -> Value {
    json!({
        "sensor": "gw-1", "version": "0.1.0", "pid": 7, "uptime_s": 90_000 + seconds,
        "policy": {"version": "2026.3", "generation": 12, "names": 1_204_331, "refused": 0},
        "interfaces": [{
            "name": "lan0",
            "ingress": {
                "packets": 1_200 * seconds, "bytes": 1_225_000 * seconds, "conserved": true,
                "accounted": {"flow": [1_200 * seconds, 1], "table-full": [3, 180]},
                "happened": {"verdict-event-lost": 40 + 12 * seconds, "server-reset": 9},
                "no_name": {"no-sni": 7, "slot-full": 2}, "anomalies": {"slot-busy": 0},
            },
            "egress": {
                "packets": 2_000 * seconds, "bytes": 3_900_000 * seconds, "conserved": true,
                "accounted": {}, "happened": {}, "no_name": {}, "anomalies": {},
            },
            "names": {"recent": {
                "named": {"flows": 960, "bytes": 9_990_000},
                "unlogged": {"flows": 9, "bytes": 6_000},
                "no-sni": {"flows": 11, "bytes": 3_000},
                "not-quic": {"flows": 20, "bytes": 1_000},
            }},
        }],
        "records": {
            "live_flows": 1_203, "stored": 44_100, "store_failures": 0, "lost": 0,
            "honesty": {"looks": 9, "packets_off": 0, "bytes_off": 0, "packets_unsure": 0},
        },
        "exports": [
            {"name": "eve", "target": "/var/log/eve.json", "open": true, "sent": 50 * seconds},
            {"name": "siem", "target": "tcp://192.0.2.9:601", "open": false, "queued": 60_000,
             "shed": {"not-taken": 12}, "trouble": "Connection refused"},
        ],
    })
}

fn top() -> Value {
    let v6 = "2001:db8:17:4:1234:5678:9abc:def0";
    json!({
        "over_ms": 10_000,
        "devices": [
            row(json!({"device": "10.20.0.17", "user": "a.smith", "host_name": "pc-17"}),
                [40, 2, 6_000, 3_000_000, 10_000, 25_000_000, 1_400_000]),
            row(json!({"device": v6, "zone": 3}), [3, 0, 60, 9_000, 80, 120_000, 0]),
            row(json!({"device": "10.20.0.99"}), [120, 0, 9_000, 700_000, 20, 2_000, 700_000]),
        ],
        "devices_seen": 3,
        "names": [
            row(json!({"name": "video.example"}), [4, 0, 5_000, 2_000_000, 9_000, 24_000_000, 0]),
            row(json!({"name": "casino.example"}), [2, 2, 6, 1_200, 2, 120, 0]),
            row(json!({"name": "a-very-long-label-in-front.of.paypal.example.evil.example"}),
                [1, 0, 9, 3_000, 9, 8_000, 0]),
        ],
        "names_seen": 3,
        "verdicts": {
            "allow": sums([31, 0, 5_009, 2_003_000, 9_009, 24_008_000, 0]),
            "block": sums([2, 2, 6, 1_200, 2, 120, 0]),
            "undecided": sums([130, 0, 10_000, 1_700_000, 1_000, 1_100_000, 2_100_000]),
            "alert": sums([0; 7]),
        },
        "reasons": {
            "named": sums([7, 0, 5_015, 2_004_200, 9_011, 24_008_120, 0]),
            "unlogged": sums([1, 0, 10, 2_000, 10, 9_000, 0]),
            "not-quic": sums([120, 0, 9_000, 1_700_000, 1_000, 1_100_000, 2_100_000]),
        },
    })
}

fn snapshot(at: Instant, status: Value, top: Option<Value>) -> Snapshot {
    Snapshot {
        at,
        status: serde_json::from_value(status).unwrap(),
        top: top.map(|top| serde_json::from_value(top).unwrap()),
    }
}

/// A view that has heard twice, two seconds apart.
fn heard() -> App {
    let mut app = App::default();
    let start = Instant::now();
    app.heard(snapshot(start, status(100), Some(top())));
    app.heard(snapshot(start + Duration::from_secs(2), status(102), Some(top())));
    app
}

fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme::of(None);
    terminal.draw(|frame| view::draw(frame, app, theme, "14:28:05")).unwrap();
    terminal.backend().to_string()
}

fn after(mut app: App, actions: &[Action]) -> App {
    for action in actions {
        assert!(app.act(*action), "{action:?}");
    }
    app
}

#[test]
fn panes_at_the_width_of_a_terminal() {
    for (number, pane) in (1..).zip(Pane::ALL) {
        let mut app = after(heard(), &[Action::Pane(number)]);
        insta::assert_snapshot!(format!("80_{}", pane.title()), screen(&mut app, 80, 24));
    }
    insta::assert_snapshot!("80_help", screen(&mut after(heard(), &[Action::Help]), 80, 24));
}

#[test]
fn a_wide_screen_has_more_and_a_narrow_one_less() {
    insta::assert_snapshot!("wide_devices", screen(&mut heard(), 130, 16));
    let mut losses = after(heard(), &[Action::Pane(4)]);
    insta::assert_snapshot!("wide_losses", screen(&mut losses, 130, 20));
    insta::assert_snapshot!("narrow", screen(&mut heard(), 60, 12));
    // Nothing to see, and no fault.
    for (width, height) in [(1, 1), (20, 3), (9, 40), (400, 2)] {
        for pane in 1..=4 {
            screen(&mut after(heard(), &[Action::Pane(pane)]), width, height);
        }
    }
}

#[test]
fn a_daemon_that_is_silent_is_told_of_and_heard_again() {
    let mut app = App::default();
    insta::assert_snapshot!("not_heard_yet", screen(&mut app, 80, 6));
    app.not_heard("No such file or directory".to_owned(), "14:00:00");
    insta::assert_snapshot!("no_daemon", screen(&mut app, 80, 6));
    let mut app = heard();
    app.not_heard("Connection refused".to_owned(), "14:28:01");
    app.not_heard("Connection refused".to_owned(), "14:28:03");
    insta::assert_snapshot!("lost_daemon", screen(&mut app, 100, 16));
    app.heard(snapshot(Instant::now(), status(200), Some(top())));
    let again = screen(&mut app, 80, 24);
    assert!(!again.contains("does not answer"), "{again}");
    // What came meanwhile came in no known time.
    assert!(again.contains("down      - bit/s"), "{again}");
}

#[test]
fn a_held_picture_stays_and_goes_on_where_the_daemon_is() {
    let mut app = after(heard(), &[Action::Pause]);
    let held = screen(&mut app, 80, 24);
    insta::assert_snapshot!("held", held);
    let mut later = top();
    later["devices"] = json!([]);
    app.heard(snapshot(Instant::now(), status(300), Some(later)));
    assert_eq!(screen(&mut app, 80, 24), held);
    app.act(Action::Pause);
    assert!(screen(&mut app, 80, 24).contains("10.20.0.17"), "held until the next answer");
    app.heard(snapshot(Instant::now(), status(302), Some(json!({"over_ms": 10_000}))));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("no device has packets"), "{shown}");
}

#[test]
fn a_filter_leaves_rows_out_in_every_pane() {
    let letters = "SMI".chars().map(Action::Letter);
    let mut app = after(heard(), &[Action::Filter]);
    letters.for_each(|letter| assert!(app.act(letter)));
    let typing = screen(&mut app, 80, 24);
    assert!(typing.contains("/smi_"), "{typing}");
    insta::assert_snapshot!("filtered", screen(&mut after(app, &[Action::Accept]), 80, 24));
    let mut names = after(heard(), &[Action::Filter, Action::Letter('y'), Action::Letter('p')]);
    names.act(Action::Erase);
    names.act(Action::Letter('p'));
    names.act(Action::NextPane);
    let shown = screen(&mut names, 80, 24);
    assert!(shown.contains("paypal") && !shown.contains("casino"), "{shown}");
    assert!(screen(&mut after(names, &[Action::Cancel]), 80, 24).contains("casino"));
}

#[test]
fn rows_come_in_the_order_that_is_asked_for() {
    let first = |app: &mut App| {
        let screen = screen(app, 80, 24);
        let mut below = screen.lines().skip_while(|line| !line.contains("blocked/s"));
        below.nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let mut app = heard();
    let mut orders = Vec::new();
    for _ in 0..6 {
        orders.push(first(&mut app));
        app.act(Action::Sort);
    }
    let [most, packets, flows, blocked, unnamed, again] = orders.try_into().unwrap();
    assert_eq!([most, packets, blocked, again].map(|row| row.contains("10.20.0.17")), [true; 4]);
    assert!(flows.contains("10.20.0.99"), "{flows}");
    assert!(unnamed.contains("10.20.0.17"), "{unnamed}");
}

#[test]
fn scrolling_ends_where_the_rows_do() {
    let mut many = top();
    let device = |number: u64| {
        row(json!({"device": format!("10.0.0.{number}")}), [0, 0, 0, 0, 1, 1000 - number, 0])
    };
    many["devices"] = (0..50).map(device).collect();
    let mut app = App::default();
    app.heard(snapshot(Instant::now(), status(1), Some(many)));
    app.act(Action::Last);
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("10.0.0.49 ") && !shown.contains("10.0.0.1 "), "{shown}");
    assert!(app.scrolled < 50);
    app.act(Action::First);
    assert!(screen(&mut app, 80, 24).contains("10.0.0.1 "));
    for _ in 0..3 {
        app.act(Action::Down);
    }
    app.act(Action::Up);
    assert!(!screen(&mut app, 80, 24).contains("10.0.0.1 "));
    assert_eq!(app.scrolled, 2);
}

#[test]
fn what_strangers_chose_steers_no_terminal() {
    let lossy = |name: &&[u8]| String::from_utf8_lossy(name).into_owned();
    for name in hostile::NAMES.iter().map(lossy) {
        let mut of_name = top();
        of_name["names"] = json!([row(json!({"name": name}), [1, 1, 1, 1, 1, 1, 1])]);
        of_name["verdicts"][&name] = sums([1; 7]);
        of_name["reasons"][&name] = sums([1; 7]);
        of_name["devices"] =
            json!([row(json!({"device": "10.0.0.1", "user": name, "host_name": name}), [1; 7])]);
        let mut of_status = status(1);
        of_status["sensor"] = json!(name);
        of_status["version"] = json!(name);
        of_status["policy"] = json!({"version": name, "tampering": name, "schedules_on": [name]});
        of_status["quic_unread"] = json!(name);
        of_status["interfaces"][0]["name"] = json!(name);
        of_status["interfaces"][0]["names"]["recent"][&name] = json!({"flows": 1, "bytes": 1});
        of_status["exports"] =
            json!([{"name": name, "target": name, "trouble": name, "shed": {&name: 1}}]);
        let mut app = App::default();
        app.heard(snapshot(Instant::now(), of_status, Some(of_name)));
        app.not_heard(name.clone(), "14:00:00");
        for pane in 1..=4 {
            app.act(Action::Pane(pane));
            let screen = screen(&mut app, 200, 40);
            let odd = screen.chars().find(|letter| !matches!(letter, ' '..='~' | '\n'));
            assert_eq!(odd, None, "{name:?}: {screen}");
        }
    }
    let mut app = heard();
    let evil = json!([row(json!({"name": "evil\u{1b}[2J\u{202e}moc"}), [1; 7])]);
    let mut hostile = top();
    hostile["names"] = evil;
    app.heard(snapshot(Instant::now(), status(110), Some(hostile)));
    app.act(Action::Pane(2));
    insta::assert_snapshot!("hostile", screen(&mut app, 80, 24));
}

#[test]
fn a_daemon_of_another_version_is_shown_as_far_as_it_tells() {
    let mut app = App::default();
    app.heard(snapshot(Instant::now(), json!({"sensor": "gw-1", "news": {"a": 1}}), None));
    insta::assert_snapshot!("other_version", screen(&mut app, 80, 12));
    let mut app = App::default();
    app.heard(snapshot(Instant::now(), status(1), Some(json!({"over_ms": 0}))));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("gathering"), "{shown}");
}

#[test]
fn losses_have_rates_unless_the_daemon_began_anew() {
    let start = Instant::now();
    let before = snapshot(start, status(100), None);
    let now = snapshot(start + Duration::from_secs(2), status(102), None);
    let rate = |now: &Snapshot, before: Option<&Snapshot>| {
        let losses = losses(now, before);
        let found = losses.into_iter().find(|loss| loss.what == "verdict-event-lost").unwrap();
        (found.total, found.rate)
    };
    assert_eq!(rate(&now, Some(&before)), (40 + 12 * 102, Some(Rate(120))));
    assert_eq!(rate(&now, None), (40 + 12 * 102, None));
    let mut restarted = status(102);
    restarted["pid"] = json!(8);
    let restarted = snapshot(start + Duration::from_secs(2), restarted, None);
    assert_eq!(rate(&restarted, Some(&before)).1, None);
    let mut younger = status(102);
    younger["uptime_s"] = json!(3);
    let younger = snapshot(start + Duration::from_secs(2), younger, None);
    assert_eq!(rate(&younger, Some(&before)).1, None);
    // Maps made anew under the same daemon cannot be, and would have no rate either.
    assert_eq!(rate(&before, Some(&now)).1, None);
    // It had not occurred before.
    let mut first = status(100);
    first["interfaces"][0]["ingress"]["happened"] = json!({});
    let first = snapshot(start, first, None);
    assert_eq!(rate(&now, Some(&first)).1, Some(Rate((40 + 12 * 102) * 5)));
}

#[test]
fn without_colours_what_matters_is_bold() {
    let colours = |theme: Theme| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| view::draw(frame, &mut heard(), theme, "14:28:05")).unwrap();
        let cells = terminal.backend().buffer().content().to_vec();
        let coloured = cells.iter().filter(|cell| cell.fg != Color::Reset).count();
        let bold = cells.iter().filter(|cell| !cell.modifier.is_empty()).count();
        (coloured > 0, bold > 0)
    };
    assert_eq!(colours(Theme::of(None)), (true, true));
    assert_eq!(colours(Theme::of(Some("".as_ref()))), (true, true));
    assert_eq!(colours(Theme::of(Some("1".as_ref()))), (false, true));
}
