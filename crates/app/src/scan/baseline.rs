//! A baseline: findings that somebody looked at and accepted, each with a reason and a last day.
//!
//! An entry names a rule, a place, and the digest of the bytes in which it was found, so that it holds for exactly what
//! was looked at. A finding that is not dangerous may also be accepted by path and expression, for files that are written
//! again every day. An entry whose day is over accepts nothing and is told.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use domain::scan::{Examination, Finding, Place, Rule, Weight};
use domain::{Digest, PathText};
use report::scan::{Acceptance, Notice};
use serde::{Deserialize, Serialize};

use super::day::Day;
use super::document::{self, DocumentError, Shape};

const SHAPE: Shape = Shape {
    what: "baseline",
    schema: "taintline.baseline/1",
};

/// Accepting what is found.
#[derive(Debug, Clone)]
pub struct Writing {
    /// The baseline; what it has already is kept.
    pub path: PathBuf,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is, `2027-02-20`; 90 days by default.
    pub expires: Option<Day>,
}

/// Days for which a finding is accepted if nothing else is said.
const DAYS: u16 = 90;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "schema")]
    _schema: String,
    #[serde(default)]
    accept: Vec<Entry>,
}

/// One accepted finding.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rule: Rule,
    /// Of the innermost part that holds it, else of the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// Where it was seen, relative to the baseline; decides only where there is no digest.
    path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    expression: String,
    reason: String,
    expires: Day,
}

impl Entry {
    fn place(&self) -> Place {
        Place {
            members: self.members.clone(),
            stream: self.stream,
            offset: self.offset,
        }
    }

    fn flaw(&self) -> Option<&'static str> {
        if self.reason.trim().is_empty() {
            Some("gives no reason")
        } else if self.digest.is_none() && self.expression.is_empty() {
            Some("has neither a digest nor an expression")
        } else {
            None
        }
    }
}

/// A baseline in force.
pub(super) struct Baseline {
    folder: PathBuf,
    /// Where new entries go, and what they say.
    writing: Option<Writing>,
    text: String,
    added: Vec<Entry>,
    unnamed: u64,
    entries: Vec<Entry>,
    by_place: HashMap<(Rule, Place), Vec<usize>>,
    by_path: HashMap<(Rule, String), Vec<usize>>,
    today: Day,
}

impl Baseline {
    /// Reads the baseline at `path`. One that is to be written need not be there yet.
    pub(super) fn read(
        path: &Path,
        scanned: &[PathBuf],
        writing: Option<&Writing>,
    ) -> Result<Self, DocumentError> {
        SHAPE.keep_outside(path, scanned)?;
        let real = document::real(path);
        let mut text = String::new();
        let mut entries = Vec::new();
        if writing.is_none() || real.exists() {
            text = SHAPE.text(path)?;
            let document: Document = SHAPE.parse(path, &text)?;
            entries = document.accept;
        }
        let mut baseline = Self {
            folder: real.parent().unwrap_or(Path::new("/")).to_owned(),
            writing: writing.cloned(),
            text,
            added: Vec::new(),
            unnamed: 0,
            entries: Vec::new(),
            by_place: HashMap::new(),
            by_path: HashMap::new(),
            today: Day::today(),
        };
        for (index, entry) in entries.into_iter().enumerate() {
            if let Some(flaw) = entry.flaw() {
                return Err(SHAPE.entry(path, index, flaw));
            }
            baseline.admit(entry);
        }
        Ok(baseline)
    }

    fn admit(&mut self, entry: Entry) {
        let index = self.entries.len();
        if entry.digest.is_some() {
            let key = (entry.rule, entry.place());
            self.by_place.entry(key).or_default().push(index);
        } else {
            let key = (entry.rule, entry.path.clone());
            self.by_path.entry(key).or_default().push(index);
        }
        self.entries.push(entry);
    }

    /// What of the findings is accepted, or was until a day that is over.
    pub(super) fn accept(&mut self, path: &Path, examined: &Examination) -> Vec<Acceptance> {
        let mut accepted = Vec::new();
        let mut whole = Whole::new(path, examined);
        for (index, finding) in examined.findings.iter().enumerate() {
            let known = self.find(path, finding, examined, &mut whole);
            let holds = known.is_some_and(|entry| entry.expires >= self.today);
            let known = match (holds, self.writing.clone()) {
                (false, Some(writing)) if finding.weight > Weight::Note => {
                    self.write(&writing, path, finding, examined, &mut whole)
                }
                _ => known.cloned(),
            };
            accepted.extend(known.map(|entry| Acceptance {
                finding: index,
                expired: entry.expires < self.today,
                reason: entry.reason,
                expires: entry.expires.to_string(),
            }));
        }
        accepted
    }

