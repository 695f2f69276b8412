//! The way of a bundle into force, and the way back.
//!
//! Everything that can be wrong is looked at before anything changes. Then the bundle gets its place, `current` leads to
//! it, and the daemon is asked to read its policy again. If that fails, `current` leads back.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::thread;

use jiff::Timestamp;

use super::archive::{self, BUNDLE_BYTES_MAX, Source};
use super::audit::{self, Action, Became, Entry};
use super::diff::Diff;
use super::dry_run::DryRun;
use super::error::BundleError;
use super::guard::{self, Check, Finding};
use super::key::{self, signature_path};
use super::manifest::Manifest;
use super::site::{Site, bundle_in};
use super::{disk, intact, unpacked};
use crate::config::Config;
use crate::engine::{self, of_policy};
use crate::policy::Policy;

/// Days of records that a bundle is tried on.
const DRY_RUN_DAYS: u32 = 7;

/// Who asks, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The account.
    pub who: &'a str,
    /// Who answers for it.
    pub author: Option<&'a str>,
    /// What for; the bundle's own reason without it.
    pub reason: Option<&'a str>,
    /// What the guard may find.
    pub accept: &'a [Check],
    /// When.
    pub now: Timestamp,
}

/// What the daemon said when it was asked to read its policy again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It has this policy now.
    Has {
        /// Its version.
        version: String,
        /// Its names and ports.
        names: usize,
    },
    /// It keeps what it has.
    Refused(String),
    /// No daemon runs.
    Absent,
}

/// Who has the bundle now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The daemon.
    InForce,
    /// Nobody; the next start takes it.
    NextStart,
    /// The daemon reads another file, whose policy has this version; its next start takes the bundle.
    Elsewhere(String),
}

/// What became of a bundle that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The number before.
    pub from: Option<u64>,
    /// Who has it.
    pub taken: Taken,
    /// What the guard found and was told to let pass.
    pub accepted: Vec<String>,
    /// Numbers that are not kept any more.
    pub removed: Vec<u64>,
}

/// Puts a bundle in force.
pub fn apply(
    config: &Config,
    bundle: &Path,
    ask: &Ask<'_>,
    reload: &mut dyn FnMut() -> Reload,
) -> Result<Outcome, BundleError> {
    logged(config, ask, Action::Apply, |run| run.apply(bundle, reload))
}

/// Puts a kept bundle in force again. It is verified anew; the guard looks only for what may never be blocked.
pub fn rollback(
    config: &Config,
    number: u64,
    ask: &Ask<'_>,
    reload: &mut dyn FnMut() -> Reload,
) -> Result<Outcome, BundleError> {
    logged(config, ask, Action::Rollback, |run| run.rollback(number, reload))
}

/// Holds the lock meanwhile, and keeps in the log what became of it.
fn logged(
    config: &Config,
    ask: &Ask<'_>,
    action: Action,
    go: impl FnOnce(&mut Run<'_>) -> Result<Outcome, BundleError>,
) -> Result<Outcome, BundleError> {
    let site = Site::of(&config.policy.dir);
    let _lock = site.lock()?;
    let entry = Entry {
        at: ask.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        who: ask.who.to_owned(),
        author: ask.author.map(str::to_owned),
        action,
        reason: ask.reason.map(str::to_owned),
        ..Entry::default()
    };
    let mut run = Run { config, site, ask, entry };
    let outcome = go(&mut run);
    let Run { site, mut entry, .. } = run;
    if let Err(error) = &outcome {
        entry.why = Some(told(error));
        // What was refused need not lie about; the next command removes it in any case.
        let _left = disk::remove_folder(&site.staged());
    }
    match (audit::append(&site.audit_file(), entry), outcome) {
        // What was refused is what matters, also where the log cannot be written.
        (_, Err(error)) => Err(error),
        (logged, Ok(outcome)) => logged.map(|()| outcome),
    }
}

/// An error with what caused it, in a line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// One command.
struct Run<'a> {
    config: &'a Config,
    site: Site,
    ask: &'a Ask<'a>,
    /// What the log will say of it.
    entry: Entry,
}

