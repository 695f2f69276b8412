//! A place for every name: an entry whose two buckets are full takes the place of one that can move to its other
//! bucket, or of one that can once yet another one has moved. The shortest such way is looked for, breadth first.

use sensor_ebpf::abi::table::WORDS;
use sensor_ebpf::table::places;

use super::build::Hashed;

/// In a slot: no name is here.
pub(super) const NOBODY: u32 = u32::MAX;

/// Buckets looked at for one name. At nine tenths full one in four thousand ways is longer than a hundred: where four
/// thousand show none, the table is too small.
const LOOKED_AT_MAX: usize = 4096;

/// A bucket on a way.
#[derive(Clone, Copy, Debug)]
struct Step {
    bucket: u32,
    /// The step whose entry would move here, and that entry's slot there; none where the way begins.
    from: Option<(usize, usize)>,
}

/// Which name is in which slot of which bucket, by its place in `names`; `None` where not all found one. At most
/// `u32::MAX` names.
pub(super) fn place(names: &[Hashed], buckets: u32) -> Option<Vec<[u32; WORDS]>> {
    let mut table = vec![[NOBODY; WORDS]; buckets as usize];
    let mut steps = Vec::with_capacity(LOOKED_AT_MAX);
    for (number, name) in (0_u32..).zip(names) {
        let mut ways = places(name.hash, buckets).map(|bucket| (bucket, free(&table, bucket)));
        // The emptier one: that both are full is rare then.
        ways.sort_by_key(|(_, free)| std::cmp::Reverse(*free));
        let [(bucket, room), _] = ways;
        if room == 0 {
            let bucket = make_room(&mut table, &mut steps, names, places(name.hash, buckets))?;
            put(&mut table, bucket, number)?;
        } else {
            put(&mut table, bucket, number)?;
        }
    }
    Some(table)
}

/// Free slots of a bucket.
fn free(table: &[[u32; WORDS]], bucket: u32) -> usize {
    let slots = table.get(bucket as usize);
    slots.map_or(0, |slots| slots.iter().filter(|owner| **owner == NOBODY).count())
}

fn put(table: &mut [[u32; WORDS]], bucket: u32, number: u32) -> Option<()> {
    let slot = table.get_mut(bucket as usize)?.iter_mut().find(|owner| **owner == NOBODY)?;
    *slot = number;
    Some(())
}

/// Moves entries along the shortest way from one of these buckets to one with room; the bucket with room now.
fn make_room(
    table: &mut [[u32; WORDS]],
    steps: &mut Vec<Step>,
    names: &[Hashed],
    begin: [u32; 2],
) -> Option<u32> {
    let buckets = u32::try_from(table.len()).ok()?;
    steps.clear();
    steps.extend(begin.map(|bucket| Step { bucket, from: None }));
    let mut at = 0;
    while let Some(step) = steps.get(at).copied() {
        if free(table, step.bucket) > 0 {
            return move_along(table, steps, at);
        }
        for (slot, owner) in table.get(step.bucket as usize)?.iter().enumerate() {
            let [first, second] = places(names.get(*owner as usize)?.hash, buckets);
            let other = if first == step.bucket { second } else { first };
            let is_known = other == step.bucket || is_on_way(steps, at, other);
            if !is_known && steps.len() < LOOKED_AT_MAX {
                steps.push(Step { bucket: other, from: Some((at, slot)) });
            }
        }
        at += 1;
    }
    None
}

/// True where the way to this step goes through a bucket: its entries are not where they will be then.
fn is_on_way(steps: &[Step], mut at: usize, bucket: u32) -> bool {
    while let Some(step) = steps.get(at) {
        if step.bucket == bucket {
            return true;
        }
        let Some((from, _)) = step.from else { return false };
        at = from;
    }
    false
}

/// Moves each entry of a way one step on, the last one first; the bucket the way begins at.
fn move_along(table: &mut [[u32; WORDS]], steps: &[Step], last: usize) -> Option<u32> {
    let mut step = *steps.get(last)?;
    while let Some((from, slot)) = step.from {
        let before = *steps.get(from)?;
        let owner = table.get_mut(before.bucket as usize)?.get_mut(slot)?;
        let moved = std::mem::replace(owner, NOBODY);
        put(table, step.bucket, moved)?;
        step = before;
    }
    Some(step.bucket)
}
