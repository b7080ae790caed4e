//! A finding about memory in words: what, where the code lives, whose it is, what speaks for it.

use domain::memory::CodePlace;
use domain::{Finding, Grade, PathText};

use super::Whose;
use super::judge::{Found, Wrong};

/// The finding as it is recorded.
pub(super) fn finding(found: &Found, step: Option<u64>, rank: Option<u32>) -> Finding {
    let mut details = Vec::new();
    if let Some((code, whose)) = &found.code {
        details.push(lives(code, whose));
    }
    if found.wraps {
        details.push("it holds the function that belongs there, so it may call it".to_owned());
    } else if found.wrong == Wrong::Replaced {
        details.push("the function that belongs there was not found behind it".to_owned());
    }
    let since = step.map_or_else(
        || "before the first step".to_owned(),
        |step| format!("after step {step}"),
    );
    details.push(if found.later {
        format!("something else stood there before; seen {since}")
    } else {
        format!("seen {since}")
    });
    Finding {
        rule: found.key.0,
        grade: Grade::Claimed,
        what: what(found),
        details,
        path: path(found),
        step: Some(step.unwrap_or(0)),
        rank,
        earlier: None,
        evidence: Vec::new(),
        innocent: innocent(found),
    }
}

fn what(found: &Found) -> String {
    let subject = &found.subject;
    let reached = || {
        found.code.as_ref().map_or_else(
            || found.object.clone(),
            |(code, _)| format!("{} ({}:{})", code.name, code.file, code.line),
        )
    };
    match &found.wrong {
        Wrong::Differs { file } => {
            format!("{subject} runs code in memory that {file} does not compile to")
        }
        Wrong::Replaced if found.wraps => {
            format!("{subject} is wrapped in memory by {}", reached())
        }
        Wrong::Replaced => format!("{subject} is replaced in memory by {}", reached()),
        Wrong::Misplaced { other } => format!("at {subject} stands {other} in memory"),
        Wrong::Hook | Wrong::Machinery => format!("{subject}: nothing vouches for {}", reached()),
        Wrong::Carried { by } if by.as_str().is_empty() => {
            format!("{subject} came with what torch.load gave: {}", reached())
        }
        Wrong::Carried { by } => format!("{subject} came with the checkpoint {by}: {}", reached()),
        Wrong::NoFile => format!(
            "module {subject} came from no file and has code: {}",
            reached()
        ),
        Wrong::Set { name, .. } => {
            format!("{name} of {subject} was set in memory by {}", reached())
        }
    }
}

fn lives(code: &CodePlace, whose: &Whose) -> String {
    let file = &code.file;
    let module = if code.module.is_empty() {
        String::new()
    } else {
        format!(", module {}", code.module)
    };
    match whose {
        Whose::Project => format!(
            "unknown: its code is the project's own, {file} line {}{module}",
            code.line
        ),
        Whose::Nowhere => format!("its code is in no file ({file} line {}{module})", code.line),
        Whose::Nobody => format!(
            "its code is in {file} line {}{module}, which belongs to no package",
            code.line
        ),
        Whose::Package(name) => format!("its code says it is of {name}, {file} line {}", code.line),
        Whose::Stdlib => format!(
            "its code says it is Python's own, {file} line {}",
            code.line
        ),
        Whose::Ours => format!(
            "its code says it is the sensor's, {file} line {}",
            code.line
        ),
    }
}

fn path(found: &Found) -> Option<PathText> {
    let (code, whose) = found.code.as_ref()?;
    (*whose != Whose::Nowhere).then(|| code.file.clone())
}

fn innocent(found: &Found) -> Vec<String> {
    let text = match (&found.wrong, found.code.as_ref().map(|(_, whose)| whose)) {
        (Wrong::Differs { .. }, _) => {
            "a tool rewrites code while it is imported or run: then say so with --accept-environment"
        }
        (Wrong::Carried { .. }, _) => {
            "the model was saved whole, with a hook that the project had registered"
        }
        (_, Some(Whose::Project)) => {
            "the project does it on purpose: then say so with --accept-environment"
        }
        (_, Some(Whose::Nobody)) => "a package was installed without a list of its files",
        (Wrong::Misplaced { .. }, _) => "a package rebinds its own names while the run is going",
        _ => {
            "a library makes functions from text at run time: then say so with --accept-environment"
        }
    };
    vec![text.to_owned()]
}
