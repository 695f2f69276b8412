//! What is listed otherwise in another policy: in all, by list and by category.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::thread;

use serde::Serialize;

use crate::policy::{List, Policy};

/// Ids that are no lists of names: of names in none, and of exceptions, which [`super::tables`] tells.
const NOT_LISTS: [&str; 2] = ["none", "exception"];

/// What is listed otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// All names and ports.
    pub names: Counts,
    /// Lists that differ.
    pub lists: Vec<ListChange>,
    /// Every category of either policy, by the names in it.
    pub categories: Vec<CategoryChange>,
}

/// Names before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// How many there were.
    pub before: u64,
    /// How many there are.
    pub after: u64,
    /// Of these, how many there were not.
    pub added: u64,
    /// Of those, how many there are no more.
    pub removed: u64,
}

/// A list that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListChange {
    /// Its id.
    pub list: String,
    /// Its names.
    #[serde(flatten)]
    pub counts: Counts,
    /// The first that were added; none of protected lists and categories.
    pub added_names: Vec<String>,
    /// The first that were removed; likewise.
    pub removed_names: Vec<String>,
}

/// A category's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CategoryChange {
    /// Its id.
    pub category: String,
    /// Names that are in it.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Counts {
    fn add(&mut self, was: bool, is: bool) {
        self.before += u64::from(was);
        self.after += u64::from(is);
        self.added += u64::from(is && !was);
        self.removed += u64::from(was && !is);
    }

    /// Whether any name differs.
    pub const fn differ(&self) -> bool {
        self.added > 0 || self.removed > 0
    }
}

impl Diff {
    /// Compares two policies; without an old one everything is new. At most `examples` names of a list are told.
    pub fn of(old: Option<&Policy>, new: &Policy, examples: usize) -> Self {
        let mut ids: Vec<&str> = ids(old).chain(ids(Some(new))).collect();
        ids.sort_unstable();
        ids.dedup();
        let ((names, categories), lists) = thread::scope(|scope| {
            // Either goes through all names of both.
            let names = scope.spawn(|| names(old, new));
            let lists = ids.into_iter().map(|id| list(old, new, id, examples));
            let lists = lists.filter(|list| list.counts.differ()).collect();
            (names.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), lists)
        });
        Self { names, lists, categories }
    }
}

/// All names, in all and by category. What is protected by a name above it counts there too.
fn names(old: Option<&Policy>, new: &Policy) -> (Counts, Vec<CategoryChange>) {
    let mut total = Counts::default();
    let mut by_category: Vec<(&str, u64, u64, Counts)> = Vec::new();
    for bit in (0..u64::BITS).map(|bit| 1 << bit) {
        for (policy, is_new) in old.map(|old| (old, false)).into_iter().chain([(new, true)]) {
            let Some(id) = policy.category_names(bit).first().copied() else { continue };
            let known = by_category.iter_mut().find(|(known, ..)| *known == id);
            let (was, is) = if is_new { (0, bit) } else { (bit, 0) };
            match known {
                Some((_, before, after, _)) => (*before, *after) = (*before | was, *after | is),
                None => by_category.push((id, was, is, Counts::default())),
            }
        }
    }
    let before = old.into_iter().flat_map(Policy::listed);
    merge(before, new.listed(), |_, was, is| {
        total.add(was.is_some(), is.is_some());
        let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
        for (_, before, after, counts) in &mut by_category {
            counts.add(was & *before != 0, is & *after != 0);
        }
    });
    let categories = by_category
        .into_iter()
        .map(|(id, _, _, counts)| CategoryChange { category: id.to_owned(), counts });
    (total, categories.collect())
}

fn ids(policy: Option<&Policy>) -> impl Iterator<Item = &str> {
    let lists = policy.into_iter().flat_map(Policy::lists);
    lists.map(|list| &*list.id).filter(|id| !NOT_LISTS.contains(id))
}

fn list(old: Option<&Policy>, new: &Policy, id: &str, examples: usize) -> ListChange {
    fn find<'a>(policy: &'a Policy, id: &str) -> Option<(u16, &'a List)> {
        (0..).zip(policy.lists()).find(|(_, list)| list.id == id)
    }
    let before = old.and_then(|old| Some((old, find(old, id)?)));
    let after = find(new, id);
    let is_protected = before.is_some_and(|(_, (_, list))| list.protected)
        || after.is_some_and(|(_, list)| list.protected);
    let is_hidden = |name: &str| {
        let unlogged = |policy: &Policy| policy.is_unlogged(policy.categories_of(name));
        is_protected || unlogged(new) || old.is_some_and(unlogged)
    };
    let mut change = ListChange {
        list: id.to_owned(),
        counts: Counts::default(),
        added_names: Vec::new(),
        removed_names: Vec::new(),
    };
    let was = before.into_iter().flat_map(|(old, (index, _))| old.names_of(index));
    let is = after.into_iter().flat_map(|(index, _)| new.names_of(index));
    merge(was.map(|name| (name, ())), is.map(|name| (name, ())), |name, was, is| {
        change.counts.add(was.is_some(), is.is_some());
        let told = match (was, is) {
            (None, Some(())) => &mut change.added_names,
            (Some(()), None) => &mut change.removed_names,
            (Some(()), Some(())) | (None, None) => return,
        };
        if told.len() < examples && !is_hidden(name) {
            told.push(name.to_owned());
        }
    });
    change
}

/// Walks two sorted sequences side by side: each name once, with what either has of it.
fn merge<'a, A, B>(
    old: impl Iterator<Item = (&'a str, A)>,
    new: impl Iterator<Item = (&'a str, B)>,
    mut each: impl FnMut(&'a str, Option<A>, Option<B>),
) {
    fn take<T>(items: &mut Peekable<impl Iterator<Item = T>>, wanted: bool) -> Option<T> {
        if wanted { items.next() } else { None }
    }
    let (mut old, mut new) = (old.peekable(), new.peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        let was = take(&mut old, order != Ordering::Greater);
        let is = take(&mut new, order != Ordering::Less);
        let name = was.as_ref().map(|(name, _)| *name).or(is.as_ref().map(|(name, _)| *name));
        each(name.unwrap_or_default(), was.map(|(_, was)| was), is.map(|(_, is)| is));
    }
}
