//! `[[export]]` as written to exports that can be started.

use std::collections::HashMap;

use sensor_ebpf::abi::Verdict;
use toml::Spanned;

use super::check::{SENSOR_NAME_MAX, number};
use super::error::Problems;
use super::export::{Directions, Export, ExportFilter, ExportKind, Ipfix, Rotate, Target};
use super::knobs;
use super::raw::{RawExport, RawExportFilter};
use crate::export::fields::{Field, Fields};
use crate::export::protocol;
use crate::record::Named as _;

/// Exports of one sensor: each has a thread and a queue.
const EXPORTS_MAX: usize = 16;

/// All that can be used; what is wrong is told.
pub(super) fn exports(raw: Vec<Spanned<RawExport>>, problems: &mut Problems<'_>) -> Vec<Export> {
    let mut first_lines = HashMap::new();
    let mut checked = Vec::with_capacity(raw.len());
    for (index, entry) in raw.into_iter().enumerate() {
        let section = entry.span();
        if index == EXPORTS_MAX {
            let message = format!("more than {EXPORTS_MAX} exports");
            problems.at(&section, message, "let one receiver pass records on to others");
        }
        let Some(export) = export(entry, problems) else { continue };
        let line = problems.line(&section);
        if let Some(first) = first_lines.insert(export.name.clone(), line) {
            problems.at(
                &section,
                format!("export {:?} is named twice, first in line {first}", export.name),
                "give each a name of its own: status and metrics tell them apart by it",
            );
        }
        checked.push(export);
    }
    checked
}

fn export(entry: Spanned<RawExport>, problems: &mut Problems<'_>) -> Option<Export> {
    let section = entry.span();
    let entry = entry.into_inner();
    let missing = [
        ("name", entry.name.is_none(), "name = \"…\""),
        ("kind", entry.kind.is_none(), "kind = \"eve\", \"ipfix\" or \"syslog\""),
        (
            "target",
            entry.target.is_none(),
            "target = \"…\": an absolute path, tcp://HOST:PORT or udp://HOST:PORT",
        ),
    ];
    for (key, _, remedy) in missing.into_iter().filter(|(_, is_missing, _)| *is_missing) {
        problems.at(&section, format!("an export without a {key}"), format!("add {remedy}"));
    }
    let (name, kind, target) = (name(&entry.name?, problems), entry.kind?, entry.target?);
    let target = self::target(kind, &target, problems)?;
    if let (Some(rotate), Target::Tcp(_) | Target::Udp(_)) = (&entry.rotate, &target) {
        let message = format!("export.rotate of {target}, which is no file");
        problems.at(&rotate.span(), message, "remove the section");
    }
    if let (Some(ipfix), ExportKind::Eve | ExportKind::Syslog) = (&entry.ipfix, kind) {
        let message = format!("export.ipfix of kind \"{}\"", kind.name());
        problems.at(&ipfix.span(), message, "remove the section");
    }
    if let (Some(enterprise), ExportKind::Eve) = (&entry.enterprise, kind) {
        let message = "export.enterprise of kind \"eve\", which has no such numbers";
        problems.at(&enterprise.span(), message, "remove it");
    }
    let rotate = entry.rotate.map(Spanned::into_inner).unwrap_or_default();
    let ipfix = entry.ipfix.map(Spanned::into_inner).unwrap_or_default();
    Some(Export {
        name,
        kind,
        target,
        fields: fields(entry.fields, problems),
        enterprise: number(entry.enterprise.as_ref(), knobs::ENTERPRISE, problems),
        filter: filter(entry.filter, problems),
        rotate: Rotate {
            size_mib: number(rotate.size_mib.as_ref(), knobs::ROTATE_SIZE, problems),
            hours: number(rotate.hours.as_ref(), knobs::ROTATE_HOURS, problems),
            keep: number(rotate.keep.as_ref(), knobs::ROTATE_KEEP, problems),
        },
        ipfix: Ipfix {
            domain: number(ipfix.domain.as_ref(), knobs::DOMAIN, problems),
            directions: ipfix.directions.unwrap_or(Directions::Uniflow),
        },
    })
}

fn name(name: &Spanned<String>, problems: &mut Problems<'_>) -> String {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let text = name.get_ref();
    if text.is_empty() || text.len() > SENSOR_NAME_MAX || !text.bytes().all(fits) {
        problems.at(
            &name.span(),
            format!("export.name {text:?} is not 1 to {SENSOR_NAME_MAX} of a-z, 0-9 and -"),
            "choose a name like \"siem\": status and metrics show it",
        );
    }
    text.clone()
}

fn target(kind: ExportKind, text: &Spanned<String>, problems: &mut Problems<'_>) -> Option<Target> {
    let Some(target) = Target::parse(text.get_ref()) else {
        problems.at(
            &text.span(),
            format!("export.target {:?} is no place to send to", text.get_ref()),
            "give an absolute path, tcp://HOST:PORT or udp://HOST:PORT; an IPv6 address in brackets",
        );
        return None;
    };
    if !kind.goes_to(&target) {
        let remedy = match kind {
            ExportKind::Eve => "give an absolute path or tcp://HOST:PORT",
            ExportKind::Ipfix | ExportKind::Syslog => "give udp://HOST:PORT or tcp://HOST:PORT",
        };
        let message = format!("export.target {target} is not for kind \"{}\"", kind.name());
        problems.at(&text.span(), message, remedy);
    }
    Some(target)
}

fn fields(names: Option<Vec<Spanned<String>>>, problems: &mut Problems<'_>) -> Fields {
    let Some(names) = names else { return Fields::ALL };
    let mut fields = Fields::NONE;
    for name in names {
        let Some(field) = Field::of(name.get_ref()) else {
            let known: Vec<&str> = Fields::ALL.iter().map(Field::name).collect();
            problems.at(
                &name.span(),
                format!("export.fields names {:?}, which is no field of a record", name.get_ref()),
                format!("give some of {}", known.join(", ")),
            );
            continue;
        };
        fields = fields.with(field);
    }
    fields
}

fn filter(raw: RawExportFilter, problems: &mut Problems<'_>) -> ExportFilter {
    let mut filter =
        ExportFilter { groups: raw.groups, categories: raw.categories, ..ExportFilter::default() };
    for verdict in raw.verdicts {
        let Some(known) = Verdict::of(verdict.get_ref()) else {
            let names: Vec<&str> = Verdict::ALL.iter().map(|verdict| verdict.name()).collect();
            problems.at(
                &verdict.span(),
                format!(
                    "export.filter.verdicts names {:?}, which is no verdict",
                    verdict.get_ref()
                ),
                format!("give some of {}", names.join(", ")),
            );
            continue;
        };
        filter.verdicts.push(known);
    }
    for protocol in raw.protocols {
        let Some(number) = protocol::number(protocol.get_ref()) else {
            problems.at(
                &protocol.span(),
                format!(
                    "export.filter.protocols names {:?}, which is no IP protocol",
                    protocol.get_ref()
                ),
                "give names like \"tcp\" and \"udp\", or numbers like \"89\"",
            );
            continue;
        };
        filter.protocols.push(number);
    }
    filter
}
