//! The sensor at work, from the outside: what clients get with it, without its daemon, and what it wrote down.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sensor_lab::clients::{Answer, Client, Outcome, Request, Scheme};
use sensor_lab::lab::{Family, LAN_INTERFACE, Lab, is_root};
use sensor_lab::process;
use sensor_lab::sensor::{Sensor, Setup};
use sensor_lab::servers::{WebServer, page_of};

use crate::cargo;
use crate::setup::{Need, ensure, ensure_lab};
use crate::ui::{self, Colour, Steps};
use crate::workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// Only the lab: every page loads, which shows what the sensor changes.
    #[arg(long)]
    without_sensor: bool,
    /// Show this binary, an installed one say, and build none.
    #[arg(long, value_name = "FILE", conflicts_with = "without_sensor")]
    sensor: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Curl,
    Python,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Page,
    /// The sensor's page, which says why.
    BlockPage,
    Reset,
}

/// One request, and what should become of it under the policy in rules/.
struct Ask {
    tool: Tool,
    scheme: Scheme,
    family: Family,
    name: &'static str,
    expected: Expected,
    /// Why a reader should care.
    note: &'static str,
}

const fn ask(
    tool: Tool,
    scheme: Scheme,
    family: Family,
    (name, expected): (&'static str, Expected),
    note: &'static str,
) -> Ask {
    Ask { tool, scheme, family, name, expected, note }
}

const ALLOWED: (&str, Expected) = ("library.example", Expected::Page);
const LISTED: (&str, Expected) = ("drugs.example", Expected::Reset);
const BELOW_LISTED: (&str, Expected) = ("www.pornography.example", Expected::Reset);
/// Its neighbour hate.discrimination.invalid is listed; the name above both is not.
const SIBLING: (&str, Expected) = ("news.discrimination.invalid", Expected::Page);
const NEIGHBOUR: (&str, Expected) = ("hate.discrimination.invalid", Expected::Reset);
const EXCEPTION: (&str, Expected) = ("museum.piracy.example", Expected::Page);

use Family::{V4, V6};
use Scheme::{Http, Https};
use Tool::{Curl, Python};

const ASKS: &[Ask] = &[
    ask(Curl, Https, V4, ALLOWED, "on no list"),
    ask(Curl, Https, V4, LISTED, "listed under drugs"),
    ask(Python, Https, V4, BELOW_LISTED, "below a listed name"),
    ask(Curl, Http, V4, ALLOWED, "on no list"),
    ask(Curl, Http, V4, ("adult.example", Expected::BlockPage), "listed under pornography"),
    ask(Curl, Https, V6, ALLOWED, "on no list"),
    ask(Curl, Https, V6, ("violence.example", Expected::Reset), "listed under violence"),
    ask(Curl, Https, V4, NEIGHBOUR, "listed under discrimination"),
    ask(Curl, Https, V4, SIBLING, "its sibling is on no list"),
    ask(Curl, Https, V4, EXCEPTION, "an exception below a listed name"),
];

/// With no daemon to help.
const ASKS_ALONE: &[Ask] = &[
    ask(Curl, Https, V4, LISTED, "the kernel still knows"),
    ask(Curl, Https, V4, ALLOWED, "and still lets through"),
];

/// The name whose verdict is explained at the end.
const EXPLAINED: &str = "www.pornography.example";

/// Records are written when a flow has ended and rested.
const RECORDS: Duration = Duration::from_secs(15);

pub(crate) fn run(options: &Options) -> Result<()> {
    if !is_root() {
        bail!(
            "the demo makes network namespaces and loads programs into the kernel: run it as root"
        );
    }
    let start = Instant::now();
    let sensor = options.sensor.as_deref();
    let result = if options.without_sensor { show_lab() } else { show_sensor(sensor) };
    let missed = result?;
    let took = ui::seconds(start.elapsed());
    if missed > 0 {
        bail!("{missed} things were not as expected: see the lines marked above");
    }
    let text = format!("Everything as expected, in {took}. The lab is gone.");
    ui::line(&ui::colour(&text, Colour::Green));
    Ok(())
}

fn show_lab() -> Result<usize> {
    ensure_lab()?;
    let mut steps = Steps::new(3);
    let site = Site::build(&mut steps)?;
    steps.announce("ask, with no sensor on the gateway");
    count_missed(ASKS.iter().map(|ask| site.show(ask, Expected::Page)))
}

fn show_sensor(built: Option<&Path>) -> Result<usize> {
    let mut steps = Steps::new(8);
    let binary = if let Some(built) = built {
        ensure_lab()?;
        steps.announce(&format!("take {}", built.display()));
        built.canonicalize().with_context(|| format!("find {}", built.display()))?
    } else {
        let toolchain = ensure(Need::BuildAndLab)?;
        let step = steps.next("build campus-sensor (the first time takes minutes)");
        let binary = cargo::build_sensor(&toolchain)?;
        step.done("built");
        binary
    };

    let site = Site::build(&mut steps)?;
    let step =
        steps.next(&format!("start campus-sensor on {LAN_INTERFACE}, with the policy in rules/"));
    let mut sensor = Sensor::start(&site.lab, &binary, &setup()?)?;
    step.done("attached and answering");

    steps.announce("ask, from the client's side of the gateway");
    let mut missed = count_missed(ASKS.iter().map(|ask| site.show(ask, ask.expected)))?;

    steps.announce("kill -9 the daemon, and ask again");
    sensor.kill()?;
    missed += count_missed(ASKS_ALONE.iter().map(|ask| site.show(ask, ask.expected)))?;

    let step = steps.next("start the daemon again");
    sensor.resume()?;
    step.done("took over what was pinned");
    missed += site.show_what_arrived()?;

    steps.announce("what the sensor wrote down: campus-sensor flows, status, why");
    Ok(missed + show_records(&sensor)?)
}

/// Prints what the sensor tells of the flows it saw; how many names it has no record of.
fn show_records(sensor: &Sensor) -> Result<usize> {
    let mut names: Vec<_> = ASKS.iter().map(|ask| ask.name).collect();
    let mut flows = String::new();
    let complete = process::wait_until("a record of every name", RECORDS, || {
        let records = sensor.cli(&["flows", "--json"])?;
        names.retain(|name| !records.contains(&format!("\"name\":\"{name}\"")));
        flows = sensor.cli(&["flows"])?;
        Ok(names.is_empty().then_some(()))
    });
    show_output("campus-sensor flows", &flows);
    if let Err(error) = complete {
        let text = format!("      {error:#}; none of {}", names.join(", "));
        ui::line(&ui::colour(&text, Colour::Red));
    }
    show_output("campus-sensor status", &sensor.cli(&["status"])?);
    show_output(
        &format!("campus-sensor why {EXPLAINED} --group student"),
        &sensor.cli(&["why", EXPLAINED, "--group", "student"])?,
    );
    Ok(names.len())
}

fn show_output(command: &str, output: &str) {
    ui::line(&ui::colour(&format!("      $ {command}"), Colour::Bold));
    for line in output.trim_end().lines() {
        ui::line(&format!("      {line}"));
    }
}

/// The shipped policy, with the lab's client among the students.
fn setup() -> Result<Setup> {
    let mut setup = Setup::with_rules(&workspace().join("rules"))?;
    let student = "\"10.20.0.0/16\"";
    setup.policy = setup.policy.replacen(
        student,
        &format!("\"{}\", \"{}\", {student}", V4.client(), V6.client()),
        1,
    );
    Ok(setup)
}

fn count_missed(results: impl Iterator<Item = Result<bool>>) -> Result<usize> {
    let results = results.collect::<Result<Vec<_>>>()?;
    Ok(results.into_iter().filter(|as_expected| !as_expected).count())
}

/// The lab with its web server and a client. The server goes before the namespaces.
struct Site {
    client: Client,
    web: WebServer,
    lab: Lab,
}

impl Site {
    fn build(steps: &mut Steps) -> Result<Self> {
        let step =
            steps.next("build the lab: client, gateway with NAT, server, each in a namespace");
        let lab = Lab::build()?;
        step.done("built");
        let mut names: Vec<_> = ASKS.iter().map(|ask| ask.name).collect();
        names.sort_unstable();
        names.dedup();
        let step = steps.next(&format!("start nginx on the server, for {} names", names.len()));
        let web = WebServer::start(&lab, &names)?;
        step.done("answering");
        Ok(Self { client: Client::new(&lab, &web), web, lab })
    }

    /// Asks, and prints what came of it; whether that was expected.
    fn show(&self, ask: &Ask, expected: Expected) -> Result<bool> {
        let request = match ask.scheme {
            Http => Request::http(ask.name),
            Https => Request::https(ask.name),
        };
        let request = request.over(ask.family);
        let (tool, answer) = match ask.tool {
            Curl => ("curl", self.client.curl(&request)?),
            Python => ("python", self.client.python(&request)?),
        };
        let as_expected = is_expected(&answer.outcome, ask.name, expected);
        let url = request.url();
        let family = match ask.family {
            V4 => "IPv4",
            V6 => "IPv6",
        };
        let (got, colour) = describe(&answer);
        let got = ui::colour(&format!("{got:<10}"), colour);
        let ms = answer.elapsed.as_secs_f64() * 1000.0;
        let mark = if as_expected {
            String::new()
        } else {
            ui::colour(&format!("  <- NOT EXPECTED: should be a {}", expected.name()), Colour::Red)
        };
        ui::line(&format!(
            "      {tool:<6} {family} {url:<37} {got} {ms:>7.1} ms  {}{mark}",
            ask.note
        ));
        Ok(as_expected)
    }

    /// No byte of a request for a blocked name may have come through.
    fn show_what_arrived(&self) -> Result<usize> {
        let arrivals = self.web.arrivals()?;
        let is_blocked =
            |host: &str| ASKS.iter().any(|ask| ask.name == host && ask.expected != Expected::Page);
        let blocked = arrivals.iter().filter(|arrival| is_blocked(&arrival.host)).count();
        let all = arrivals.len();
        let text = format!("the server has answered {all} requests, {blocked} for blocked names");
        let colour = if blocked == 0 { Colour::Dim } else { Colour::Red };
        ui::line(&ui::colour(&format!("      {text}"), colour));
        Ok(blocked)
    }
}

impl Expected {
    fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::BlockPage => "block page",
            Self::Reset => "reset",
        }
    }
}

