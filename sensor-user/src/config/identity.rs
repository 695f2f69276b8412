//! `[identity]`: who may tell who is where.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;

use super::check::{number, path};
use super::effective::File;
use super::error::Problems;
use super::knobs;
use super::raw::{RawIdentity, RawLeases, RawRadius, RawUserId};
use super::{Identity, Leases, Radius, UserId};
use crate::policy::prefix;

const RADIUS_SECRET_DEFAULT: &str = "/etc/campus-sensor/radius.secret";

const USER_ID_KEY_DEFAULT: &str = "/etc/campus-sensor/user-id.key";

/// What an address to listen at looks like.
const LISTEN_REMEDY: &str =
    "write an address and a port, as in \"10.0.0.1:1813\" or \"[::1]:1813\"";

pub(super) fn check(raw: RawIdentity, problems: &mut Problems<'_>) -> Identity {
    let RawRadius { listen, clients, secret_file, session_s } = raw.radius;
    let listen = Listen::check(listen, "identity.radius", clients, problems);
    Identity {
        domains: domains(raw.domains, problems),
        neighbours: raw.neighbours.unwrap_or(false),
        radius: Radius {
            listen: listen.at,
            clients: listen.clients,
            secret_file: path(
                secret_file,
                "identity.radius.secret_file",
                RADIUS_SECRET_DEFAULT,
                problems,
            ),
            session_s: number(session_s.as_ref(), knobs::RADIUS_SESSION, problems),
        },
        user_id: user_id(raw.user_id, problems),
        leases: leases(raw.leases, problems),
    }
}

/// Where something is listened to, and from whom.
struct Listen {
    at: Option<SocketAddr>,
    clients: Vec<IpNet>,
}

impl Listen {
    fn check(
        listen: Option<Spanned<String>>,
        table: &str,
        clients: Vec<Spanned<String>>,
        problems: &mut Problems<'_>,
    ) -> Self {
        let clients = clients
            .into_iter()
            .filter_map(|client| prefix_of(&client, &format!("{table}.clients"), problems))
            .collect::<Vec<_>>();
        let listen = listen.filter(|listen| !listen.get_ref().is_empty());
        let Some(listen) = listen else { return Self { at: None, clients } };
        let at = listen.get_ref().parse().ok().filter(|at: &SocketAddr| at.port() != 0);
        if at.is_none() {
            let text = listen.get_ref();
            problems.at(
                &listen.span(),
                format!("{table}.listen {text:?} is no address with a port"),
                LISTEN_REMEDY,
            );
        }
        if clients.is_empty() {
            problems.at(
                &listen.span(),
                format!("{table}.listen is set, but no one may send anything"),
                format!(
                    "add clients = [\"10.0.0.0/24\"] to [{table}], with the prefixes of who may"
                ),
            );
        }
        Self { at, clients }
    }
}

fn prefix_of(text: &Spanned<String>, key: &str, problems: &mut Problems<'_>) -> Option<IpNet> {
    let refused = |remedy: String, problems: &mut Problems<'_>| {
        let message = format!("{key} names {:?}, which is no prefix", text.get_ref());
        problems.at(&text.span(), message, remedy);
    };
    match prefix::parse(text.get_ref()) {
        Some(Ok(prefix)) => return Some(prefix),
        Some(Err(error)) => refused(format!("it {error}"), problems),
        None => refused("write it as 10.0.0.0/24 or 10.0.0.7".to_owned(), problems),
    }
    None
}

fn user_id(raw: RawUserId, problems: &mut Problems<'_>) -> UserId {
    let RawUserId { listen, clients, key_file, timeout_min } = raw;
    let listen = Listen::check(listen, "identity.user_id", clients, problems);
    UserId {
        listen: listen.at,
        clients: listen.clients,
        key_file: path(key_file, "identity.user_id.key_file", USER_ID_KEY_DEFAULT, problems),
        timeout_min: number(timeout_min.as_ref(), knobs::USER_ID_TIMEOUT, problems),
    }
}

fn leases(raw: RawLeases, problems: &mut Problems<'_>) -> Leases {
    let mut absolute = |paths: Vec<Spanned<PathBuf>>, key: &str| {
        let paths = paths.into_iter();
        paths.map(|one| path(Some(one), key, "", problems)).collect::<Vec<_>>()
    };
    Leases {
        kea: absolute(raw.kea, "identity.leases.kea"),
        dnsmasq: absolute(raw.dnsmasq, "identity.leases.dnsmasq"),
        dhcpd: absolute(raw.dhcpd, "identity.leases.dhcpd"),
    }
}

fn domains(raw: Vec<Spanned<String>>, problems: &mut Problems<'_>) -> Vec<String> {
    let mut domains = Vec::with_capacity(raw.len());
    for domain in raw {
        let text = domain.get_ref();
        if text.trim() != text || text.is_empty() || text.contains(['\\', '@']) {
            problems.at(
                &domain.span(),
                format!("identity.domains names {text:?}, which is no domain"),
                "write what stands behind @ or before \\ in users' names",
            );
        }
        domains.push(domain.into_inner());
    }
    domains
}

impl Identity {
    /// Every key with the value in force.
    pub(super) fn write(&self, file: &mut File) {
        let Self { domains, neighbours, radius, user_id, leases } = self;
        file.table("[identity]");
        let domains = toml::Value::from(domains.clone());
        file.line("domains", domains, "users' domains that are left out; default none");
        file.line("neighbours", neighbours, "follow the kernel's table; default false");
        file.table("[identity.radius]");
        let Radius { listen, clients, secret_file, session_s } = radius;
        file.text("listen", &shown(*listen), "address and port; default none: off");
        file.line("clients", texts(clients), "prefixes of who may account; default none");
        file.path("secret_file", secret_file, RADIUS_SECRET_DEFAULT);
        file.number(knobs::RADIUS_SESSION, *session_s);
        file.table("[identity.user_id]");
        let UserId { listen, clients, key_file, timeout_min } = user_id;
        file.text("listen", &shown(*listen), "address and port; default none: off");
        file.line("clients", texts(clients), "prefixes of who may tell; default none");
        file.path("key_file", key_file, USER_ID_KEY_DEFAULT);
        file.number(knobs::USER_ID_TIMEOUT, *timeout_min);
        file.table("[identity.leases]");
        let Leases { kea, dnsmasq, dhcpd } = leases;
        for (key, files) in [("kea", kea), ("dnsmasq", dnsmasq), ("dhcpd", dhcpd)] {
            let files: Vec<_> = files.iter().map(|file| file.display()).collect();
            file.line(key, texts(&files), "lease files, followed; default none");
        }
    }
}

fn shown(listen: Option<SocketAddr>) -> String {
    listen.map(|listen| listen.to_string()).unwrap_or_default()
}

fn texts(values: &[impl Display]) -> toml::Value {
    toml::Value::from(values.iter().map(ToString::to_string).collect::<Vec<_>>())
}
