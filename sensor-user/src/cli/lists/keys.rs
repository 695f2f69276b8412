//! `campus-sensor lists keys`: a pair of keys, for whoever has no minisign.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::import::PASSWORD_VARIABLE;
use crate::bundle::key;
use crate::cli::table::write_json;

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "\
The secret key has a password where the environment's CAMPUS_SENSOR_KEY_PASSWORD gives one. Keep it where bundles
are made, and away from gateways: they need the public key only.")]
pub struct KeysArgs {
    /// Folder for campus-sensor.key and campus-sensor.pub; nothing is written over
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Makes the keys, and says what to write into the configuration.
pub(super) fn keys(args: &KeysArgs, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let public = key::generate(&args.out, std::env::var(PASSWORD_VARIABLE).ok())?;
    if json {
        write_json(&json!({ "public_key": public }), out)?;
    } else {
        writeln!(out, "gateways verify with, under [policy]:\nkeys = [\"{public}\"]")?;
    }
    Ok(())
}
