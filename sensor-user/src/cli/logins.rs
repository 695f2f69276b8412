//! `campus-sensor login`, `logout` and `logins`: who is where, and which group that puts the device into.

use std::io::Write;
use std::net::IpAddr;

use clap::Args;
use hyper::Method;

use super::{ask, tell, write_json};
use crate::config::Config;
use crate::control::logins::{LoginStatus, NewLogin};
use crate::record::display_name;

/// Who has logged in where.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// Address of the device
    address: IpAddr,
    /// Name of who has logged in
    #[arg(long)]
    user: String,
    /// A role of theirs; may be given again
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
}

pub(super) fn log_in(
    config: &Config,
    args: &LoginArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let LoginArgs { address, user, roles } = args;
    let new = NewLogin { address: *address, user: user.clone(), roles: roles.clone() };
    let told = serde_json::to_vec(&new)?.into();
    write(&tell(config, Method::POST, "/v1/logins", told)?, json, out)
}

pub(super) fn log_out(
    config: &Config,
    address: IpAddr,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let path = format!("/v1/logins/{address}");
    write(&ask(config, Method::DELETE, &path)?, json, out)
}

pub(super) fn show(config: &Config, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let logins: Vec<LoginStatus> = ask(config, Method::GET, "/v1/logins")?;
    if logins.is_empty() && !json {
        writeln!(out, "nobody is logged in")?;
    }
    logins.iter().try_for_each(|login| write(login, json, out))
}

fn write(status: &LoginStatus, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        return write_json(status, out);
    }
    let LoginStatus { address, login, group } = status;
    let Some(login) = login else {
        writeln!(out, "{address}: nobody is logged in any more")?;
        return Ok(());
    };
    let roles: Vec<_> = login.roles.iter().map(|role| display_name(role)).collect();
    let roles = if roles.is_empty() { String::new() } else { format!(" ({})", roles.join(", ")) };
    let user = display_name(&login.user);
    match group {
        Some(group) => writeln!(out, "{address}: {user}{roles}, in group {group}")?,
        None => writeln!(out, "{address}: {user}{roles}, whom no group names")?,
    }
    Ok(())
}
