//! What the programs say by aya-log, carried into this process's log at debug level. For whoever
//! debugs the kernel side: a sensor built without the feature has no such code on either side.

use std::thread::JoinHandle;
use std::time::Duration;

use aya_log::EbpfLogger;

use super::KernelError;
use super::object::Object;

/// How often the log ring is emptied.
const INTERVAL: Duration = Duration::from_millis(100);

impl Object {
    /// Carries the programs' log over for the rest of the process's life.
    pub fn follow_log(&mut self) -> Result<JoinHandle<()>, KernelError> {
        let mut logger = EbpfLogger::init(&mut self.ebpf)
            .map_err(|source| KernelError::Load { what: "aya-log", source: source.into() })?;
        let follow = move || {
            loop {
                logger.flush();
                std::thread::sleep(INTERVAL);
            }
        };
        std::thread::Builder::new().name("trace".to_owned()).spawn(follow).map_err(|source| {
            KernelError::Load { what: "the thread that follows aya-log", source: source.into() }
        })
    }
}