    /// The entry that holds longest.
    fn find(
        &self,
        path: &Path,
        finding: &Finding,
        examined: &Examination,
        whole: &mut Whole<'_>,
    ) -> Option<&Entry> {
        let mut best: Option<&Entry> = None;
        let mut better = |entry| {
            let longer = best.is_none_or(|best: &Entry| best.expires < self.get(entry).expires);
            if longer {
                best = Some(self.get(entry));
            }
        };
        let key = (finding.rule, finding.place.clone());
        if let Some(entries) = self.by_place.get(&key)
            && let Some(digest) = part(finding, examined).or_else(|| whole.digest())
        {
            let same = |entry: &&usize| self.get(**entry).digest == Some(digest);
            entries.iter().filter(same).for_each(|entry| better(*entry));
        }
        if finding.weight < Weight::Dangerous && !self.by_path.is_empty() {
            let key = (finding.rule, self.relative(path));
            let entries = self.by_path.get(&key).into_iter().flatten();
            let same = |entry: &&usize| {
                let entry = self.get(**entry);
                entry.expression == finding.expression && entry.members == finding.place.members
            };
            entries.filter(same).for_each(|entry| better(*entry));
        }
        best
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the maps hold indices of entries, and entries are never removed"
    )]
    fn get(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    fn write(
        &mut self,
        writing: &Writing,
        path: &Path,
        finding: &Finding,
        examined: &Examination,
        whole: &mut Whole<'_>,
    ) -> Option<Entry> {
        let Some(digest) = part(finding, examined).or_else(|| whole.digest()) else {
            self.unnamed += 1;
            return None;
        };
        let default = || self.today.after(DAYS);
        let entry = Entry {
            rule: finding.rule,
            digest: Some(digest),
            path: self.relative(path),
            members: finding.place.members.clone(),
            stream: finding.place.stream,
            offset: finding.place.offset,
            expression: finding.expression.clone(),
            reason: writing.reason.clone(),
            expires: writing.expires.unwrap_or_else(default),
        };
        self.added.push(entry.clone());
        self.admit(entry.clone());
        Some(entry)
    }

    /// The path as the baseline calls it: from its own folder on.
    fn relative(&self, path: &Path) -> String {
        let real = document::real(path);
        for (up, folder) in self.folder.ancestors().enumerate() {
            if let Ok(below) = real.strip_prefix(folder) {
                let below = PathText::from(below);
                return format!("{}{}", "../".repeat(up), below.as_str());
            }
        }
        PathText::from(real.as_path()).as_str().to_owned()
    }

    /// Writes what was added.
    pub(super) fn finish(self, notices: &mut Vec<Notice>) -> Result<(), DocumentError> {
        let Some(writing) = self.writing else {
            return Ok(());
        };
        let mut tell = |text| {
            notices.push(Notice {
                about: "baseline",
                text,
            });
        };
        if self.unnamed > 0 {
            let count = self.unnamed;
            tell(format!(
                "{count} not accepted: their bytes could not be read to the end, so that nothing names them"
            ));
        }
        let mut text = self.text;
        if text.is_empty() {
            text = format!("schema = \"{}\"\n", SHAPE.schema);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        for entry in &self.added {
            let entry = toml::to_string(entry).map_err(|error| DocumentError::Write {
                path: writing.path.clone(),
                why: std::io::Error::other(error),
            })?;
            text.push_str(&format!("\n[[accept]]\n{entry}"));
        }
        document::write(&writing.path, &text)?;
        let (count, path) = (self.added.len(), writing.path.display());
        tell(format!("{count} accepted in {path}"));
        Ok(())
    }
}

/// The digest of the innermost part that holds a finding.
fn part(finding: &Finding, examined: &Examination) -> Option<Digest> {
    let at = &finding.place;
    let holds = examined
        .parts
        .iter()
        .filter(|part| part.place.members == at.members);
    let mut holds =
        holds.filter(|part| part.place.stream.is_none() || part.place.stream == at.stream);
    holds.find_map(|part| part.digest)
}

/// The digest of a whole file, read when it is asked for and not before.
struct Whole<'a> {
    path: &'a Path,
    known: Option<Digest>,
    read: bool,
}

impl<'a> Whole<'a> {
    fn new(path: &'a Path, examined: &Examination) -> Self {
        Self {
            path,
            known: examined.digest,
            read: false,
        }
    }

    fn digest(&mut self) -> Option<Digest> {
        if self.known.is_none() && !std::mem::replace(&mut self.read, true) {
            self.known = document::digest_of(self.path).ok();
        }
        self.known
    }
}

