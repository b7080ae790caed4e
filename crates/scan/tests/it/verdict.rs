//! Shorthands: the examination of some bytes, and what is expected of it.

use std::sync::LazyLock;

use domain::scan::{Examination, Rule, Weight};
use taintline_scan::pickle::{Origin, examine};
use taintline_scan::{Examiner, Options, Rules};

/// Read once: a property asks them a thousand times.
pub(crate) static RULES: LazyLock<Rules> = LazyLock::new(Rules::builtin);

pub(crate) fn judged_by(rules: &Rules, bytes: &[u8], origin: Origin) -> Examination {
    let mut examiner = Examiner::new(rules, Options::default());
    examine(&mut examiner, &bytes, origin);
    examiner.finish(bytes.len() as u64)
}

pub(crate) fn judged(bytes: &[u8]) -> Examination {
    judged_by(&RULES, bytes, Origin::Bare)
}

pub(crate) fn weight(bytes: &[u8]) -> Option<Weight> {
    judged(bytes).weight()
}

/// It is dangerous, by this rule.
#[track_caller]
pub(crate) fn dangerous(bytes: &[u8], rule: Rule) {
    told(bytes, rule, Weight::Dangerous);
}

/// The heaviest finding has this weight, and one of that weight this rule.
#[track_caller]
pub(crate) fn told(bytes: &[u8], rule: Rule, weight: Weight) {
    let done = judged(bytes);
    assert_eq!(done.weight(), Some(weight), "{:#?}", done.findings);
    let known = done.findings.iter().any(|finding| {
        finding.rule == rule && finding.weight == weight && finding.place.offset.is_some()
    });
    assert!(known, "no {rule}: {:#?}", done.findings);
}

/// Nothing that weighs anything is found, and all of it was examined.
#[track_caller]
pub(crate) fn clean(bytes: &[u8], origin: Origin) {
    let done = judged_by(&RULES, bytes, origin);
    let heavy: Vec<_> = done
        .findings
        .iter()
        .filter(|finding| finding.weight > Weight::Note)
        .collect();
    assert!(heavy.is_empty(), "{heavy:#?}");
    assert!(done.gaps.is_empty(), "{:#?}", done.gaps);
}
