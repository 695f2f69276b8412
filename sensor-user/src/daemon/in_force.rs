//! The policy in force, and how another takes its place.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::control::status::{ListStatus, PolicyStatus};
use crate::kernel::control::ControlCell;
use crate::kernel::tables::{PolicyImage, PolicyTables, table_of};
use crate::policy::Policy;
use crate::policy::generations::Generations;

/// The policy in force and what it takes to replace it.
pub(super) struct PolicyInForce {
    policy: Policy,
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
        tables: PolicyTables,
        control: ControlCell,
        generations: Arc<Generations>,
        tampering: Option<String>,
    ) -> anyhow::Result<Self> {
        warn_of(&policy);
        let generation = control.policy();
        let mut in_force = Self {
            policy,
            is_behind: true,
            tables,
            control,
            generations,
            generation,
            table_bytes: 0,
            tampering,
        };
        in_force.push()?;
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
        let pushed = self.push();
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
            let Self { policy, tables, control, generations, .. } = self;
            let image = PolicyImage::without_names(policy);
            let note = |generation| generations.note(generation, policy);
            let generation = tables.push_rules(control, &image, note)?;
            self.note(generation);
            let on = self.policy.schedules_on().join(", ");
            info!(generation, on, "schedules");
        }
        Ok(())
    }

    fn push(&mut self) -> anyhow::Result<()> {
        let Self { policy, tables, control, generations, .. } = self;
        let image = PolicyImage::without_names(policy);
        let table = table_of(policy, control.hash_key())?;
        let note = |generation| generations.note(generation, policy);
        let generation = tables.push_with(control, &image, &table, note)?;
        self.table_bytes = table.bytes();
        self.note(generation);
        Ok(())
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
