//! Who is where, as it concerns groups: what is kept of it, what a login does, and how devices follow.

use std::net::IpAddr;

use anyhow::{Context as _, bail};
use tracing::{error, warn};

use super::in_force::Here;
use super::{IDENTITY_FILE, Sensor};
use crate::bundle::Site;
use crate::clock;
use crate::config::Config;
use crate::identity::{Directory, Ended, Login, Logins, told};

impl Sensor {
    /// Puts devices into the groups of those who are there now, where that may have changed.
    pub(super) fn follow_logins(&self) {
        for address in self.directory.take_changed() {
            // Who is there is asked for under the lock: what is learnt meanwhile comes behind this.
            let mut in_force = self.in_force();
            if let Err(failure) = in_force.log_in(address, self.directory.login(address, now_us()))
            {
                error!(error = format!("{failure:#}"), "a device is not in its user's group");
            }
        }
    }

    /// Takes note of a login that was told on the command line; returns the group that comes of it.
    pub(super) fn note_login(
        &self,
        address: IpAddr,
        login: Option<Login>,
    ) -> anyhow::Result<Option<String>> {
        let now_us = now_us();
        match login {
            Some(login) => {
                let fact = told::login(address, login, now_us);
                if self.directory.learn(vec![fact], now_us) == 0 {
                    bail!("too much is known of devices to note one more: log out who has left");
                }
            }
            None => {
                self.directory.end(&Ended::Users(address), now_us, now_us);
            }
        }
        self.follow_logins();
        // What else is known of the device may leave nobody there.
        self.in_force().log_in(address, self.directory.login(address, now_us))
    }
}

/// Who was where when the daemon ended.
pub(super) fn directory(config: &Config) -> anyhow::Result<Directory> {
    let file = config.store.dir.join(IDENTITY_FILE);
    Directory::open(&file, now_us()).context("remove it to go on; then nobody is logged in")
}

/// What is known of this gateway's devices beside the policy.
pub(super) fn here(config: &Config, directory: &Directory) -> Here {
    let mut logins = Logins::default();
    for address in directory.take_changed() {
        if !logins.set(address, directory.login(address, now_us())) {
            warn!("more logins are known than there is room for");
            break;
        }
    }
    let interfaces = config.interface.iter().map(|interface| interface.name.clone()).collect();
    let keep = Site::of(&config.policy.dir).compiled();
    Here { interfaces, logins, keep }
}

/// Now, µs since 1970 UTC.
pub(super) fn now_us() -> i64 {
    let clocks = clock::now();
    clocks.wall_us(clocks.now_ns)
}
