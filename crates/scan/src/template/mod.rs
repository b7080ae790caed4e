//! What a chat template does when it is rendered: reaching for the machinery behind the engine, loading files, growing
//! without bound, and telling the model something else when the user says certain words.
//!
//! The template is read as a tree and evaluated as far as it follows from itself: a name put together from pieces is
//! still that name, and one that cannot be known is told as unknown. Names that honest templates need are few, because
//! their engine offers few. What a message *says* is followed into conditions: speech that is emitted only then is a
//! back door, marks that are emitted only then are form. Templates are prose and code at once, so nothing here matches
//! on text as a whole.

mod evaluate;
mod fold;
mod known;
mod messages;
mod value;
mod walk;
mod words;

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;
use formats::jinja;

use crate::Examiner;
use words::Unseen;

/// Bytes of a template that are read. The longest known one has 30 kB.
const MAX_BYTES: u64 = 1 << 20;

/// Something about a template, with its offset in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) rule: Rule,
    pub(crate) weight: Weight,
    pub(crate) offset: usize,
    pub(crate) why: String,
}

/// Examines a file that is a template.
pub(crate) fn examine(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let _ = name;
    let Some(bytes) = crate::text::all(examiner, input, MAX_BYTES, "a chat template") else {
        return;
    };
    examiner.part(
        "Jinja template",
        input.len(),
        Some(domain::Digest::of(&bytes)),
    );
    examine_text(examiner, &String::from_utf8_lossy(&bytes));
}

/// Examines the text of a template at the present place.
pub(crate) fn examine_text(examiner: &mut Examiner<'_>, text: &str) {
    if text.len() as u64 > MAX_BYTES {
        let what = format!("a template of {} bytes; {MAX_BYTES} are read", text.len());
        return examiner.gap(GapKind::Limit, examiner.here(), what);
    }
    let template = jinja::parse(text);
    for remark in judge(text, &template) {
        let place = examiner.at(remark.offset as u64);
        let expression = excerpt(text, remark.offset);
        examiner.found(remark.rule, remark.weight, place, expression, remark.why);
    }
    if let Some(fault) = template.fault {
        let place = examiner.at(fault.offset as u64);
        examiner.gap(
            GapKind::Broken,
            place,
            format!("the template cannot be read from here on: {fault}"),
        );
    }
}

/// All remarks on a template.
pub(crate) fn judge(text: &str, template: &jinja::Template) -> Vec<Remark> {
    let mut remarks = walk::remarks(template);
    let mut say = |rule, weight, offset, why: &str| {
        let why = why.to_owned();
        remarks.push(Remark {
            rule,
            weight,
            offset,
            why,
        });
    };
    match words::unseen(text) {
        Unseen::Message => {
            let why = "it has text that people do not see and that the model reads";
            say(Rule::Hidden, Weight::Unknown, 0, why);
        }
        Unseen::Few => {
            let why = "it has characters of no width";
            say(Rule::Hidden, Weight::Note, 0, why);
        }
        Unseen::Nothing => {}
    }
    // Behind a fault there is no tree; a reader that is more lenient would still evaluate it.
    let rest = template.fault.and_then(|fault| text.get(fault.offset..));
    if let Some(at) = rest.and_then(known::internals) {
        let offset = template.fault.map_or(0, |fault| fault.offset) + at;
        let why = "it names Python's internals in a part that is not Jinja";
        say(Rule::UnsafeTemplate, Weight::Dangerous, offset, why);
    }
    remarks
}

/// Some characters from `offset` on, on one line.
fn excerpt(text: &str, offset: usize) -> String {
    let rest = text.get(offset..).unwrap_or_default();
    let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
    let line = rest.get(..end).unwrap_or_default();
    line.chars().take(120).collect()
}

#[cfg(test)]
mod honest;
#[cfg(test)]
mod tests;
