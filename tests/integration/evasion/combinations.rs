//! Several ways at once: small records, pieces in no order, and fakes among them.

use sensor_lab::script::hello::{ClientHello, RECORD_MAX, records};
use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Script, pieces};

use super::case::{Case, case};
use super::draft::Hello;
use super::fakes::{ANY_SEGMENT, Fault};
use super::segments::{reversed, shuffled};

/// An order to send pieces in.
type Order = (&'static str, fn(Vec<Segment>) -> Vec<Segment>);

const RECORDS: [usize; 3] = [RECORD_MAX, 40, 1];
const ORDERS: [Order; 3] =
    [("in order", |pieces| pieces), ("reversed", reversed), ("shuffled", shuffled)];
/// Bytes of a piece.
const PIECE: usize = 17;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in RECORDS {
        for order in ORDERS {
            cases.extend(ANY_SEGMENT.iter().map(|fault| combined(size, order, fault)));
        }
    }
    cases
}

/// Each piece behind a fake of it.
fn combined(size: usize, (how, order): Order, fault: &'static Fault) -> Case {
    let name = format!("records of {size}, pieces {how}, each behind a fake with {}", fault.name);
    case(name, move |draft| {
        let make = |name: &str| records(&ClientHello::small(name).message(), size);
        let Hello { bytes, fake, .. } = draft.hello(make);
        let right = order(pieces(&bytes, PIECE));
        let fakes = order(pieces(&fake, PIECE)).into_iter().map(fault.apply);
        Script::of(&bytes).send(fakes.zip(right).flat_map(|(fake, right)| [fake, right]))
    })
}
