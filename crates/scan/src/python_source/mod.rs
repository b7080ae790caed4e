//! What Python source beside a model does, and when: as soon as it is imported, when a loader calls it by contract, or
//! only when somebody calls it.
//!
//! Code is code, and each file of it is told. What weighs is what stands where nobody asks for it: at the top of a
//! module, in the bodies of classes, in defaults and decorators, in functions that these call, and in the methods that
//! loaders and servers call by contract. Names are followed through imports, aliases, `getattr` and texts that are put
//! together; code that the file decodes and runs is read in turn where it follows from the file, and is told as hidden
//! where it does not.

pub(crate) mod effects;
mod fold;
mod judge;
mod loaded;
mod reach;

use domain::scan::{GapKind, Rule, Weight};
use formats::{ReadAt, python};

use crate::{Examiner, text};

/// Bytes of a source file that are read. The longest file of a well-known model has 300 kB.
const MAX_BYTES: u64 = 2 << 20;

/// When something runs. The order is that of asking less and less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum When {
    /// Only as a program of its own.
    Script,
    /// When somebody calls it.
    Called,
    /// When a loader calls what every such file has.
    Contract,
    /// As soon as it is imported.
    Import,
}

/// Examines a source file.
pub(crate) fn examine(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let Some(bytes) = text::all(examiner, input, MAX_BYTES, "a Python file") else {
        return;
    };
    examiner.part(
        "Python source",
        input.len(),
        Some(domain::Digest::of(&bytes)),
    );
    let source = String::from_utf8_lossy(&bytes);
    let source = source.strip_prefix('\u{feff}').unwrap_or(&source);
    let why = "it is Python source: what loads the model may run it";
    examiner.found(Rule::BringsCode, Weight::Note, examiner.here(), "", why);
    examine_text(examiner, name, source, When::Import);
}

/// Examines source that runs at a time, at the present place.
pub(crate) fn examine_text(examiner: &mut Examiner<'_>, name: &str, source: &str, when: When) {
    let module = python::parse(source);
    if let Some(encoding) = module.encoding.as_deref().filter(|name| !is_plain(name)) {
        let why = format!(
            "it is written in the encoding {encoding:?}, in which Python reads something else than people"
        );
        examiner.found(
            Rule::ReadersDisagree,
            Weight::Unknown,
            examiner.here(),
            "",
            why.clone(),
        );
        examiner.gap(GapKind::NotRead, examiner.here(), why);
    }
    if let Some(offset) = module.fault {
        let place = examiner.at(offset as u64);
        let what = "a line that is not Python as far as it is known here";
        examiner.gap(GapKind::Broken, place, what);
    }
    if module.cut {
        let what = "more source than is read";
        examiner.gap(GapKind::Limit, examiner.here(), what);
    }
    for remark in judge::remarks(&module, name, when) {
        let place = examiner.at(remark.offset as u64);
        let line = source.get(remark.offset..).unwrap_or_default();
        let line: String = line
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(160)
            .collect();
        examiner.found(remark.rule, remark.weight, place, line, remark.why);
    }
}

/// A `.pth` file of `site-packages`: lines that start with `import` run whenever Python starts.
pub(crate) fn examine_pth(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let Some(bytes) = text::all(examiner, input, 1 << 20, "a path file") else {
        return;
    };
    examiner.part(
        "Python path file",
        input.len(),
        Some(domain::Digest::of(&bytes)),
    );
    let source = String::from_utf8_lossy(&bytes);
    for line in source.lines() {
        if line.starts_with("import ") || line.starts_with("import\t") {
            let why = "this line runs whenever Python starts, if the file lies in its packages";
            let short: String = line.chars().take(160).collect();
            examiner.found(
                Rule::BringsCode,
                Weight::Unknown,
                examiner.here(),
                short,
                why,
            );
            examine_text(examiner, name, line, When::Import);
        }
    }
}

fn is_plain(encoding: &str) -> bool {
    let name = encoding.to_ascii_lowercase();
    [
        "utf-8",
        "utf8",
        "ascii",
        "us-ascii",
        "latin",
        "iso-",
        "iso8859",
        "cp125",
        "utf-8-sig",
        "windows-",
        "gbk",
        "gb2312",
        "big5",
        "euc-",
        "shift",
    ]
    .iter()
    .any(|known| name.starts_with(known))
}

#[cfg(test)]
mod tests;
