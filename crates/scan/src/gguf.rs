//! What a GGUF file would do: its templates, the sums that make loaders read or write outside of their memory, and
//! content that no loader shows.

use domain::scan::{GapKind, Rule, Weight};
use formats::gguf::{self, Gguf, Oddity, Value};
use formats::{ReadAt, Window};

use crate::{Bytes, Examiner, template};

/// Bytes behind the last tensor that writers leave as padding.
const PADDING: u64 = 4096;
/// Holes that are looked into.
const MAX_HOLES: usize = 16;

/// Examines a GGUF file.
pub(crate) fn examine(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let _ = name;
    let file = match gguf::read(input) {
        Ok(file) => file,
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
    };
    examiner.part("GGUF", input.len(), None);
    examiner.search(input, Bytes::Data);
    examiner.raw(file.tensor_bytes);
    for oddity in &file.oddities {
        odd(examiner, oddity);
    }
    templates(examiner, &file);
    holes(examiner, &file, input);
}

fn odd(examiner: &mut Examiner<'_>, oddity: &Oddity) {
    let why = oddity.to_string();
    let (rule, weight, gap) = match oddity {
        Oddity::Truncated(_) | Oddity::ValueType { .. } => {
            (Rule::Broken, Weight::Unknown, Some(GapKind::Broken))
        }
        Oddity::Version(_) => (Rule::Broken, Weight::Unknown, Some(GapKind::NotRead)),
        Oddity::TooMany { .. } => (Rule::Bomb, Weight::Unknown, Some(GapKind::Limit)),
        Oddity::DuplicateKey(_) | Oddity::DuplicateTensor(_) => {
            (Rule::ReadersDisagree, Weight::Unknown, None)
        }
        Oddity::Dimensions { .. } | Oddity::Overflow(_) => {
            (Rule::Broken, Weight::Dangerous, Some(GapKind::Broken))
        }
        Oddity::ElementType { .. } => {
            let what = format!("{why}: whether its bytes are in the file is not known");
            return examiner.gap(GapKind::NotRead, examiner.here(), what);
        }
        Oddity::Overlap(_) => (Rule::ReadersDisagree, Weight::Unknown, None),
        _ => (Rule::Broken, Weight::Unknown, None),
    };
    if let Some(kind) = gap {
        examiner.gap(kind, examiner.here(), why.clone());
    }
    examiner.found(rule, weight, examiner.here(), "", why);
}

fn templates(examiner: &mut Examiner<'_>, file: &Gguf) {
    for pair in &file.pairs {
        let named = pair.key.contains("chat_template");
        match &pair.value {
            Value::Text(Some(text)) if named || gguf::looks_like_template(text) => {
                one(examiner, &pair.key, text);
            }
            Value::Text(None) if named || pair.key.starts_with("tokenizer.") => {
                let place = examiner.at(pair.offset);
                let what = format!("the text of {:?} is longer than is read", pair.key);
                examiner.gap(GapKind::Limit, place, what);
            }
            Value::Array { templates, .. } if named => {
                for (index, text) in templates {
                    one(examiner, &format!("{}[{index}]", pair.key), text);
                }
            }
            _ => {}
        }
    }
}

fn one(examiner: &mut Examiner<'_>, key: &str, text: &str) {
    examiner.inside(key, |examiner| {
        examiner.part("Jinja template", text.len() as u64, None);
        template::examine_text(examiner, text);
    });
}

/// Bytes that belong to no tensor. What lies there is examined as a file of its own.
fn holes(examiner: &mut Examiner<'_>, file: &Gguf, input: &dyn ReadAt) {
    if !file.complete {
        return;
    }
    let out_of_bounds = |oddity: &Oddity| matches!(oddity, Oddity::OutOfBounds(_));
    if file.oddities.iter().any(out_of_bounds) {
        // Offsets are not to be believed; what lies between them says nothing.
        return;
    }
    for (offset, size) in file.holes.iter().take(MAX_HOLES) {
        let slice = Window::new(input, *offset, *size);
        if *size <= PADDING && is_zero(&slice) {
            continue;
        }
        let why = format!("{size} bytes belong to no tensor and to no metadata");
        examiner.found(Rule::Hidden, Weight::Unknown, examiner.at(*offset), "", why);
        examiner.member(&format!("bytes at {offset}"), &slice);
    }
}

fn is_zero(slice: &Window<'_>) -> bool {
    let mut bytes = vec![0; usize::try_from(slice.len()).unwrap_or(0)];
    slice.read_at(0, &mut bytes).is_ok() && bytes.iter().all(|byte| *byte == 0)
}
