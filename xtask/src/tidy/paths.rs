//! Documents that point at the tree must point at something.
//!
//! A back-ticked word is taken for a path of ours when it starts with one of our folders; `torch/optim/adamw.py` is an
//! example's, not ours. Links are always paths.

use super::Finding;

/// Documents outside `docs/` that are held to this.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

/// Our folders: listed, because a folder that was removed must still be missed.
const FOLDERS: &[&str] = &[
    ".cargo/",
    ".ci/",
    ".config/",
    "bench/",
    "crates/",
    "docs/",
    "drills/",
    "examples/",
    "fuzz/",
    "python/",
    "rules/",
    "tests/",
    "xtask/",
];

/// True for a document that is held to this.
pub(super) fn is_document(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let page = std::path::Path::new(path)
        .extension()
        .is_some_and(|kind| kind == "md");
    page && (path.starts_with("docs/") || DOCUMENTS.contains(&name))
}

/// Every path of ours and every link in one document; `exists` answers for a path from the root.
pub(super) fn check(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let folder = path.rfind('/').map_or("", |at| &path[..=at]);
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let ours = code_words(line)
            .filter(|word| is_ours(word))
            .map(str::to_owned);
        let links = links(line).map(|link| normal(&format!("{folder}{link}")));
        for target in ours.chain(links).filter(|target| !exists(target)) {
            findings.push(Finding::new(
                path,
                number + 1,
                format!("there is no {target}"),
            ));
        }
    }
    findings
}

/// What stands between single back-ticks.
fn code_words(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A plain path below one of our folders, or a document of the root.
fn is_ours(word: &str) -> bool {
    let plain = !word.contains(|c: char| c.is_whitespace() || "*<>{}$|…()=:".contains(c));
    let below = FOLDERS.iter().any(|folder| word.starts_with(folder));
    plain && (below || DOCUMENTS.contains(&word))
}

/// The targets of `[…](target)` that are not addresses or places in the page.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or(target));
    files.filter(|target| !target.is_empty() && !target.contains(':'))
}

/// `docs/../crates/x` as `crates/x`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(path: &str, text: &str) -> Vec<String> {
        let exists = |path: &str| ["crates/app", "docs/limits.md"].contains(&path);
        let findings = check(path, text, &exists);
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_path_of_ours_that_is_not_there_is_found() {
        assert_eq!(
            missing("README.md", "`crates/app` and `crates/gone`"),
            ["there is no crates/gone"]
        );
        assert_eq!(
            missing("README.md", "see `SECURITY.md`"),
            ["there is no SECURITY.md"]
        );
    }

    #[test]
    fn paths_of_examples_patterns_and_fenced_blocks_are_left_alone() {
        assert!(
            missing(
                "README.md",
                "`torch/optim/adamw.py` `crates/*/src` `cargo test`"
            )
            .is_empty()
        );
        assert!(missing("README.md", "```\n`crates/gone`\n```").is_empty());
        assert_eq!(missing("README.md", "```\n```\n`crates/gone`").len(), 1);
    }

    #[test]
    fn a_link_is_followed_from_its_own_page() {
        assert!(
            missing(
                "docs/a.md",
                "[x](limits.md#top) [y](https://example.org) [z](#here)"
            )
            .is_empty()
        );
        assert!(missing("docs/a.md", "[x](../crates/app)").is_empty());
        assert_eq!(
            missing("docs/a.md", "[x](gone.md)"),
            ["there is no docs/gone.md"]
        );
    }

    #[test]
    fn the_pages_that_are_held_to_this_are_the_projects_documents() {
        assert!(is_document("docs/rules/x.md") && is_document("README.md"));
        assert!(is_document("examples/gpt/README.md"));
        assert!(!is_document("crates/app/src/lib.rs"));
    }
}
