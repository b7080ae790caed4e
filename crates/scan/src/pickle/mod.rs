//! What a pickle would do if it were loaded.

use formats::ReadAt;

use crate::Examiner;

/// Examines all programs at the start of `input`, one behind the other.
pub fn examine(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    let _ = (examiner, input);
}
