//! Marks map types as plain data for user space.

use super::answered::{AnsweredKey, AnsweredName};
use super::flow::{Flow, FlowEntry, FlowKey, Recorded, StoredName};
use super::hello::StoredHello;
use super::interface::{Interface, InterfaceCounters};
use super::page::{Page, PageKey};
use super::policy::{Control, DomainEntry, GroupMasks, MemberKey, PortKey, Prefix};
use super::table::Line;

/// Marks map types as plain data for user space.
macro_rules! pod {
    ($($name:ident),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)`, integers and arrays of them only: any bytes are a valid value.
            unsafe impl aya::Pod for $name {}
        )+
    };
}

pod!(
    FlowKey,
    Flow,
    FlowEntry,
    Recorded,
    StoredName,
    StoredHello,
    AnsweredKey,
    AnsweredName,
    DomainEntry,
    Line,
    GroupMasks,
    Prefix,
    MemberKey,
    PageKey,
    PortKey,
    Page,
    Control,
    Interface,
    InterfaceCounters,
);
