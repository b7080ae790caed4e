//! Text files as bytes in memory, bounded: what is longer is a gap and never half an answer.

use domain::scan::GapKind;
use formats::ReadAt;

use crate::Examiner;

/// All bytes of `input`, or a gap if there are more than `most` or they cannot be read.
pub(crate) fn all(
    examiner: &mut Examiner<'_>,
    input: &dyn ReadAt,
    most: u64,
    what: &str,
) -> Option<Vec<u8>> {
    let size = usize::try_from(input.len()).ok();
    let Some(size) = size.filter(|_| input.len() <= most) else {
        let what = format!("{what} of {} bytes; {most} are read", input.len());
        examiner.gap(GapKind::Limit, examiner.here(), what);
        return None;
    };
    let mut bytes = vec![0; size];
    match input.read_at(0, &mut bytes) {
        Ok(()) => Some(bytes),
        Err(error) => {
            examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
            None
        }
    }
}
