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
    assert_eq!((native.len(), generic.len()), (17, 17));
    for (frames, programs) in [("", native), (", linear frames", generic)] {
        for program in programs {
            tell(&format!("{}{frames} {}", program.name, program.verified));
            assert!(program.verified > 0, "{program:?}: the kernel tells no count");
            assert!(program.verified <= VERIFIED_MAX, "{program:?}");
        }
    }
    Ok(())
}

/// `cargo xtask matrix` reads these lines.
#[expect(clippy::print_stdout, reason = "the harness shows it only where it is wanted")]
fn tell(figure: &str) {
    println!("verified: {figure}");
}
