//! Benchmarks.
use sensor_user::kernel::object::{Clock, Object, Sizes};
fn main() -> anyhow::Result<()> {
    let args: Vec<std::path::PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    if !args.is_empty() {
        let f = sensor_user::replay::replay(&args, true, &mut std::io::stdout().lock())?;
        for x in f {
            eprintln!("{x}");
        }
        return Ok(());
    }
    let mut object = Object::load(Sizes::SMALL, Clock::Replay, None)?;
    for f in object.figures()? {
        println!("{f:?}");
    }
    Ok(())
}
