//! `campus-sensor preflight`: whether this machine can run the sensor, tried without attaching anything.

use std::io::Write;

use serde::Serialize;

use super::table::{self, Column};
use crate::config::Config;
use crate::kernel::object::{Clock, Object, ProgramFigures, Sizes};
use crate::kernel::preflight::check;

/// What the kernel took, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    programs: Vec<Program<'a>>,
    /// Why QUIC would not be read; null where it would.
    quic_unread: Option<&'a str>,
}

#[derive(Serialize)]
struct Program<'a> {
    name: &'a str,
    verified_instructions: u32,
}

/// Loads the programs with small maps, tells what the verifier said, and lets go of them.
pub(super) fn preflight(config: &Config, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    check()?;
    let sizes = Sizes { quic: config.quic.read, ..Sizes::SMALL };
    let mut object = Object::load(sizes, Clock::Live, None)?;
    let figures = object.figures()?;
    let quic_unread = object.quic_refusal();
    if json {
        let program = |figures: &ProgramFigures| Program {
            name: figures.name,
            verified_instructions: figures.verified,
        };
        let programs = figures.iter().map(program).collect();
        table::write_json(&Report { programs, quic_unread }, out)?;
        return Ok(());
    }
    let rows = figures.iter().map(|program| {
        let verified = program.verified.to_string();
        vec![program.name.to_owned(), verified]
    });
    let columns = [Column::Word("program"), Column::Number("verified instructions")];
    table::write_table(&columns, rows, out)?;
    match quic_unread {
        Some(reason) => writeln!(out, "QUIC would not be read ({reason})")?,
        None => writeln!(out, "QUIC would be read")?,
    }
    writeln!(out, "this machine can run the sensor")?;
    Ok(())
}
