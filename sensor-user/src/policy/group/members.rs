//! Which member is in which group.

use std::collections::HashMap;

use sensor_ebpf::abi::MEMBERS_MAX;
use toml::Spanned;

use super::{GroupId, RawGroup, name_of};
use crate::policy::error::{Fault, PolicyError};
use crate::policy::member::Member;
use crate::policy::source::Source;

/// What puts devices into groups beside prefixes, each into one.
#[derive(Debug, Default)]
pub(super) struct Members(HashMap<Member, GroupId>);

impl Members {
    pub(super) fn get(&self, member: &Member) -> Option<GroupId> {
        self.0.get(member).copied()
    }

    /// Every one, with its group.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Member, GroupId)> {
        self.0.iter().map(|(member, group)| (member, *group))
    }

    /// Takes those that a group names.
    pub(super) fn declare(
        &mut self,
        source: &Source,
        raw: &RawGroup,
        id: GroupId,
        groups: &[RawGroup],
    ) -> Result<(), PolicyError> {
        let texts = |texts: &'_ [Spanned<String>], read: fn(&str) -> Result<Member, Fault>| {
            let of = |text: &Spanned<String>| (text.span(), read(text.get_ref()));
            texts.iter().map(of).collect::<Vec<_>>()
        };
        let mut all = texts(&raw.users, Member::user);
        all.extend(texts(&raw.roles, Member::role));
        all.extend(texts(&raw.macs, Member::mac));
        all.extend(raw.vlans.iter().map(|vlan| (vlan.span(), Member::vlan(*vlan.get_ref()))));
        all.extend(texts(&raw.interfaces, Member::interface));
        for (span, member) in all {
            let member = member.map_err(|fault| source.fail(&span, fault))?;
            if let Some(taken) = self.get(&member) {
                let group = name_of(taken, groups);
                return Err(source.fail(&span, Fault::MemberTwice { member, group }));
            }
            if self.0.len() == MEMBERS_MAX as usize {
                let (what, max) = ("members of groups", MEMBERS_MAX as usize);
                let remedy = "give groups prefixes, VLANs or roles";
                return Err(source.fail(&span, Fault::TooMany { what, max, remedy }));
            }
            self.0.insert(member, id);
        }
        Ok(())
    }
}