#[cfg(test)]
mod tests {
    use domain::scan::Part;

    use super::*;

    fn examined(weight: Weight, bytes: &[u8]) -> Examination {
        let place = Place {
            members: vec!["data.pkl".to_owned()],
            ..Place::default()
        };
        Examination {
            findings: vec![Finding {
                rule: Rule::UnknownCall,
                weight,
                place: Place {
                    offset: Some(7),
                    ..place.clone()
                },
                expression: "mine.load('x')".to_owned(),
                why: String::new(),
            }],
            parts: vec![Part {
                place,
                format: "pickle".to_owned(),
                size: 1,
                digest: Some(Digest::of(bytes)),
            }],
            ..Examination::default()
        }
    }

    fn baseline(folder: &Path, text: &str) -> Result<Baseline, DocumentError> {
        let path = folder.join("baseline.toml");
        let text = format!("schema = \"taintline.baseline/1\"\n{text}");
        std::fs::write(&path, text).unwrap();
        Baseline::read(&path, &[], None)
    }

    fn entry(rest: &str) -> String {
        format!(
            "[[accept]]\nrule = \"unknown-call\"\npath = \"models/a.pt\"\nmembers = [\"data.pkl\"]\n{rest}\n"
        )
    }

    #[test]
    fn what_is_accepted_holds_for_these_bytes_at_this_place_until_its_day() {
        let folder = tempfile::tempdir().unwrap();
        let of = |expires: &str| {
            let digest = Digest::of(b"seen");
            let text = entry(&format!(
                "digest = \"{digest}\"\noffset = 7\nreason = \"ours\"\nexpires = \"{expires}\""
            ));
            baseline(folder.path(), &text).unwrap()
        };
        let path = folder.path().join("models/a.pt");
        let mut valid = of("2999-01-01");
        let seen = valid.accept(&path, &examined(Weight::Dangerous, b"seen"));
        assert!(!seen[0].expired && seen[0].reason == "ours");
        let other = valid.accept(&path, &examined(Weight::Dangerous, b"other"));
        assert_eq!(other, []);
        let over = of("2020-01-01").accept(&path, &examined(Weight::Unknown, b"seen"));
        assert!(over[0].expired);
    }

    #[test]
    fn by_path_alone_nothing_dangerous_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            entry("expression = \"mine.load('x')\"\nreason = \"ours\"\nexpires = \"2999-01-01\"");
        let mut baseline = baseline(folder.path(), &text).unwrap();
        let path = folder.path().join("models/a.pt");
        let mut accepts = |path: &Path, weight| {
            let accepted = baseline.accept(path, &examined(weight, b"any"));
            !accepted.is_empty()
        };
        assert!(accepts(&path, Weight::Unknown));
        assert!(!accepts(&path, Weight::Dangerous));
        assert!(!accepts(
            &folder.path().join("models/b.pt"),
            Weight::Unknown
        ));
    }

    #[test]
    fn an_entry_without_reason_or_day_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"x");
        for rest in [
            format!("digest = \"{digest}\"\nreason = \" \"\nexpires = \"2999-01-01\""),
            format!("digest = \"{digest}\"\nexpires = \"2999-01-01\""),
            format!("digest = \"{digest}\"\nreason = \"ours\""),
            "reason = \"ours\"\nexpires = \"2999-01-01\"".to_owned(),
            format!(
                "digest = \"{digest}\"\nreason = \"ours\"\nexpires = \"2999-01-01\"\nrules = 1"
            ),
        ] {
            assert!(baseline(folder.path(), &entry(&rest)).is_err(), "{rest}");
        }
    }

    #[test]
    fn what_was_written_is_accepted_when_it_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.toml");
        let writing = Writing {
            path: path.clone(),
            reason: "looked at by two".to_owned(),
            expires: None,
        };
        let file = folder.path().join("a.pt");
        let found = examined(Weight::Dangerous, b"seen");
        let mut first = Baseline::read(&path, &[], Some(&writing)).unwrap();
        assert_eq!(first.accept(&file, &found).len(), 1);
        first.finish(&mut Vec::new()).unwrap();
        let mut again = Baseline::read(&path, &[], None).unwrap();
        let accepted = again.accept(&file, &found);
        assert!(!accepted[0].expired && accepted[0].reason == "looked at by two");
    }

    #[test]
    fn a_baseline_in_what_is_scanned_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.toml");
        std::fs::write(&path, "schema = \"taintline.baseline/1\"\n").unwrap();
        let scanned = [folder.path().to_owned()];
        let refused = Baseline::read(&path, &scanned, None);
        assert!(matches!(refused, Err(DocumentError::Inside { .. })));
    }
}