fn is_expected(outcome: &Outcome, name: &str, expected: Expected) -> bool {
    match (outcome, expected) {
        (Outcome::Page { status, body }, Expected::Page) => {
            *status == 200 && *body == page_of(name)
        }
        (Outcome::Page { status, .. }, Expected::BlockPage) => *status == 403,
        (Outcome::Reset, Expected::Reset) => true,
        (Outcome::Page { .. }, Expected::Reset)
        | (Outcome::Reset, Expected::Page | Expected::BlockPage)
        | (Outcome::Timeout | Outcome::Other(_), _) => false,
    }
}

fn describe(answer: &Answer) -> (String, Colour) {
    match &answer.outcome {
        Outcome::Page { status: 403, .. } => ("page 403".to_owned(), Colour::Yellow),
        Outcome::Page { status, .. } => (format!("page {status}"), Colour::Green),
        Outcome::Reset => ("reset".to_owned(), Colour::Yellow),
        Outcome::Timeout => ("timeout".to_owned(), Colour::Red),
        Outcome::Other(what) => (what.clone(), Colour::Red),
    }
}

#[cfg(test)]
mod tests {
    use sensor_lab::clients::Outcome;
    use sensor_lab::servers::page_of;

    use super::{Expected, is_expected};

    #[test]
    fn only_the_names_own_page_is_a_page() {
        let name = "a.example";
        let page = |status, body| Outcome::Page { status, body };
        assert!(is_expected(&page(200, page_of(name)), name, Expected::Page));
        assert!(!is_expected(&page(200, page_of("b.example")), name, Expected::Page));
        assert!(!is_expected(&page(403, page_of(name)), name, Expected::Page));
        assert!(is_expected(&Outcome::Reset, name, Expected::Reset));
        assert!(!is_expected(&Outcome::Timeout, name, Expected::Reset));
    }
}
