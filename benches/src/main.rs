//! Benchmarks.
use sensor_user::kernel::lab::Lab;
use sensor_user::kernel::object::{Clock, Object, Sizes};
fn main() -> anyhow::Result<()> {
    let mut object = Object::load(Sizes::SMALL, Clock::Replay, None)?;
    for f in object.figures()? {
        println!("{f:?}");
    }
    let mut lab = Lab::load()?;
    lab.mutate_into(&mut object)?;
    Ok(())
}