impl Run<'_> {
    fn apply(
        &mut self,
        bundle: &Path,
        reload: &mut dyn FnMut() -> Reload,
    ) -> Result<Outcome, BundleError> {
        let from = self.begin()?;
        let (file, keep) = (self.config.policy.file.clone(), self.site.compiled());
        let (taken, before) = thread::scope(|scope| {
            // Beside the other: with millions of names either takes seconds. What cannot be loaded any more is nothing to
            // compare with, and a bundle the way out.
            let before = scope.spawn(|| Policy::load_kept(&file, &keep).ok());
            (self.take_in(bundle), before.join())
        });
        let mut before = before.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (manifest, mut policy) = taken?;
        let number = manifest.number;
        if let Some(highest) = self.site.highest()?
            && number <= highest
        {
            return Err(BundleError::Downgrade { number, highest });
        }
        self.guard(number, before.as_mut(), &mut policy)?;
        self.put_in_force(from, manifest, policy.entry_count(), reload)
    }

    fn rollback(
        &mut self,
        number: u64,
        reload: &mut dyn FnMut() -> Reload,
    ) -> Result<Outcome, BundleError> {
        let from = self.begin()?;
        self.entry.to = Some(number);
        // What was tampered with is put in force again by its own number.
        if from == Some(number)
            && intact::check(&self.site, number, &self.config.policy.keys).is_ok()
        {
            return Err(BundleError::InForce(number));
        }
        let kept = self.site.kept()?;
        if !kept.contains(&number) {
            let kept: Vec<String> = kept.iter().map(u64::to_string).collect();
            let known = if kept.is_empty() {
                "is none".to_owned()
            } else {
                format!("are {}", kept.join(", "))
            };
            return Err(BundleError::NotKept { number, known });
        }
        let kept = self.site.bundle(number);
        let (manifest, policy) = self.take_in(&kept)?;
        if manifest.number != number {
            return Err(BundleError::broken(&kept, format!("it is bundle {}", manifest.number)));
        }
        refuse(number, guard::never_blocked(&self.config.policy.guard, &policy))?;
        self.put_in_force(from, manifest, policy.entry_count(), reload)
    }

    /// What is in force; an error where the daemon would not read what is applied.
    fn begin(&mut self) -> Result<Option<u64>, BundleError> {
        let (file, current) = (&self.config.policy.file, self.site.policy_file());
        if *file != current {
            return Err(BundleError::PolicyFile { file: file.clone(), current });
        }
        let from = self.site.in_force()?;
        self.entry.from = from;
        if let Some(number) = from {
            self.entry.from_policy = self.site.manifest(number).ok().map(|before| before.policy);
        }
        Ok(from)
    }

    /// Copies a bundle to the site, verifies the copy and unpacks it: what is looked at is what will be in force.
    fn take_in(&mut self, bundle: &Path) -> Result<(Manifest, Policy), BundleError> {
        let staged = self.site.stage()?;
        let copy = bundle_in(&staged);
        copy_file(bundle, &copy)?;
        self.entry.bundle = Some(disk::digest(&copy)?.1);
        let signature = signature_path(bundle);
        if signature.exists() {
            copy_file(&signature, &signature_path(&copy))?;
        }
        let copy = Source { file: &copy, told: bundle };
        key::verify(copy, &self.config.policy.keys)?;
        let manifest = archive::unpack(copy, &staged)?;
        self.entry.to = Some(manifest.number);
        self.entry.to_policy = Some(manifest.policy.clone());
        self.entry.reason.get_or_insert_with(|| manifest.reason.clone());
        let policy = unpacked::load(bundle, &staged, &manifest, Some(&self.site.compiled()))?;
        Ok((manifest, policy))
    }

    fn guard(
        &mut self,
        number: u64,
        before: Option<&mut Policy>,
        policy: &mut Policy,
    ) -> Result<(), BundleError> {
        let limits = &self.config.policy.guard;
        let (new, old) = (&*policy, before.as_deref());
        // Beside each other: with millions of names either takes a while. A table that is refused does no harm.
        let (table, mut findings) = thread::scope(|scope| {
            let table = scope.spawn(|| self.make_table(number, old, new));
            let mut findings = guard::never_blocked(limits, new);
            if old.is_some() {
                findings.extend(guard::growth(limits, &Diff::of(old, new, 0)));
            }
            (table.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), findings)
        });
        table?;
        let store = &self.config.store.dir;
        let run = DryRun::of(store, DRY_RUN_DAYS, self.ask.now, before, policy);
        findings.extend(guard::over_blocking(limits, &run));
        let is_accepted =
            |(check, _): &Finding| check.is_some_and(|check| self.ask.accept.contains(&check));
        let (accepted, findings) = findings.into_iter().partition(is_accepted);
        let checks = |accepted: Vec<Finding>| accepted.into_iter().filter_map(|(check, _)| check);
        self.entry.accepted = checks(accepted).map(|check| check.name().to_owned()).collect();
        self.entry.accepted.dedup();
        refuse(number, findings)
    }

    /// Makes the table that the kernel will have of a large bundle's names, which the daemon then finds made.
    fn make_table(
        &self,
        number: u64,
        before: Option<&Policy>,
        policy: &Policy,
    ) -> Result<(), BundleError> {
        if policy.names_id().is_none() {
            return Ok(());
        }
        let key = engine::new_key()
            .map_err(|error| BundleError::NoTable { number, reason: error.to_string() })?;
        of_policy::of(policy, before, &self.site.compiled(), key)
            .map(drop)
            .map_err(|error| BundleError::NoTable { number, reason: error.to_string() })
    }

    fn put_in_force(
        &mut self,
        from: Option<u64>,
        manifest: Manifest,
        names: usize,
        reload: &mut dyn FnMut() -> Reload,
    ) -> Result<Outcome, BundleError> {
        let number = manifest.number;
        self.site.keep(&self.site.staged(), number)?;
        self.site.switch(Some(number))?;
        let taken = match reload() {
            Reload::Has { version, names: found }
                if version == manifest.policy && found == names =>
            {
                Taken::InForce
            }
            Reload::Has { version, .. } => Taken::Elsewhere(version),
            Reload::Absent => Taken::NextStart,
            Reload::Refused(reason) => {
                let back = self.back(from, number, reload)?;
                return Err(BundleError::Daemon { number, reason, back });
            }
        };
        self.entry.became =
            if taken == Taken::InForce { Became::InForce } else { Became::NextStart };
        // What is in force is; old bundles that stay a while longer are no reason to fail.
        let removed = self.site.prune().unwrap_or_default();
        let accepted = self.entry.accepted.clone();
        Ok(Outcome { manifest, from, taken, accepted, removed })
    }

    /// Puts back what was in force, and says what is now.
    fn back(
        &self,
        from: Option<u64>,
        number: u64,
        reload: &mut dyn FnMut() -> Reload,
    ) -> Result<String, BundleError> {
        self.site.switch(from)?;
        if self.entry.action == Action::Apply {
            disk::remove_folder(&self.site.folder(number))?;
        }
        let Some(from) = from else {
            return Ok("nothing was in force before, and nothing is now".to_owned());
        };
        Ok(match reload() {
            Reload::Has { .. } => format!("bundle {from} is in force again"),
            Reload::Absent => format!("the next start takes bundle {from} again"),
            Reload::Refused(reason) => {
                format!("bundle {from} is to be read again, and was refused too ({reason})")
            }
        })
    }
}

/// An error if anything was found.
fn refuse(number: u64, findings: Vec<Finding>) -> Result<(), BundleError> {
    if findings.is_empty() {
        return Ok(());
    }
    let findings = findings.into_iter().map(|(_, text)| text).collect();
    Err(BundleError::Guarded { number, findings })
}

/// Copies a file that may be as large as a bundle.
fn copy_file(from: &Path, to: &Path) -> Result<(), BundleError> {
    let reading = BundleError::io(from, "read");
    // A look before opening: opening a pipe would wait for its writer.
    if !from.metadata().map_err(&reading)?.is_file() {
        return Err(BundleError::broken(from, "it is no file"));
    }
    let file = File::open(from).map_err(reading)?;
    let copying = BundleError::io(to, "write");
    let mut copy = File::create(to).map_err(&copying)?;
    let (bytes, _) =
        disk::copy(&mut file.take(BUNDLE_BYTES_MAX + 1), &mut copy).map_err(&copying)?;
    if bytes > BUNDLE_BYTES_MAX {
        return Err(BundleError::TooLarge(from.to_owned()));
    }
    copy.sync_all().map_err(copying)
}
