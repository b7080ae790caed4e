//! Safetensors: nothing in it can run; what can be wrong is a header that readers take differently, or bytes beside it.

use domain::scan::{GapKind, Rule, Weight};
use formats::safetensors::{HeaderError, Oddity, read};
use formats::{ReadAt, Window};

use crate::archive::sentence;
use crate::{Bytes, Examiner};

/// Bytes between tensors up to which they are taken for padding.
const PADDING: u64 = 64;

/// Examines the header and what belongs to no tensor.
pub(crate) fn examine(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    let header = match read(input) {
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
        Ok(Err(error @ HeaderError::TooLarge(_))) => {
            return examiner.gap(GapKind::Limit, examiner.here(), error.to_string());
        }
        Ok(Err(error)) => {
            let why = sentence(&error.to_string());
            examiner.found(Rule::Broken, Weight::Note, examiner.here(), "", why);
            return examiner.gap(GapKind::Broken, examiner.here(), error.to_string());
        }
        Ok(Ok(header)) => header,
    };
    examiner.part_of("safetensors", &Window::new(input, 0, header.data_offset));
    let hidden: u64 = header.unclaimed.iter().map(|(_, bytes)| bytes).sum();
    examiner.search(input, Bytes::Data);
    examiner.raw(input.len().saturating_sub(header.data_offset + hidden));
    for oddity in &header.oddities {
        odd(examiner, oddity);
    }
    for (offset, bytes) in &header.unclaimed {
        let window = Window::new(input, *offset, *bytes);
        examiner.member(&format!("{bytes} bytes at {offset} of no tensor"), &window);
    }
}

fn odd(examiner: &mut Examiner<'_>, oddity: &Oddity) {
    let (rule, weight) = match oddity {
        Oddity::DuplicateName(_) | Oddity::Overlap(_) | Oddity::Fields(_) => {
            (Rule::ReadersDisagree, Weight::Unknown)
        }
        Oddity::OutOfBounds(_) | Oddity::Size(_) => (Rule::Broken, Weight::Unknown),
        Oddity::Hole { bytes, .. } if *bytes <= PADDING => (Rule::Hidden, Weight::Note),
        Oddity::Hole { .. } | Oddity::BehindJson { .. } => (Rule::Hidden, Weight::Unknown),
        Oddity::Start | Oddity::Metadata(_) | Oddity::NoTensor(_) | Oddity::UnknownType(_) => {
            (Rule::Broken, Weight::Note)
        }
        Oddity::TooMany => {
            return examiner.gap(GapKind::Limit, examiner.here(), oddity.to_string());
        }
    };
    examiner.found(
        rule,
        weight,
        examiner.here(),
        "",
        sentence(&oddity.to_string()),
    );
}
