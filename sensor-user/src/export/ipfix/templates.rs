//! What a collector must have to read records: templates, and options that say who exports what and how.

use super::elements::{ELEMENTS, Element, Form, Owner, REVERSE};
use super::write::{Family, plain_specifier, set, specifier, text};
use crate::config::Directions;
use crate::export::fields::{Field, Fields};

/// Set of templates (RFC 7011 section 3.3.2).
const TEMPLATE_SET: u16 = 2;

/// Set of options templates.
const OPTIONS_SET: u16 = 3;

/// Templates of records; the lowest numbers there are (section 3.4.1).
pub(super) const fn template_id(family: Family) -> u16 {
    match family {
        Family::V4 => 256,
        Family::V6 => 257,
    }
}

/// Options: every packet is looked at.
const SAMPLING: u16 = 258;
/// Options: what was sent and what not.
const STATISTICS: u16 = 259;
/// Options: names and types of our own elements.
const TYPES: u16 = 260;

/// The columns of a record.
pub(super) fn columns(fields: Fields, directions: Directions) -> Vec<&'static Element> {
    let reverse = match directions {
        Directions::Uniflow => &[],
        Directions::Biflow => REVERSE,
    };
    let is_told = |element: &&Element| element.field.is_none_or(|field| fields.has(field));
    ELEMENTS.iter().chain(reverse).filter(is_told).collect()
}

/// Templates of records over both families.
pub(super) fn templates(columns: &[&Element], enterprise: u32) -> Vec<u8> {
    let mut records = Vec::new();
    for family in [Family::V4, Family::V6] {
        records.extend(plain_specifier(template_id(family), count(columns.len())));
        records.extend(columns.iter().flat_map(|one| specifier(one, family, enterprise)));
    }
    set(TEMPLATE_SET, &records)
}

/// An options template: its first columns say what the others are about.
fn options_template(id: u16, scopes: u16, columns: &[(u16, u16)]) -> Vec<u8> {
    let mut record =
        [id, count(columns.len()), scopes].map(u16::to_be_bytes).as_flattened().to_vec();
    record.extend(columns.iter().flat_map(|(id, bytes)| plain_specifier(*id, *bytes)));
    record
}

/// Numbers of what was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// When counting began, ms since 1970 UTC.
    pub(super) since_ms: u64,
    pub(super) messages: u64,
    pub(super) records: u64,
    /// Records of flows that were to be sent and were not.
    pub(super) shed: u64,
}

/// Templates and records of sampling (RFC 5477 section 6.5.2.1: one of one packet) and of statistics (RFC 7011
/// section 4.3), and how many records these are.
pub(super) fn options(domain: u32, sensor: &str, sent: Sent) -> (Vec<u8>, u32) {
    const SELECTOR: u64 = 1;
    const SYSTEMATIC_COUNT_BASED: u16 = 1;
    // selectorId; selectorAlgorithm, samplingPacketInterval, samplingPacketSpace
    let sampled = options_template(SAMPLING, 1, &[(302, 8), (304, 2), (305, 4), (306, 4)]);
    // observationDomainId; observationDomainName, systemInitTimeMilliseconds, exportedMessageTotalCount,
    // exportedFlowRecordTotalCount, notSentFlowTotalCount
    let columns = [(149, 4), (300, u16::MAX), (160, 8), (41, 8), (42, 8), (165, 8)];
    let counted = options_template(STATISTICS, 1, &columns);
    let mut sampling = SELECTOR.to_be_bytes().to_vec();
    sampling.extend(SYSTEMATIC_COUNT_BASED.to_be_bytes());
    sampling.extend([1_u32, 0].map(u32::to_be_bytes).as_flattened());
    let mut statistics = domain.to_be_bytes().to_vec();
    text(sensor, &mut statistics);
    let Sent { since_ms, messages, records, shed } = sent;
    statistics.extend([since_ms, messages, records, shed].map(u64::to_be_bytes).as_flattened());
    // A set for each template: pmacct 1.7 misreads a second one in a set.
    let templates = [set(OPTIONS_SET, &sampled), set(OPTIONS_SET, &counted)].concat();
    let sets = [templates, set(SAMPLING, &sampling), set(STATISTICS, &statistics)];
    (sets.concat(), 2)
}

/// Template and records of our own elements' names and types (RFC 5610 section 3.9), and how many records these are.
pub(super) fn types(columns: &[&Element], enterprise: u32) -> (Vec<u8>, u32) {
    // privateEnterpriseNumber, informationElementId; informationElementDataType, informationElementSemantics,
    // informationElementName
    let template =
        options_template(TYPES, 2, &[(346, 4), (303, 2), (339, 1), (344, 1), (341, u16::MAX)]);
    let mut records = Vec::new();
    let mut number = 0;
    for element in columns.iter().filter(|element| element.owner == Owner::Own) {
        records.extend(enterprise.to_be_bytes());
        records.extend(element.id.to_be_bytes());
        records.push(data_type(element.form));
        records.push(semantics(element.field));
        text(element.name, &mut records);
        number += 1;
    }
    if number == 0 {
        return (Vec::new(), 0);
    }
    ([set(OPTIONS_SET, &template), set(TYPES, &records)].concat(), number)
}

/// IANA's registry of IPFIX data types.
const fn data_type(form: Form) -> u8 {
    match form {
        Form::U8 => 1,
        Form::U16 => 2,
        Form::U32 => 3,
        Form::U64 => 4,
        Form::Mac => 12,
        Form::Text => 13,
        Form::Millis => 15,
        Form::Address { .. } => 18,
    }
}

/// IANA's registry of IPFIX semantics.
const fn semantics(field: Option<Field>) -> u8 {
    const DEFAULT: u8 = 0;
    const IDENTIFIER: u8 = 4;
    match field {
        Some(Field::Sequence | Field::Boot) => IDENTIFIER,
        _ => DEFAULT,
    }
}

/// There are some dozens.
fn count(columns: usize) -> u16 {
    u16::try_from(columns).unwrap_or(u16::MAX)
}
