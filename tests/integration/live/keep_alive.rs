//! Several requests on one connection.

use anyhow::Result;
use sensor_lab::lab::Family;
use sensor_user::control::status::DirectionStatus;

use super::{ALLOWED, BLOCKED, Site, lan, setup, status};

/// Asks for each name on one connection, and says what came of it.
const ASK: &str = r#"
import http.client, sys
address, *names = sys.argv[1:]
connection = http.client.HTTPConnection(address, 80, timeout=5)
connection.connect()
connection.auto_open = 0
for name in names:
    try:
        connection.request("GET", "/", headers={"Host": name})
        answer = connection.getresponse()
        answer.read()
        print(answer.status)
        if answer.will_close:
            break
    except OSError as error:
        print(type(error).__name__)
        break
"#;

#[test]
fn requests_after_the_first_are_answered_until_one_is_blocked() -> Result<()> {
    let site = Site::build(&setup())?;
    for family in [Family::V4, Family::V6] {
        let address = family.server().to_string();
        let names = [ALLOWED, ALLOWED, ALLOWED, BLOCKED, ALLOWED];
        let arguments = ["-c", ASK, &address].into_iter().chain(names).collect::<Vec<_>>();
        let said = site.lab.client().run("python3", &arguments)?;
        let said: Vec<_> = said.lines().collect();
        assert_eq!(said, ["200", "200", "200", "403"], "{family:?}");
    }
    assert_eq!(site.arrivals_of(BLOCKED)?, 0);
    let status = status(&site.sensor)?;
    let ingress = &lan(&status)?.ingress;
    let anomalies = &ingress.anomalies;
    assert!(anomalies.values().all(|count| *count == 0), "{anomalies:?}");
    monitoring_is_told_the_same(&site, ingress)
}

/// By the command, and by the socket a monitoring system reads.
fn monitoring_is_told_the_same(site: &Site, ingress: &DirectionStatus) -> Result<()> {
    let labels = r#"interface="lan0",direction="ingress""#;
    let reset = ingress.happened.get("server-reset").copied().unwrap_or_default();
    let expected = [
        format!("campus_sensor_conserved{{{labels}}} 1"),
        format!("campus_sensor_anomalies_total{{{labels},anomaly=\"urgent\"}} 0"),
        format!("campus_sensor_happenings_total{{{labels},what=\"server-reset\"}} {reset}"),
    ];
    let socket = site.sensor.socket().display().to_string();
    let read = ["--silent", "--unix-socket", &socket, "http://campus-sensor/metrics"];
    for text in [site.sensor.cli(&["metrics"])?, site.lab.gateway().run("curl", &read)?] {
        for line in &expected {
            assert!(text.lines().any(|told| told == line), "no {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
    assert!(reset > 0, "{ingress:?}");
    Ok(())
}
