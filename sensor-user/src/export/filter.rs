//! Which records an export takes.

use super::occurrence::Occurrence;
use crate::config::{Export, ExportFilter, ExportKind};
use crate::record::Record;

impl Export {
    /// Whether a record goes there: by its filter, and by what its format is for.
    pub fn takes(&self, record: &Record) -> bool {
        let is_told = match self.kind {
            ExportKind::Eve | ExportKind::Ipfix => true,
            ExportKind::Syslog => Occurrence::of(record).is_some(),
        };
        is_told && self.filter.takes(record)
    }
}

impl ExportFilter {
    /// Whether a record fits every key.
    pub fn takes(&self, record: &Record) -> bool {
        let Self { verdicts, protocols, groups, categories } = self;
        let is_of = |group: &String| groups.contains(group);
        let is_listed = |category: &String| categories.contains(category);
        (verdicts.is_empty() || verdicts.contains(&record.verdict))
            && (protocols.is_empty() || protocols.contains(&record.protocol))
            && (groups.is_empty() || record.group.as_ref().is_some_and(is_of))
            && (categories.is_empty() || record.categories.iter().any(is_listed))
    }
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::Verdict;

    use super::ExportFilter;
    use crate::record::sample::{record, unnamed};

    #[test]
    fn every_key_must_fit() {
        let (named, bare) = (record(1), unnamed(2));
        let check = |filter: ExportFilter, takes_named, takes_bare| {
            assert_eq!(
                (filter.takes(&named), filter.takes(&bare)),
                (takes_named, takes_bare),
                "{filter:?}"
            );
        };
        let any = ExportFilter::default;
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        check(any(), true, true);
        check(
            ExportFilter { verdicts: vec![Verdict::Block, Verdict::Alert], ..any() },
            true,
            false,
        );
        check(ExportFilter { verdicts: vec![Verdict::Undecided], ..any() }, false, true);
        check(ExportFilter { protocols: vec![17], ..any() }, false, false);
        check(ExportFilter { groups: texts(&["staff", "students"]), ..any() }, true, false);
        check(ExportFilter { categories: texts(&["gambling"]), ..any() }, true, false);
        check(ExportFilter { categories: texts(&["news"]), ..any() }, false, false);
        let both =
            ExportFilter { verdicts: vec![Verdict::Block], groups: texts(&["staff"]), ..any() };
        check(both, false, false);
    }
}
