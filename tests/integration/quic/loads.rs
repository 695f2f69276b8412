//! Pages over HTTP/3 with small hellos and with such as browsers have, which take two datagrams.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::lab::Family;
use sensor_lab::sensor::Mode;

use super::capture::{Capture, Captured};
use super::http3::{Answer, Hello, Load, Validation, Version};
use super::{ALLOWED, BLOCKED, Site, all_came, loads, names, none_came, say};

/// Time to send a hello three times, at 0, 0.3 and 0.9 s.
const TRIES: Duration = Duration::from_millis(1_300);

fn every_kind() -> Vec<Load> {
    let mut kinds = Vec::new();
    for hello in [Hello::Small, Hello::Long, Hello::Late] {
        for family in [Family::V4, Family::V6] {
            kinds.push(Load::new(hello, family));
        }
    }
    kinds.push(Load { version: Version::V2, ..Load::new(Hello::Small, Family::V4) });
    kinds.push(Load { version: Version::V2, ..Load::new(Hello::Late, Family::V6) });
    kinds
}

/// Of each of them one: for what is the same program otherwise.
fn some_kinds() -> Vec<Load> {
    let small = Load::new(Hello::Small, Family::V4);
    vec![
        Load { version: Version::V2, ..small },
        Load { hello: Hello::Long, ..small },
        Load::new(Hello::Late, Family::V6),
    ]
}

#[test]
fn allowed_names_load_in_as_many_round_trips_as_without_a_sensor() -> Result<()> {
    allowed_load(Validation::None, Mode::Native, &every_kind())
}

#[test]
fn allowed_names_load_in_generic_mode() -> Result<()> {
    allowed_load(Validation::None, Mode::Generic, &some_kinds())
}

/// The server's Retry gives the client other keys.
#[test]
fn allowed_names_load_behind_a_retry() -> Result<()> {
    allowed_load(Validation::Retry, Mode::Native, &some_kinds())
}

fn allowed_load(validation: Validation, mode: Mode, kinds: &[Load]) -> Result<()> {
    let site = Site::with(validation)?;
    let (control, allowed) = (names("control", BLOCKED, loads()), names("open", ALLOWED, loads()));
    let mut without = Vec::new();
    for &load in kinds {
        without.push(Loaded::load(&site, load, &control)?);
    }
    let _sensor = site.start_sensor(mode, "")?;
    for (&load, without) in kinds.iter().zip(without) {
        let with = Loaded::load(&site, load, &allowed)?;
        let [sent, sent_without] = [with.sent()?, without.sent()?];
        say(&format!(
            "{validation:?} {mode:?} {load:?}: {} pages, answered after {sent:?} datagrams and at best {:?}; \
             without a sensor {sent_without:?} and {:?}",
            with.answers.len(),
            with.soonest()?,
            without.soonest()?
        ));
        // Some more or fewer acknowledge: a round trip more would be seen in all.
        assert!(sent.start() <= sent_without.end(), "{load:?}: {with:?}");
        for answer in &with.answers {
            with.all_passed(load, answer)?;
        }
    }
    Ok(())
}

#[test]
fn blocked_names_never_load() -> Result<()> {
    blocked_never_load(Validation::None, Mode::Native, &every_kind())
}

#[test]
fn blocked_names_never_load_in_generic_mode() -> Result<()> {
    blocked_never_load(Validation::None, Mode::Generic, &some_kinds())
}

#[test]
fn blocked_names_never_load_behind_a_retry() -> Result<()> {
    blocked_never_load(Validation::Retry, Mode::Native, &some_kinds())
}

fn blocked_never_load(validation: Validation, mode: Mode, kinds: &[Load]) -> Result<()> {
    let site = Site::with(validation)?;
    let _sensor = site.start_sensor(mode, "")?;
    let (allowed, blocked) = (names("open", ALLOWED, 1), names("shut", BLOCKED, loads()));
    for &load in kinds {
        let capture = Capture::behind(&site.lab)?;
        let answers = site.client.try_for(load, &blocked, TRIES)?;
        let captured = capture.finish()?;
        none_came(&answers);
        site.has_not_heard_of(&blocked)?;
        let parts: Vec<_> = answers.iter().map(|answer| passed(&captured, answer, load)).collect();
        say(&format!(
            "{validation:?} {mode:?} {load:?}: none of {} answered; datagrams of hellos behind the gateway: {parts:?}",
            answers.len()
        ));
        // The same client and the same server still speak of other things.
        all_came(&site.client.load(load, &allowed)?);
    }
    Ok(())
}

/// How many datagrams of a blocked hello have left the gateway: the first one at most, and only if the name is not
/// in it.
fn passed(captured: &Captured, answer: &Answer, load: Load) -> usize {
    let Some(connection) = captured.of(answer) else { return 0 };
    assert!(!connection.is_whole && !connection.tells(&answer.name), "{load:?}: {connection:?}");
    assert_eq!((connection.unread, connection.repeated), (0, 0), "{load:?}: {connection:?}");
    let most = usize::from(load.hello == Hello::Late);
    assert!(connection.initials <= most, "{load:?}: {connection:?}");
    connection.initials
}

/// Pages that all came, and what was before the gateway and behind it meanwhile.
#[derive(Debug)]
struct Loaded {
    answers: Vec<Answer>,
    before: Captured,
    captured: Captured,
}

impl Loaded {
    fn load(site: &Site, load: Load, names: &[String]) -> Result<Self> {
        let (before, behind) = (Capture::before(&site.lab)?, Capture::behind(&site.lab)?);
        let answers = site.client.load(load, names)?;
        let (before, captured) = (before.finish()?, behind.finish()?);
        all_came(&answers);
        site.served(names)?;
        Ok(Self { answers, before, captured })
    }

    /// How many datagrams the client sent until it had the first byte, from the fewest to the most.
    fn sent(&self) -> Result<RangeInclusive<usize>> {
        let sent = |answer| Some(self.captured.of(answer)?.sent_until(answer));
        let counts: Option<Vec<_>> = self.answers.iter().map(sent).collect();
        let counts = counts.context("a connection is not in the capture")?;
        let least = counts.iter().min().context("no page")?;
        Ok(*least..=counts.iter().copied().max().unwrap_or(*least))
    }

    fn soonest(&self) -> Result<Duration> {
        self.answers.iter().map(|answer| answer.took).min().context("no answer")
    }

    /// The hello arrived whole, and every datagram that the client sent. That it sends some twice proves nothing: it
    /// does so where one answer takes some milliseconds more than another.
    fn all_passed(&self, load: Load, answer: &Answer) -> Result<()> {
        let [sent, passed] = [&self.before, &self.captured].map(|captured| captured.of(answer));
        let sent = sent.with_context(|| format!("{load:?}: {answer:?} was not sent"))?;
        let passed = passed.with_context(|| format!("{load:?}: {answer:?} did not pass"))?;
        assert_eq!((passed.is_whole, passed.unread), (true, 0), "{load:?}: {passed:?}");
        assert_eq!(passed.name.as_ref(), Some(&answer.name), "{load:?}");
        let datagrams = if load.hello == Hello::Small { 1 } else { 2 };
        assert!(passed.initials >= datagrams, "{load:?}: {passed:?}");
        assert_eq!(sent.sent.len(), passed.sent.len(), "{load:?}: {sent:?} {passed:?}");
        Ok(())
    }
}
