//! What a newer checkpoint's programs need and do that the older one's did not.
//!
//! Weights change with every step; the program that puts them together does not. A name, a finding or a format that was
//! not there before is worth a look even where each is harmless.

use std::collections::BTreeSet;

use domain::PathText;
use domain::scan::{Examination, Need, Weight};
use report::scan::Since;

/// Names, findings and formats that are kept, each.
const KEPT: usize = 100_000;

/// The programs of one file, or of all files of a folder together.
#[derive(Debug, Default)]
pub(super) struct Programs {
    needs: BTreeSet<Need>,
    findings: BTreeSet<(Weight, String)>,
    formats: BTreeSet<String>,
    incomplete: bool,
}

impl Programs {
    /// Adds one file.
    pub(super) fn take(&mut self, examined: &Examination) {
        self.incomplete |= !examined.is_complete();
        for need in &examined.needs {
            self.incomplete |= !keep(&mut self.needs, need.clone());
        }
        for finding in &examined.findings {
            let text = format!("{}: {}", finding.rule, finding.expression);
            self.incomplete |= !keep(&mut self.findings, (finding.weight, text));
        }
        for format in &examined.formats {
            self.incomplete |= !keep(&mut self.formats, format.clone());
        }
    }

    /// What `new` has and this has not, and the other way round.
    pub(super) fn difference(&self, new: &Self, old: PathText) -> Since {
        let open = |weight: Option<Weight>| weight.is_some_and(|weight| weight > Weight::Note);
        let needs_added: Vec<_> = new.needs.difference(&self.needs).cloned().collect();
        let findings_added: Vec<_> = new.findings.difference(&self.findings).collect();
        let beyond = needs_added.iter().filter(|need| open(need.weight)).count()
            + findings_added
                .iter()
                .filter(|finding| open(Some(finding.0)))
                .count();
        Since {
            old,
            beyond: beyond as u64,
            needs_removed: self.needs.difference(&new.needs).cloned().collect(),
            needs_added,
            findings_added: findings_added
                .into_iter()
                .map(|(_, text)| text.clone())
                .collect(),
            formats_added: new.formats.difference(&self.formats).cloned().collect(),
            formats_removed: self.formats.difference(&new.formats).cloned().collect(),
            old_incomplete: self.incomplete,
        }
    }
}

/// Keeps one more; `false` if there is no room.
fn keep<T: Ord>(set: &mut BTreeSet<T>, item: T) -> bool {
    if set.len() >= KEPT && !set.contains(&item) {
        return false;
    }
    set.insert(item);
    true
}

#[cfg(test)]
mod tests {
    use domain::scan::Role;

    use super::*;

    fn programs(needs: &[(&str, Option<Weight>)]) -> Programs {
        let needs = needs.iter().map(|(name, weight)| Need {
            module: "m".to_owned(),
            name: (*name).to_owned(),
            role: Role::Call,
            weight: *weight,
        });
        let mut programs = Programs::default();
        programs.take(&Examination {
            needs: needs.collect(),
            ..Examination::default()
        });
        programs
    }

    #[test]
    fn a_name_that_is_allowed_is_told_and_one_that_is_not_counts() {
        let old = programs(&[("a", None), ("c", Some(Weight::Custom))]);
        let new = programs(&[
            ("a", None),
            ("b", None),
            ("c", Some(Weight::Custom)),
            ("d", Some(Weight::Custom)),
        ]);
        let since = old.difference(&new, PathText::default());
        assert_eq!(since.needs_added.len(), 2);
        assert_eq!(since.beyond, 1);
        let back = new.difference(&old, PathText::default());
        assert_eq!((back.beyond, back.needs_removed.len()), (0, 2));
    }
}
