//! The table of a policy's names: as it was kept, or made of the one before it, or made anew.

use std::collections::BTreeMap;
use std::iter::Peekable;

use sensor_ebpf::abi::DomainEntry;
use sensor_ebpf::abi::table::pack;
use sensor_ebpf::name::HashKey;
use tracing::{debug, warn};

use super::{BuildError, Change, Image, VERSION};
use crate::policy::{Id, Keep, Policy};

/// Listed names, and canaries behind them: of one that is listed too the last entry counts, and says what the
/// first one does.
pub fn names_of(policy: &Policy) -> impl Iterator<Item = (&str, DomainEntry)> + Clone {
    policy.entries().chain(policy.canaries())
}

/// Makes the table of a policy's names.
pub fn make(policy: &Policy, key: HashKey) -> Result<Image, BuildError> {
    Image::build_with_locked(&names_of(policy), &policy.locked(), key)
}

/// The table of a policy's names: the one that is kept, or made of the kept one of `before`, or made anew. Kept from then
/// on, where the policy's names are.
pub fn of(
    policy: &Policy,
    before: Option<&Policy>,
    keep: &Keep,
    key: HashKey,
) -> Result<Image, BuildError> {
    let Some(id) = id(policy) else { return make(policy, key) };
    let file = keep.table_file(id);
    if let Some(image) = kept(policy, keep) {
        return Ok(image);
    }
    let patched = before.and_then(|before| patched(&kept(before, keep)?, before, policy));
    debug!(patched = patched.is_some(), "table of names");
    let image = patched.map_or_else(|| make(policy, key), Ok)?;
    match image.write(&file) {
        Ok(()) => keep.used(&file),
        Err(error) => {
            warn!(%error, "the table of names is not kept, and made again at the next start");
        }
    }
    Ok(image)
}

/// What the table of a policy is kept under: what its names were made of, and what else is in it.
fn id(policy: &Policy) -> Option<Id> {
    let bytes = |hash: u64, known: DomainEntry| {
        let [categories, rest] = pack(&known);
        [hash, categories, rest].map(u64::to_ne_bytes).concat()
    };
    let mut what = VERSION.to_ne_bytes().to_vec();
    for (hash, known) in policy.locked() {
        what.extend(bytes(hash, known));
    }
    for (name, known) in policy.canaries() {
        what.extend(bytes(name.len() as u64, known));
        what.extend(name.as_bytes());
    }
    Some(policy.names_id()?.with(&what))
}

/// The kept table of a policy.
fn kept(policy: &Policy, keep: &Keep) -> Option<Image> {
    let file = keep.table_file(id(policy)?);
    if !file.exists() {
        return None;
    }
    match Image::read(&file) {
        Ok(image) => {
            keep.used(&file);
            Some(image)
        }
        Err(error) => {
            warn!(%error, "a kept table is of no use");
            None
        }
    }
}

/// The table of a policy, made of the one before it.
fn patched(image: &Image, before: &Policy, policy: &Policy) -> Option<Image> {
    let locked = policy.locked();
    if locked != before.locked() {
        return None;
    }
    let (was, is) = (Known::of(before), Known::of(policy));
    let changes = Changes { was: was.iter().peekable(), is: is.iter().peekable() };
    image.patched(changes, is.iter(), &locked)
}

/// Names in order, each once: canaries that are listed too are what their last entry says.
struct Known<'a> {
    policy: &'a Policy,
    canaries: BTreeMap<&'a str, DomainEntry>,
}

impl<'a> Known<'a> {
    fn of(policy: &'a Policy) -> Self {
        Self { policy, canaries: policy.canaries().collect() }
    }

    fn iter(&self) -> impl Iterator<Item = (&'a str, DomainEntry)> {
        let mut listed = self.policy.entries().peekable();
        let mut canaries = self.canaries.iter().map(|(name, entry)| (*name, *entry)).peekable();
        std::iter::from_fn(move || {
            let Some((canary, _)) = canaries.peek() else { return listed.next() };
            match listed.peek() {
                Some((name, _)) if name < canary => listed.next(),
                Some((name, _)) if name == canary => {
                    listed.next();
                    canaries.next()
                }
                Some(_) | None => canaries.next(),
            }
        })
    }
}

/// What differs between two such sequences.
struct Changes<A: Iterator, B: Iterator> {
    was: Peekable<A>,
    is: Peekable<B>,
}

impl<'a, A, B> Iterator for Changes<A, B>
where
    A: Iterator<Item = (&'a str, DomainEntry)>,
    B: Iterator<Item = (&'a str, DomainEntry)>,
{
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        loop {
            let first = match (self.was.peek(), self.is.peek()) {
                (Some((was, _)), Some((is, _))) => was.min(is),
                (Some((one, _)), None) | (None, Some((one, _))) => one,
                (None, None) => return None,
            };
            let name = *first;
            let was = self.was.next_if(|(was, _)| *was == name).map(|(_, entry)| entry);
            let is = self.is.next_if(|(is, _)| *is == name).map(|(_, entry)| entry);
            if was != is {
                return Some(Change { name, was, is });
            }
        }
    }
}
