//! Words in the source: the header that must be there, and the words that must not.

use super::Finding;

/// Where `unsafe` may stand; everywhere else the crate forbids it: system calls without a safe wrapper, what PyO3 makes of
/// a module, and the two calls into code that is compiled for newer processors, which the language lets nobody make safely
/// unless the whole program is compiled for them.
const UNSAFE_PLACES: &[&str] = &[
    "crates/hashing/src/avx512.rs",
    "crates/hashing/src/sha_ni.rs",
    "crates/host/src/sys",
    "crates/python/src/",
];
/// Crates whose root cannot forbid it, because a place above lies in them.
const UNSAFE_CRATES: &[&str] = &["crates/hashing/", "crates/host/", "crates/python/"];
/// How far above an unsafe block its reason may stand.
const REASON_WITHIN: usize = 6;

// Written in two halves, so that these lines are not findings themselves.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];
const ALLOWANCES: &[&str] = &[concat!("#[", "allow("), concat!("#![", "allow(")];

/// A module says what it is for before anything else.
pub(super) fn header(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().find(|line| !line.trim().is_empty());
    let argued = first.is_some_and(|line| line.starts_with("//!"));
    (!argued).then(|| Finding::new(path, 1, "no `//!` header that says what it is for"))
}

/// No marks of unfinished work; it belongs in an issue.
pub(super) fn unfinished(path: &str, text: &str) -> Vec<Finding> {
    found(path, text, |line| {
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        let mark = words.find(|word| UNFINISHED.contains(word))?;
        Some(format!("{mark}: finish it or file it"))
    })
}

/// Lints are expected with a reason, never allowed.
pub(super) fn allowances(path: &str, text: &str) -> Vec<Finding> {
    found(path, text, |line| {
        let found = ALLOWANCES.iter().any(|mark| line.contains(mark));
        found.then(|| "use expect with a reason".to_owned())
    })
}

/// `unsafe` in its places only, each block with its reason.
pub(super) fn unsafety(path: &str, text: &str) -> Vec<Finding> {
    let may = UNSAFE_PLACES.iter().any(|place| path.starts_with(place));
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(rest) = after_unsafe(line) else {
            continue;
        };
        if !may {
            findings.push(Finding::new(path, number + 1, "unsafe is not allowed here"));
            continue;
        }
        let above = &lines[number.saturating_sub(REASON_WITHIN)..=number];
        let block = rest.starts_with('{') || rest.starts_with("impl");
        if block && !above.iter().any(|line| line.contains("SAFETY:")) {
            findings.push(Finding::new(
                path,
                number + 1,
                "unsafe without its SAFETY sentence",
            ));
        }
    }
    findings
}

/// The root of every other crate forbids it, so no module can slip it in.
pub(super) fn forbids_unsafe(path: &str, text: &str) -> Option<Finding> {
    let root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    let exempt = UNSAFE_CRATES.iter().any(|place| path.starts_with(place));
    let missing = root && !exempt && !text.contains("#![forbid(unsafe_code)]");
    missing.then(|| Finding::new(path, 1, "the crate does not forbid unsafe code"))
}

/// What follows the keyword on this line, when it is code.
fn after_unsafe(line: &str) -> Option<&str> {
    if line.trim_start().starts_with("//") {
        return None;
    }
    let code_follows = |rest: &&str| {
        ["{", "fn ", "impl", "extern ", "trait "]
            .iter()
            .any(|word| rest.starts_with(word))
    };
    let attribute = line.trim_start().starts_with(concat!("#[", "unsafe("));
    let keyword = concat!("un", "safe ");
    let code = line.match_indices(keyword).find_map(|(at, _)| {
        let starts_a_word =
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
        starts_a_word
            .then(|| &line[at + keyword.len()..])
            .filter(code_follows)
    });
    code.or(attribute.then_some(""))
}

fn found(path: &str, text: &str, what: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    let hits = lines.filter_map(|(number, line)| Some((number + 1, what(line)?)));
    hits.map(|(line, what)| Finding::new(path, line, what))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_a_header_is_found() {
        assert!(header("a.rs", "use std::fs;\n//! late\n").is_some());
        assert!(header("a.rs", "").is_some());
        assert!(header("a.rs", "\n//! For this.\n").is_none());
    }

    #[test]
    fn unfinished_work_is_found_as_a_word_of_its_own() {
        let mark = UNFINISHED[0];
        assert_eq!(
            unfinished("a.py", &format!("x = 1\n# {mark}: later\n"))[0].line,
            2
        );
        assert_eq!(
            unfinished("a.py", &format!("{mark}_LIST = 1\nMAS{mark}\n")).len(),
            1
        );
        assert_eq!(unfinished("a.py", "# done\n"), []);
    }

    #[test]
    fn a_lint_that_is_allowed_is_found_and_one_that_is_expected_is_not() {
        for mark in ALLOWANCES {
            assert_eq!(allowances("a.rs", &format!("{mark}dead_code)]")).len(), 1);
        }
        assert_eq!(
            allowances("a.rs", "#[expect(dead_code, reason = \"x\")]"),
            []
        );
    }

    #[test]
    fn unsafe_code_outside_its_places_is_found_and_words_about_it_are_not() {
        let block = concat!("let x = un", "safe { read(p) };");
        assert_eq!(unsafety("crates/app/src/lib.rs", block).len(), 1);
        let attribute = concat!("#[", "unsafe(no_mangle)]");
        assert_eq!(unsafety("crates/app/src/lib.rs", attribute).len(), 1);
        assert_eq!(
            unsafety(
                "crates/app/src/lib.rs",
                concat!("// an un", "safe fn is un", "safe { }")
            ),
            []
        );
        assert_eq!(
            unsafety("crates/app/src/lib.rs", "#![forbid(unsafe_code)]"),
            []
        );
    }

    #[test]
    fn an_unsafe_block_without_its_reason_is_found_even_where_it_may_stand() {
        let block = concat!("un", "safe { read(p) }");
        assert_eq!(unsafety("crates/host/src/sys.rs", block).len(), 1);
        let reasoned = format!("// SAFETY: `p` is ours.\n{block}");
        assert_eq!(unsafety("crates/host/src/sys/mem.rs", &reasoned), []);
    }

    #[test]
    fn a_crate_root_that_does_not_forbid_unsafe_code_is_found() {
        assert!(forbids_unsafe("crates/app/src/lib.rs", "//! App.").is_some());
        assert!(forbids_unsafe("crates/app/src/run.rs", "//! Run.").is_none());
        assert!(forbids_unsafe("crates/python/src/lib.rs", "//! Py.").is_none());
        assert!(forbids_unsafe("xtask/src/main.rs", "#![forbid(unsafe_code)]").is_none());
    }
}
