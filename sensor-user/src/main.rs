//! `campus-sensor`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sensor_user::cli::run()
}
