//! Machine code: files that are some, and raw numbers that hide some.

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;
use formats::native::{Native, Search};

use crate::Examiner;

/// Bytes that are searched at a time: what stays in the processor's cache.
const CHUNK: usize = 256 << 10;

/// Tells that `input` is a program or library. Some formats bring one by design; nobody can vouch for it.
pub(crate) fn examine(examiner: &mut Examiner<'_>, native: Native, input: &dyn ReadAt) {
    examiner.part(native.name(), input.len(), None);
    let here = examiner.here();
    let why = "Loading it runs machine code, which cannot be examined here.";
    examiner.found(Rule::NativeCode, Weight::Unknown, here, native.name(), why);
}

/// Searches numbers for machine code: the full-byte mode calls this for every range that loaders take as numbers.
/// `offset` is where `input` starts in the member that is being examined.
pub fn search(examiner: &mut Examiner<'_>, input: &dyn ReadAt, offset: u64) {
    let mut search = Search::new();
    let mut buffer = vec![0; CHUNK];
    let mut place = 0;
    while place < input.len() {
        let rest = usize::try_from(input.len() - place).unwrap_or(usize::MAX);
        let Some(chunk) = buffer.get_mut(..rest.min(CHUNK)) else {
            return;
        };
        if let Err(error) = input.read_at(place, chunk) {
            let at = examiner.at(offset + place);
            return examiner.gap(GapKind::Unreadable, at, error.to_string());
        }
        search.feed(chunk);
        place += chunk.len() as u64;
    }
    found(examiner, search, offset);
}

/// Tells what `search` has found, for callers that read the bytes anyway.
pub fn found(examiner: &mut Examiner<'_>, search: Search, offset: u64) {
    for (place, native) in search.finish() {
        let at = examiner.at(offset.saturating_add(place));
        let why = "Numbers of a model hold the header of machine code.";
        examiner.found(Rule::NativeCode, Weight::Dangerous, at, native.name(), why);
    }
}
