//! Listed ports, by themselves and with a name behind them.

use anyhow::{Context as _, Result, ensure};
use sensor_ebpf::abi::{NoName, Verdict};
use sensor_user::policy::Port;

use super::{Theme, device};

pub(super) const THEMES: &[&Theme] = &[&PORTS, &NAMES_BEHIND];

const PORTS: Theme = Theme {
    title: "a port is in the categories of its lists, and is judged as a name would be",
    rules: r#"
        allow = [{ name = "tcp/1723", reason = "x" }, { name = "tcp/9999", reason = "x" }]
        block = [{ name = "udp/5000", reason = "x" }, { name = "tcp/9999", reason = "x" }]
    "#,
    lists: &[
        "piracy: tcp/6881 udp/6881",
        "news: tcp/119 udp/7000",
        "vpn: udp/1194 UDP/51820 tcp/1723 tcp/853",
        "games: udp/27015",
        "drugs: udp/7000",
    ],
    rows: "
        student   udp/1194   block  vpn          vpn
        student6  udp/1194   block  vpn          vpn
        staff     udp/1194   allow  vpn          vpn
        free      udp/1194   allow  vpn          vpn
        stranger  udp/1194   block  vpn          vpn
        student   udp/51820  block  vpn          vpn
        # The same number of another transport, and its neighbours.
        student   tcp/1194   allow  none         -
        student   udp/1193   allow  none         -
        student   udp/1195   allow  none         -
        student   tcp/853    block  vpn          vpn
        student6  tcp/853    block  vpn          vpn
        student   tcp/6881   block  piracy       piracy
        staff     tcp/6881   alert  piracy       piracy
        staff6    udp/6881   alert  piracy       piracy
        student   tcp/119    alert  news         news
        staff     tcp/119    allow  news         news
        student   udp/27015  allow  games        games
        # Two lists, and rules of the site.
        student   udp/7000   block  drugs        drugs+news
        student   tcp/1723   allow  local-allow  vpn+local-allow
        free      udp/5000   block  local-block  local-block
        student   tcp/5000   allow  none         -
        free      tcp/9999   allow  local-allow  local-block+local-allow
    ",
    ..Theme::COMMON
};

/// A row is a device, a port, and a name that is asked for there; then what becomes of the port and of the name.
const NAMES_BEHIND: Theme = Theme {
    title: "a port and the names behind it are judged apart",
    lists: &[
        "piracy: piracy.example tcp/6881",
        "news: news.example tcp/119",
        "vpn: vpn.example tcp/1723",
        "help protected helplines: helpline.example",
    ],
    rows: "
        # What is told of a port is one thing, its name another.
        student  tcp/119   fine.example      alert  allow
        student  tcp/119   news.example      alert  alert
        student  tcp/119   piracy.example    alert  block
        student  tcp/119   helpline.example  alert  allow
        # No name opens a blocked port.
        student  tcp/6881  fine.example      block  block
        student  tcp/6881  helpline.example  block  block
        # No port lets a blocked name through.
        staff    tcp/1723  fine.example      allow  allow
        student  tcp/8443  piracy.example    allow  block
        staff    tcp/1723  piracy.example    allow  alert
        staff    tcp/6881  vpn.example       alert  allow
    ",
    ..Theme::COMMON
};

#[test]
fn a_port_is_judged_as_a_name_would_be() -> Result<()> {
    PORTS.check()
}

#[test]
fn a_port_and_the_names_behind_it_are_judged_apart() -> Result<()> {
    NAMES_BEHIND.check_with(|gateway, policy, row| {
        let &[from, port, name, of_port, of_name] = row else {
            anyhow::bail!("a row has five columns");
        };
        let device = device(from)?;
        let group = policy.group_of(device);
        let is_open = of_port != Verdict::Block.name();
        ensure!(policy.decide(port, group).verdict.name() == of_port, "the host on the port");
        if is_open {
            ensure!(policy.decide(name, group).verdict.name() == of_name, "the host on the name");
        }
        let port = Port::parse(port).context("a port")??;
        let [opened, asked] = gateway.open_and_ask(device, port, name)?;
        let told = |told: Option<super::Told>, reason| {
            told.map_or(Verdict::Allow.name(), |told| {
                assert_eq!(told.reason, reason, "{row:?}");
                told.verdict.name()
            })
        };
        let found = told(opened.told, NoName::ListedPort);
        ensure!(found == of_port, "the program says {found} of the port");
        ensure!(opened.passes == is_open, "the port passes: {}", opened.passes);
        // Behind a blocked port nothing is read.
        if is_open {
            let found = told(asked.told, NoName::Named);
            ensure!(found == of_name, "the program says {found} of the name");
        }
        let passes = of_name != Verdict::Block.name();
        ensure!(asked.passes == passes, "the name passes: {}", asked.passes);
        Ok(())
    })
}
