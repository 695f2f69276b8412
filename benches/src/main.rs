//! Benchmarks.
use sensor_user::kernel::object::{Clock, Object, Sizes};
fn main() -> anyhow::Result<()> {
    let mut object = Object::load(Sizes::SMALL, Clock::Replay, None)?;
    for f in object.figures()? {
        println!("{f:?}");
    }
    Ok(())
}
