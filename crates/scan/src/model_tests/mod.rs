//! What the judges of models promise, shown on files that are put together here field by field.

pub(crate) mod full;
mod garbage;
mod graphs;
mod keras;
mod small;
mod torch;

use std::sync::LazyLock;

use domain::scan::{Examination, Rule, Weight};

use crate::{Examiner, Options, Rules, models};

/// What `work` makes of an examination.
fn examined(work: impl FnOnce(&mut Examiner<'_>)) -> Examination {
    static RULES: LazyLock<Rules> = LazyLock::new(Rules::builtin);
    let mut examiner = Examiner::new(&RULES, Options::default());
    work(&mut examiner);
    examiner.finish(0)
}

/// What is made of `bytes` by their content.
fn model(bytes: &[u8]) -> Examination {
    let kind = models::recognise(&bytes).expect("no known format");
    examined(|examiner| models::examine(examiner, kind, "model", &bytes))
}

/// Rules and weights that were found, in order, once each.
fn findings(examination: &Examination) -> Vec<(Rule, Weight)> {
    let found = examination.findings.iter();
    let mut found: Vec<_> = found
        .map(|finding| (finding.rule, finding.weight))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// A field of a protocol buffer that holds bytes.
fn field(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [
        varint(number << 3 | 2),
        varint(content.len() as u64),
        content.to_vec(),
    ]
    .concat()
}

/// A field that holds a number.
fn count(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}
