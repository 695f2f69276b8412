//! What the verifier says of the programs.

use anyhow::Result;
use sensor_user::kernel::object::{Clock, Object, Sizes};

/// Instructions the verifier may walk in one program: a third of its own limit leaves room for kernels
/// that count otherwise.
const VERIFIED_MAX: u32 = 300_000;

#[test]
fn every_program_loads_within_its_budget() -> Result<()> {
    let mut object = Object::load(Sizes::SMALL, Clock::Live, None)?;
    let (native, generic) = (object.figures()?, object.linear_figures()?);
    assert_eq!((native.len(), generic.len()), (8, 8));
    for program in native.into_iter().chain(generic) {
        assert!(program.verified > 0, "{program:?}: the kernel tells no count");
        assert!(program.verified <= VERIFIED_MAX, "{program:?}");
    }
    Ok(())
}
