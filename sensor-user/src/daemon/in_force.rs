//! The policy in force, and how another takes its place.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::bail;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::control::status::{ListStatus, PolicyStatus};
use crate::engine::of_policy;
use crate::identity::{LOGINS_MAX, Login, Logins};
use crate::kernel::control::ControlCell;
use crate::kernel::tables::{PolicyImage, PolicyTables, Sign};
use crate::policy::generations::Generations;
use crate::policy::{Keep, Policy};

/// Which devices of this gateway are in which groups, as far as that is not in the policy.
pub(super) struct Here {
    /// Names of the watched interfaces, by their rows of counters.
    pub(super) interfaces: Vec<String>,
    pub(super) logins: Logins,
    /// Where names that were compiled are kept.
    pub(super) keep: Keep,
}

/// The policy in force and what it takes to replace it.
pub(super) struct PolicyInForce {
    policy: Policy,
    here: Here,
    /// What the policy says now is not in the kernel yet.
    is_behind: bool,
    tables: PolicyTables,
    control: ControlCell,
    generations: Arc<Generations>,
    generation: u32,
    table_bytes: u64,
    tampering: Option<String>,
}

impl PolicyInForce {
    /// Puts the first policy in force; `tampering` says what is known to be wrong with its files.
    pub(super) fn start(
        policy: Policy,
        here: Here,
        tables: PolicyTables,
        control: ControlCell,
        generations: Arc<Generations>,
        tampering: Option<String>,
    ) -> anyhow::Result<Self> {
        warn_of(&policy);
        let generation = control.policy();
        let mut in_force = Self {
            policy,
            here,
            is_behind: true,
            tables,
            control,
            generations,
            generation,
            table_bytes: 0,
            tampering,
        };
        in_force.push(None)?;
        Ok(in_force)
    }

    /// The policy's files are not as they were signed.
    pub(super) fn tampered(&mut self, how: &impl fmt::Display) {
        self.tampering = Some(how.to_string());
    }

    /// What `status` says of it.
    pub(super) fn status(&self) -> PolicyStatus {
        let policy = &self.policy;
        let today = policy.date(Timestamp::now());
        PolicyStatus {
            version: policy.version().to_owned(),
            generation: self.generation,
            names: policy.entry_count(),
            table_bytes: self.table_bytes,
            groups: policy.groups().count(),
            logins: self.here.logins.len(),
            schedules_on: policy.schedules_on().into_iter().map(str::to_owned).collect(),
            lists: policy.lists().iter().filter_map(|list| ListStatus::of(list, today)).collect(),
            tampering: self.tampering.clone(),
            refused: 0,
        }
    }

    /// Puts another policy in force; on an error the one before stays.
    pub(super) fn replace(&mut self, policy: Policy) -> anyhow::Result<()> {
        warn_of(&policy);
        let before = std::mem::replace(&mut self.policy, policy);
        let pushed = self.push(Some(&before));
        match &pushed {
            Ok(()) => self.tampering = None,
            Err(_) => self.policy = before,
        }
        pushed
    }

    /// Puts the rules in force that hold now, where a schedule has begun or ended since.
    pub(super) fn keep_time(&mut self) -> anyhow::Result<()> {
        self.is_behind |= self.policy.turn(Timestamp::now());
        if self.is_behind {
            let image = self.image();
            let Self { policy, tables, control, generations, .. } = self;
            let note = |generation| generations.note(generation, policy);
            let generation = tables.push_rules(control, &image, note)?;
            self.note(generation);
            let on = self.policy.schedules_on().join(", ");
            info!(generation, on, "schedules");
        }
        Ok(())
    }

    /// `before` is the policy before this one.
    fn push(&mut self, before: Option<&Policy>) -> anyhow::Result<()> {
        let image = self.image();
        let Self { policy, tables, control, generations, here, .. } = self;
        let table = of_policy::of(policy, before, &here.keep, control.hash_key())?;
        let note = |generation| generations.note(generation, policy);
        let generation = tables.push_with(control, &image, &table, note)?;
        self.table_bytes = table.bytes();
        self.note(generation);
        Ok(())
    }

    /// Somebody has logged in at an address, or out: nobody is there any more. Returns the name of the group that puts the
    /// device into; none where no group names them.
    pub(super) fn log_in(
        &mut self,
        address: IpAddr,
        login: Option<Login>,
    ) -> anyhow::Result<Option<String>> {
        let group = login.as_ref().and_then(|login| login.group(&self.policy));
        let logins = &mut self.here.logins;
        if logins.at(address) != login.as_ref() {
            if !logins.set(address, login) {
                bail!("{LOGINS_MAX} logins are known, and no more: log out who has left");
            }
            self.tables.log_in(&self.control, address, group.map(|group| group.0))?;
        }
        Ok(group.map(|group| self.policy.group_name(group).to_owned()))
    }

    /// Everybody who is logged in, with the name of the group that puts them into.
    pub(super) fn logins(&self) -> Vec<(IpAddr, Login, Option<String>)> {
        let group = |login: &Login| {
            login.group(&self.policy).map(|group| self.policy.group_name(group).to_owned())
        };
        let logins = self.here.logins.iter();
        logins.map(|(address, login)| (address, login.clone(), group(login))).collect()
    }

    /// All of the policy but its names, with what is known of this gateway's devices.
    fn image(&self) -> PolicyImage {
        let mut image = PolicyImage::without_names(&self.policy, &self.here.interfaces);
        let logins = self.here.logins.iter();
        let groups = logins.filter_map(|(address, login)| {
            Some((Sign::Login(address), login.group(&self.policy)?.0))
        });
        image.members.extend(groups);
        image
    }

    /// Notes that the policy is in force as this generation.
    const fn note(&mut self, generation: u32) {
        self.generation = generation;
        self.is_behind = false;
    }
}

fn warn_of(policy: &Policy) {
    for warning in &policy.warnings().shown {
        warn!("{warning}");
    }
}
