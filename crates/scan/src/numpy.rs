//! Arrays of NumPy and files of joblib: numbers, and pickles where elements are objects.

use domain::scan::{GapKind, Rule, Weight};
use formats::joblib::{self, Joblib, Oddity};
use formats::numpy::{Payload, read};
use formats::pickle::Limits;
use formats::{ReadAt, Segments, Window};

use crate::archive::sentence;
use crate::dispatch::behind;
use crate::pickle::{self, Origin};
use crate::{Bytes, Examiner, dispatch};

/// Whether bytes are the beginning of an array of plain numbers.
pub(crate) fn is_plain_head(bytes: &[u8]) -> bool {
    match read(&bytes) {
        Ok(Ok(array)) => matches!(array.payload, Payload::Elements(_)),
        _ => false,
    }
}

/// Examines one array.
pub(crate) fn examine(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    let array = match read(input) {
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
        Ok(Err(error)) => {
            return examiner.gap(GapKind::Broken, examiner.here(), error.to_string());
        }
        Ok(Ok(array)) => array,
    };
    examiner.search(input, Bytes::Data);
    examiner.part_of("a NumPy array", &Window::new(input, 0, array.data_offset));
    for oddity in &array.oddities {
        let why = sentence(&oddity.to_string());
        examiner.found(Rule::Broken, Weight::Note, examiner.here(), "", why);
    }
    let rest = Window::from(input, array.data_offset);
    match array.payload {
        Payload::Elements(bytes) => {
            examiner.raw(bytes.min(rest.len()));
            let (offset, bytes) = array.trailing;
            if bytes > 0 {
                behind(examiner, input, offset);
            }
        }
        Payload::Pickle => {
            examiner.inside(&format!("objects at {}", array.data_offset), |examiner| {
                let end = pickle::examine(examiner, &rest, Origin::Numpy);
                behind(examiner, &rest, end);
            });
        }
        Payload::Unknown => {
            let name = format!("bytes at {}", array.data_offset);
            examiner.inside(&name, |examiner| dispatch::content(examiner, &name, &rest));
            let what = "the type of its elements is not understood";
            examiner.gap(GapKind::NotRead, examiner.here(), what);
        }
    }
}

/// Examines a pickle that joblib interrupts with the bytes of arrays; `false` if it is not one, and then nothing was done.
pub(crate) fn joblib(examiner: &mut Examiner<'_>, input: &dyn ReadAt) -> bool {
    if !may_be_joblib(input) {
        return false;
    }
    let file = match joblib::read(input, &Limits::default()) {
        Ok(file) if joblib::is_joblib(&file.effects) => file,
        _ => return false,
    };
    let program = Segments::new(input, file.program.iter().copied());
    pickle::examine(examiner, &program, Origin::Joblib);
    rest_of(examiner, input, &file);
    true
}

fn rest_of(examiner: &mut Examiner<'_>, input: &dyn ReadAt, file: &Joblib) {
    for (offset, bytes) in &file.arrays {
        examiner.raw(Window::new(input, *offset, *bytes).len());
    }
    for (offset, bytes) in &file.nested {
        let window = Window::new(input, *offset, *bytes);
        examiner.inside(&format!("objects at {offset}"), |examiner| {
            pickle::examine(examiner, &window, Origin::Joblib);
        });
    }
    for oddity in &file.oddities {
        let what = oddity.to_string();
        match oddity {
            Oddity::External(_) => {
                let why = sentence(&what);
                examiner.found(Rule::ExternalFile, Weight::Note, examiner.here(), "", why);
            }
            Oddity::Unmeasured(offset) | Oddity::Truncated(offset) => {
                examiner.gap(GapKind::Broken, examiner.at(*offset), what);
            }
            Oddity::NotFollowed(offset) => {
                examiner.gap(GapKind::Limit, examiner.at(*offset), what);
            }
        }
    }
    if file.end < input.len() {
        behind(examiner, input, file.end);
    }
}

/// The wrapper's module stands in the first megabytes of every such file; asking for it first keeps other pickles fast.
fn may_be_joblib(input: &dyn ReadAt) -> bool {
    const LOOK: u64 = 4 << 20;
    let size = usize::try_from(input.len().min(LOOK)).unwrap_or(0);
    let mut head = vec![0; size];
    input.read_at(0, &mut head).is_ok() && joblib::is_named_in(&head)
}
