//! What `taintline run` prints: one line before the job, the verdict after it.

use domain::entry::{CommitSignature, Signer};

use super::{field, finding, plural, witnessed};
use crate::sanitise;
use crate::time::{count, duration, size};
use crate::view::{EnvironmentView, FileView, Inside, KeptView, RunView, State};

/// The line before the job's own output.
pub fn opening(name: &str, store: &str, entries: u64) -> String {
    format!(
        "taintline  run {}   store {}   ledger head {entries}\n",
        sanitise(name),
        sanitise(store)
    )
}

/// Said once, when a store was made on a file system in memory.
pub const IN_MEMORY: &str =
    "  note: this store is in memory (tmpfs): it is gone when the machine stops\n";

/// The verdict, what was loaded and saved, what was found, what was not recorded, what it cost, what to do next.
pub fn summary(view: &RunView) -> String {
    let mut text = headline(view);
    for found in &view.findings {
        text.push_str(&finding(found));
    }
    text.push_str(&facts(view));
    if let Some(stamp) = &view.no_later_than {
        text.push_str(&field("no later than ", &super::stamp::stamp_line(stamp)));
    }
    text.push_str(&closing(view));
    text
}

fn headline(view: &RunView) -> String {
    let name = sanitise(&view.line.name);
    let outcome = view.line.outcome.as_deref().unwrap_or("no end recorded");
    if view.findings.is_empty() {
        let word = match view.line.state {
            State::Ended => "nothing found",
            State::Running => "running",
            State::Interrupted => "INTERRUPTED",
        };
        return format!("taintline  {word}   run {name}   {}\n", sanitise(outcome));
    }
    let from = match view.findings.iter().filter_map(|found| found.step).min() {
        Some(0) => " from the start".to_owned(),
        Some(step) => format!(" from step {step}"),
        None => String::new(),
    };
    format!(
        "taintline  TAINTED{from}   run {name}   {}\n",
        sanitise(outcome)
    )
}

/// What the run loaded and wrote.
pub(super) fn facts(view: &RunView) -> String {
    let mut text = String::new();
    if let Some(code) = &view.code {
        let commit = code.commit.as_deref().map_or_else(
            || "not in git".to_owned(),
            |id| format!("git {}", short(id)),
        );
        let state = match (&code.commit, code.dirty.len()) {
            (None, _) => String::new(),
            (Some(_), 0) => ", clean".to_owned(),
            (Some(_), changed) => {
                format!(", {} changed or untracked", plural(changed as u64, "file"))
            }
        };
        let signed = code.signature.as_ref().map(signed).unwrap_or_default();
        text.push_str(&field("code", &format!("{commit}{signed}{state}")));
    }
    for environment in &view.environments {
        text.push_str(&field("environment", &environment_line(environment)));
    }
    for load in view.loads.iter().filter(|load| load.kind == "checkpoint") {
        text.push_str(&field("resume", &file_line(load)));
    }
    text.push_str(&files_line(
        "data",
        view.loads.iter().filter(|load| load.kind == "data"),
    ));
    text.push_str(&files_line(
        "config",
        view.loads.iter().filter(|load| load.kind == "config"),
    ));
    if let Some(last) = view.writes.last() {
        let number = plural(view.writes.len() as u64, "checkpoint");
        text.push_str(&field(
            "saved",
            &format!("{number}, last {}", file_line(last)),
        ));
    }
    for kept in &view.kept {
        text.push_str(&field("last good", &kept_line(kept)));
    }
    text
}

fn kept_line(kept: &KeptView) -> String {
    let files = match kept.files {
        1 => String::new(),
        files => format!("{}, ", plural(files, "file")),
    };
    let place = if kept.present {
        format!("kept {} in {}", kept.way.words(), kept.place)
    } else {
        "was kept, and is not in the store any more".to_owned()
    };
    format!(
        "{}, step {}  {files}{}; {place}",
        kept.path,
        kept.step,
        size(kept.bytes)
    )
}

fn environment_line(environment: &EnvironmentView) -> String {
    format!(
        "{}, {} files, {}; {} as in their RECORD; {} read anew",
        plural(environment.packages, "package"),
        count(environment.files),
        size(environment.bytes),
        count(environment.vouched),
        count(environment.hashed),
    )
}

fn file_line(file: &FileView) -> String {
    let step = file
        .step
        .map_or_else(String::new, |step| format!(", step {step}"));
    let digest = file
        .digest
        .map_or_else(|| "size and times only".to_owned(), |digest| digest.short());
    let inside = match &file.inside {
        None => String::new(),
        Some(Inside::NoCode) => "; no code inside".to_owned(),
        Some(inside) => format!("; inside: {}", crate::shorten(inside.as_str(), 100)),
    };
    format!("{}{step}  {digest}{inside}", file.path)
}

fn files_line<'a>(label: &str, files: impl Iterator<Item = &'a FileView>) -> String {
    let files: Vec<_> = files.collect();
    match files.as_slice() {
        [] => String::new(),
        [file] => field(label, &file_line(file)),
        [file, rest @ ..] => field(
            label,
            &format!("{}, and {} more", file_line(file), count(rest.len() as u64)),
        ),
    }
}

fn closing(view: &RunView) -> String {
    let ranks = view
        .ranks
        .iter()
        .filter(|rank| rank.count > 0)
        .count()
        .max(1);
    let mut text = format!(
        "  recorded: {}, {}.",
        plural(view.line.steps, "step"),
        plural(ranks as u64, "rank")
    );
    if let Some(cost) = &view.cost {
        let wall = cost.wall_seconds.max(0.001);
        text.push_str(&format!(
            "  cost of watching: {:.2} s in the job's steps ({:.1} % of {}), {:.2} CPU-s beside it.",
            cost.sensor_seconds,
            100.0 * cost.sensor_seconds / wall / ranks as f64,
            duration(wall),
            cost.watch_cpu_seconds,
        ));
    }
    text.push('\n');
    text.push_str(&view.witnesses.as_ref().map(witnessed).unwrap_or_default());
    for gap in &view.gaps {
        text.push_str(&format!(
            "  not recorded: {}: {}\n",
            sanitise(&gap.what),
            sanitise(&gap.why)
        ));
    }
    let name = sanitise(&view.line.name);
    text.push_str(&format!("  next: taintline show {name}\n"));
    text
}

/// Whose signature a commit bears.
fn signed(signature: &CommitSignature) -> String {
    match signature {
        CommitSignature::Absent => ", not signed".to_owned(),
        CommitSignature::OpenPgp => ", OpenPGP signature (not checked)".to_owned(),
        CommitSignature::X509 => ", X.509 signature (not checked)".to_owned(),
        CommitSignature::Unreadable => ", a signature that cannot be read".to_owned(),
        CommitSignature::Ssh { holds: false, .. } => {
            ", SIGNATURE DOES NOT HOLD: the commit was changed".to_owned()
        }
        CommitSignature::Ssh { key, signer, .. } => match signer {
            Signer::Allowed { principals } => format!(", signed by {principals}"),
            Signer::NotAsked => format!(", signed by {key}"),
            Signer::Unknown => format!(", signed by {key}, whom nobody vouches for"),
            Signer::OtherPurpose => format!(", signed by {key}, which is not for this"),
            Signer::NotYet => format!(", signed by {key} before it was valid"),
            Signer::Expired => format!(", signed by {key} after it was valid"),
            Signer::Open => format!(", signed by {key}, whose validity at that time is open"),
            Signer::Revoked => format!(", signed by {key}, WHICH WAS TAKEN BACK"),
        },
    }
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}
