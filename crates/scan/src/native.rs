//! Machine code: files that are some. Where it hides in other bytes, [`crate::full`] finds it.

use domain::scan::{Rule, Weight};
use formats::ReadAt;
use formats::native::Native;

use crate::Examiner;

/// Tells that `input` is a program or library. Some formats bring one by design; nobody can vouch for it.
pub(crate) fn examine(examiner: &mut Examiner<'_>, native: Native, input: &dyn ReadAt) {
    examiner.part(native.name(), input.len(), None);
    let here = examiner.here();
    let why = "Loading it runs machine code, which cannot be examined here.";
    examiner.found(Rule::NativeCode, Weight::Unknown, here, native.name(), why);
}
