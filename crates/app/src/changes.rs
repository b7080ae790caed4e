//! Changes to the files of a run, as the host's daemon told of them: for `show`, and beside the findings that they explain.

use std::path::Path;

use domain::watched::{FileChange, Known};
use domain::{Finding, PathText};
use report::time::rfc3339;
use report::view::ChangeView;
use serde::{Deserialize, Serialize};

use crate::party;
use crate::record::RunRecord;

/// Changes that are told with one finding: the newest before it was made are the ones that count.
const TOLD_MAX: usize = 5;

/// How it is known who did it.
pub(crate) fn known(known: Known) -> &'static str {
    match known {
        Known::Observed => "observed",
        Known::Changed => "changed",
        Known::LookedUp => "looked_up",
        Known::Several => "several",
        Known::Unknown => "unknown",
    }
}

/// All of them, in order of time.
pub(crate) fn views(record: &RunRecord) -> Vec<ChangeView> {
    let mut changes: Vec<&(i64, FileChange)> = record.changes.iter().collect();
    changes.sort_by_key(|(at_us, _)| *at_us);
    let view = |(at_us, change): &&(i64, FileChange)| ChangeView {
        at: rfc3339(*at_us),
        path: change.path.to_string(),
        from: change.from.as_ref().map(ToString::to_string),
        what: what(change),
        before: change.before,
        after: change.after.as_ref().and_then(|state| state.digest),
        known: known(change.actor.known),
        who: party::actor(&change.actor),
        earlier: *at_us < record.started_us,
    };
    changes.iter().map(view).collect()
}

/// What was done, in words.
pub(crate) fn what(change: &FileChange) -> String {
    let words: Vec<&str> = change.deeds.iter().map(|deed| deed.word()).collect();
    let value = change.after.as_ref().and_then(|state| state.value.as_ref());
    let value = value.map_or_else(String::new, |value| format!(" (it says \"{value}\")"));
    format!("{}{value}", words.join(", "))
}

/// Where the roots of an environment's logical names are: `purelib`, `stdlib` …
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Places(Vec<(String, PathText)>);

impl Places {
    /// One more root, or single file.
    pub(crate) fn add(&mut self, name: &str, real: &Path) {
        let place = (name.to_owned(), PathText::from(real));
        if !self.0.contains(&place) {
            self.0.push(place);
        }
    }

    /// All of another one.
    pub(crate) fn extend(&mut self, other: Self) {
        for place in other.0 {
            if !self.0.contains(&place) {
                self.0.push(place);
            }
        }
    }

    /// Where a root of this name is, in each environment.
    pub(crate) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a PathText> {
        let named = self.0.iter().filter(move |(it, _)| it == name);
        named.map(|(_, place)| place)
    }

    /// A logical name as paths.
    fn real(&self, logical: &PathText) -> Vec<Vec<u8>> {
        let text = logical.as_str();
        let whole = self.of(text).map(PathText::to_bytes);
        let (root, rest) = text.split_once('/').unwrap_or((text, ""));
        let below = self.of(root).filter(|_| !rest.is_empty()).map(|place| {
            let mut path = place.to_bytes();
            path.push(b'/');
            path.extend(PathText::from_text(rest).to_bytes());
            path
        });
        whole.chain(below).collect()
    }
}

/// The findings, with who changed the files that they are about.
pub(crate) fn beside(record: &RunRecord, places: &Places) -> Vec<Finding> {
    let with = |finding: &Finding| {
        let mut finding = finding.clone();
        add(record, places, &mut finding);
        finding
    };
    record.findings.iter().map(with).collect()
}

/// Adds to a finding who changed the file that it is about, as far as that is known by now.
pub(crate) fn add(record: &RunRecord, places: &Places, finding: &mut Finding) {
    let Some(path) = finding.path.clone() else {
        return;
    };
    let mut named = places.real(&path);
    named.push(path.to_bytes());
    let is_about = |(_, change): &&(i64, FileChange)| {
        let mut paths = std::iter::once(&change.path).chain(change.from.as_ref());
        change.actor.run != Some(record.id) && paths.any(|it| named.contains(&it.to_bytes()))
    };
    let mut about: Vec<&(i64, FileChange)> = record.changes.iter().filter(is_about).collect();
    about.sort_by_key(|(at_us, _)| *at_us);
    let skipped = about.len().saturating_sub(TOLD_MAX);
    for (at_us, change) in about.into_iter().skip(skipped) {
        let words = format!(
            "{} {} by {} (seen by the host's daemon: {})",
            rfc3339(*at_us),
            what(change),
            party::actor(&change.actor),
            known(change.actor.known)
        );
        // Some was known when the finding was made.
        if !finding.details.contains(&words) {
            finding.details.push(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logical_name_is_found_where_its_root_is() {
        let mut places = Places::default();
        places.add("purelib", Path::new("/env/lib/site-packages"));
        places.add("interpreter", Path::new("/env/bin/python"));
        let real = |name: &str| places.real(&PathText::from_bytes(name.as_bytes()));
        assert_eq!(
            real("purelib/torch/a.py"),
            [b"/env/lib/site-packages/torch/a.py".to_vec()]
        );
        assert_eq!(real("interpreter"), [b"/env/bin/python".to_vec()]);
        assert!(real("stdlib/os.py").is_empty() && real("/env/a").is_empty());
        let text = serde_json::to_string(&places).unwrap();
        assert_eq!(serde_json::from_str::<Places>(&text).unwrap(), places);
    }
}
