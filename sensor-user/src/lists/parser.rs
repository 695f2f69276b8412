//! A parser of each format, behind one door.

use super::adblock;
use super::csv::Csv;
use super::dnsmasq;
use super::hosts;
use super::intake::Intake;
use super::plain;
use super::rpz::Zone;
use super::unbound;
use super::{Format, ListError, Reason};

/// What reads the lines of one file.
pub(super) enum Parser {
    Domains,
    Hosts,
    Dnsmasq,
    Unbound,
    Rpz(Zone),
    Adblock,
    Csv(Box<Csv>),
    Hashes,
    /// Lines that all are the same thing, such as URLs.
    Only(Reason),
}

impl Parser {
    /// The parser of a format; of a category's files, that of `domains`.
    pub(super) fn new(format: Format) -> Self {
        match format {
            Format::Domains | Format::Ut1 => Self::Domains,
            Format::Hosts => Self::Hosts,
            Format::Dnsmasq => Self::Dnsmasq,
            Format::Unbound => Self::Unbound,
            Format::Rpz => Self::Rpz(Zone::default()),
            Format::Adblock => Self::Adblock,
            Format::Csv => Self::Csv(Box::default()),
            Format::Sha256Hex => Self::Hashes,
        }
    }

    /// Reads a line, without its end.
    pub(super) fn line(
        &mut self,
        line: &[u8],
        intake: &mut Intake<'_, '_>,
    ) -> Result<(), ListError> {
        match self {
            Self::Domains => plain::domains(line, intake),
            Self::Hosts => hosts::line(line, intake),
            Self::Dnsmasq => dnsmasq::line(line, intake),
            Self::Unbound => unbound::line(line, intake),
            Self::Rpz(zone) => return zone.line(line, intake),
            Self::Adblock => adblock::line(line, intake),
            Self::Csv(csv) => return csv.line(line, intake),
            Self::Hashes => plain::hashes(line, intake),
            Self::Only(reason) => plain::only(*reason, line, intake),
        }
        Ok(())
    }

    /// Refuses a file that ends in the middle of something.
    pub(super) fn end(&self, intake: &Intake<'_, '_>) -> Result<(), ListError> {
        match self {
            Self::Rpz(zone) => zone.end(intake),
            Self::Csv(csv) => csv.end(intake),
            Self::Domains
            | Self::Hosts
            | Self::Dnsmasq
            | Self::Unbound
            | Self::Adblock
            | Self::Hashes
            | Self::Only(_) => Ok(()),
        }
    }
}
