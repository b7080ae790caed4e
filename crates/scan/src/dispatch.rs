//! What content goes to which examination. The bytes decide; a name only decides between readings that the bytes allow.

use domain::scan::GapKind;
use formats::ReadAt;
use formats::sniff::{Format, sniff};

use crate::pickle::{self, Origin};
use crate::{Examiner, archive};

/// Examines `input` as what it is; several readings are all followed.
pub(crate) fn content(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let format = match sniff(input) {
        Ok(format) => format,
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
    };
    one(examiner, name, input, format);
}

fn one(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt, format: Format) {
    match format {
        Format::TorchZip | Format::Zip => archive::zip(examiner, name, input),
        Format::Pickle => {
            pickle::examine(examiner, input, Origin::Bare);
        }
        Format::TorchLegacy => {
            pickle::examine(examiner, input, Origin::TorchLegacy);
        }
        _ => {}
    }
}
