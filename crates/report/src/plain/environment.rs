//! `taintline env check` and `taintline env baseline`.

use std::collections::BTreeMap;

use super::{field, plural};
use crate::environment::{EnvBaselineView, EnvCheckView, EnvFindingView, EnvVerdict};
use crate::sanitise;
use crate::time::{count, size};

/// Findings and gaps that are shown one by one; JSON has all.
const SHOWN: usize = 50;

/// The answer, what differs, and who vouches for the rest.
pub fn env_checked(view: &EnvCheckView) -> String {
    let word = match view.verdict {
        EnvVerdict::AsVouched => "AS VOUCHED FOR",
        EnvVerdict::Differs => "DIFFERS",
        EnvVerdict::Incomplete => "INCOMPLETE",
    };
    let mut text = format!("{word} {}\n", sanitise(&view.prefix));
    for finding in view.findings.iter().take(SHOWN) {
        text.push_str(&one(finding));
    }
    let more = view.findings.len().saturating_sub(SHOWN);
    if more > 0 {
        let what = format!("{} more; --json has all", plural(more as u64, "finding"));
        text.push_str(&field("", &what));
    }
    for gap in view.gaps.iter().take(SHOWN) {
        text.push_str(&field("not known", &format!("{}: {}", gap.what, gap.why)));
    }
    let more = view.gaps.len().saturating_sub(SHOWN);
    if more > 0 {
        text.push_str(&field(
            "",
            &format!("{} more gaps; --json has all", count(more as u64)),
        ));
    }
    let python = view.python.as_deref().unwrap_or("of unknown version");
    let packages = view.packages.iter().filter(|it| it.name.is_some()).count();
    let what = format!(
        "Python {python}, {}, {}, {}",
        plural(packages as u64, "package"),
        plural(view.files, "file"),
        size(view.bytes)
    );
    text.push_str(&field("environment", &what));
    text.push_str(&vouchers(view));
    text.push_str(&sources(view));
    text.push_str(&field("tree", &view.tree));
    if let Some(earlier) = &view.earlier {
        let same = if earlier.same {
            "the same as"
        } else {
            "another than"
        };
        let what = format!(
            "{same} at the last check without findings ({})",
            earlier.recorded
        );
        text.push_str(&field("before", &what));
    }
    text.push_str(&field("ledger", &view.ledger));
    text
}

fn one(finding: &EnvFindingView) -> String {
    let package = finding.package.as_deref().unwrap_or("no package");
    let label = match finding.how {
        "other-version" => "version",
        "other-wheel" => "wheel",
        how => how,
    };
    field(
        label,
        &format!("{} ({package}): {}", finding.path, finding.what),
    )
}

fn listed(counts: &BTreeMap<&'static str, u64>, word: impl Fn(&str) -> String) -> String {
    let all: Vec<_> = counts
        .iter()
        .map(|(name, number)| format!("{} {}", count(*number), word(name)))
        .collect();
    all.join(", ")
}

fn byte_code(view: &EnvCheckView) -> String {
    let files = plural(view.compiled, "file");
    let Some(code) = &view.code else {
        return format!("{files}, not compared with their sources");
    };
    let mut what = format!(
        "{files}: {} as their sources compile to ({} known from before)",
        count(code.same),
        count(code.known)
    );
    for (number, word) in [
        (code.wrong, "NOT SO"),
        (code.unused, "not used"),
        (code.sourceless, "without a source"),
    ] {
        if number > 0 {
            what.push_str(&format!(", {} {word}", count(number)));
        }
    }
    what
}

/// Files by voucher, and by the package.
fn vouchers(view: &EnvCheckView) -> String {
    let mut text = String::new();
    let weak = |name: &str| match name {
        "record" | "conda" | "dpkg" => format!("{name} (weak)"),
        name => name.to_owned(),
    };
    if !view.vouched.is_empty() {
        text.push_str(&field("vouched for", &listed(&view.vouched, weak)));
    }
    if !view.not_vouched.is_empty() {
        let what = listed(&view.not_vouched, str::to_owned);
        text.push_str(&field("by nobody", &what));
    }
    if view.compiled > 0 {
        text.push_str(&field("byte code", &byte_code(view)));
    }
    for package in &view.packages {
        let name = match (&package.name, &package.version) {
            (Some(name), Some(version)) => format!("{name} {version}"),
            _ => format!("{} (no package)", package.root),
        };
        let mut what = listed(&package.vouched, weak);
        if !package.not_vouched.is_empty() {
            let nobody = listed(&package.not_vouched, str::to_owned);
            let comma = if what.is_empty() { "" } else { ", " };
            what.push_str(&format!("{comma}by nobody: {nobody}"));
        }
        text.push_str(&format!(
            "    {:<36} {}\n",
            sanitise(&name),
            sanitise(&what)
        ));
    }
    text
}

fn sources(view: &EnvCheckView) -> String {
    let mut text = String::new();
    match &view.lock {
        Some(lock) => {
            let found = if lock.named {
                ""
            } else {
                ", found on the way up"
            };
            let what = format!(
                "{}: {}, {}{found}",
                lock.path,
                plural(lock.packages, "package"),
                plural(lock.digests, "digest")
            );
            text.push_str(&field("lock file", &what));
        }
        None => text.push_str(&field("lock file", "none")),
    }
    if let Some(index) = &view.index {
        let wheels = plural(index.wheels, "wheel");
        let what = format!("{}: {wheels}, {} fetched", index.url, size(index.bytes));
        text.push_str(&field("index", &what));
    }
    if let Some(baseline) = &view.baseline {
        let what = format!("signed by {}, tree {}", baseline.key, baseline.tree);
        text.push_str(&field("baseline", &what));
    }
    for editable in &view.editable {
        let commit = editable.commit.as_deref().unwrap_or("no commit");
        let dirt = editable.dirty.map_or_else(
            || "what differs is not known".to_owned(),
            |number| plural(number, "file") + " not as committed",
        );
        let what = format!(
            "{} in {}: {commit}, {dirt}",
            editable.package, editable.folder
        );
        text.push_str(&field("in place", &what));
    }
    if view.files_read < view.files {
        let known = plural(view.files.saturating_sub(view.files_read), "file");
        let what = format!(
            "{known} not read again: unchanged since they were read, or further names of a file (--deep reads all)"
        );
        text.push_str(&field("read", &what));
    }
    text
}

/// What was signed.
pub fn env_baseline(view: &EnvBaselineView) -> String {
    let mut text = format!("SIGNED {}\n", sanitise(&view.prefix));
    let what = format!(
        "{}, {}, without byte code",
        plural(view.files, "file"),
        size(view.bytes)
    );
    text.push_str(&field("covers", &what));
    text.push_str(&field("tree", &view.tree));
    text.push_str(&field("signed by", &view.key));
    text.push_str(&field("file", &view.file));
    if view.not_as_recorded > 0 {
        let what = format!(
            "{} in it are not what their RECORD says: you have signed them as they are",
            plural(view.not_as_recorded, "file")
        );
        text.push_str(&field("note", &what));
    }
    text
}
