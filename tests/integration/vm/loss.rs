//! A path that loses and reorders packets changes no verdict: an allowed name always loads, a blocked one
//! never does.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use sensor_lab::clients::{Outcome, Request};
use sensor_lab::lab::{HOST_INTERFACE, Lab};

use super::exchange::{End, Ends, Size, exchange};
use crate::live::{ALLOWED, BLOCKED, Site, page, setup};

/// One packet in twenty is lost, and one in four overtakes those before it: at each end of the path,
/// so in both directions.
const WEATHER: &str = "qdisc add dev eth0 root netem loss 5% delay 5ms reorder 25% 50%";

/// Connections of each kind. Of as many with some ten packets, nearly all lose or reorder one.
const CONNECTIONS: usize = 16;

/// Of silence, before an end gives up: six retransmissions of a lost segment are over by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pages asked for over real TLS.
const PAGES: usize = 6;

#[test]
fn hellos_of_one_segment_keep_their_verdict() -> Result<()> {
    verdicts_hold(Size::OneSegment)
}

#[test]
fn hellos_of_two_segments_keep_their_verdict() -> Result<()> {
    verdicts_hold(Size::TwoSegments)
}

#[test]
fn pages_over_tls_keep_their_verdict() -> Result<()> {
    let site = Site::build(&setup())?;
    make_weather(&site.lab)?;
    for _ in 0..PAGES {
        let ask = |name| site.client.curl(&Request::https(name).within(3 * PATIENCE));
        assert_eq!(ask(ALLOWED)?.outcome, page(ALLOWED));
        assert_eq!(ask(BLOCKED)?.outcome, Outcome::Reset);
    }
    assert_eq!(site.arrivals_of(BLOCKED)?, 0);
    Ok(())
}

fn verdicts_hold(size: Size) -> Result<()> {
    let site = Site::build(&setup())?;
    make_weather(&site.lab)?;
    for ends in at_once(&site.lab, ALLOWED, size)? {
        assert_eq!(ends, Ends { client: End::Whole, server: End::Whole }, "{size:?}");
    }
    for ends in at_once(&site.lab, BLOCKED, size)? {
        // The server's reset is sent once, and may be lost.
        assert_eq!(ends.client, End::Reset, "{size:?}: {ends:?}");
        assert_ne!(ends.server, End::Whole, "{size:?}: {ends:?}");
    }
    Ok(())
}

fn make_weather(lab: &Lab) -> Result<()> {
    assert!(WEATHER.contains(HOST_INTERFACE));
    let args: Vec<_> = WEATHER.split(' ').collect();
    for namespace in [lab.client(), lab.server()] {
        namespace.run("tc", &args)?;
    }
    Ok(())
}

/// All connections of a kind side by side: they mostly wait.
fn at_once(lab: &Lab, name: &str, size: Size) -> Result<Vec<Ends>> {
    thread::scope(|scope| {
        let connection = || scope.spawn(|| exchange(lab, name, size, PATIENCE));
        let running: Vec<_> = std::iter::repeat_with(connection).take(CONNECTIONS).collect();
        let join = |one: thread::ScopedJoinHandle<'_, Result<Ends>>| match one.join() {
            Ok(ends) => ends,
            Err(_) => bail!("an end of a connection panicked"),
        };
        running.into_iter().map(join).collect()
    })
}
