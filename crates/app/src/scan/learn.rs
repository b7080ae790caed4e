//! Learning a policy: which classes and functions of its own a project's checkpoints need.
//!
//! Learning is trusting, so little can be learnt. A file with something dangerous in it teaches nothing at all: whoever
//! wrote that wrote the rest of it too. A function that would be called is learnt only where its source is given and
//! defines it, since its name alone says nothing about what it does; a name that a module merely imported is not its own.
//! What was refused is told with the reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use domain::scan::{Role, Weight};
use domain::{Digest, PathText};
use report::scan::{FileReport, Notice};

use super::document::{self, DocumentError};
use super::policy::{Admission, SHAPE};

/// Names that are learnt.
const NAMES: usize = 10_000;
/// Bytes of one source.
const SOURCE_BYTES: u64 = 16 << 20;

/// Learning a policy.
#[derive(Debug, Clone)]
pub struct Learning {
    /// Where to write it.
    pub path: PathBuf,
    /// Folders in which modules lie, as on `sys.path`; or scripts that ran as `__main__`.
    pub sources: Vec<PathBuf>,
}

/// Who learns.
pub(super) struct Pupil {
    learning: Learning,
    needs: BTreeMap<(String, String), Needed>,
    refused: Vec<String>,
    left_out: u64,
}

#[derive(Default)]
struct Needed {
    roles: BTreeSet<Role>,
    weight: Option<Weight>,
}

impl Pupil {
    /// Fails before anything is scanned where the policy could not be written.
    pub(super) fn new(learning: &Learning, scanned: &[PathBuf]) -> Result<Self, DocumentError> {
        SHAPE.keep_outside(&learning.path, scanned)?;
        if learning.path.symlink_metadata().is_ok() {
            return Err(DocumentError::Exists {
                path: learning.path.clone(),
            });
        }
        for source in &learning.sources {
            std::fs::metadata(source).map_err(|why| DocumentError::Source {
                path: source.clone(),
                why,
            })?;
        }
        Ok(Self {
            learning: learning.clone(),
            needs: BTreeMap::new(),
            refused: Vec::new(),
            left_out: 0,
        })
    }

    /// Learns from one file.
    pub(super) fn take(&mut self, file: &FileReport) {
        let done = &file.examination;
        if done.weight() == Some(Weight::Dangerous) {
            self.refused.push(format!(
                "nothing was learnt from {}: it holds something dangerous",
                file.path
            ));
            return;
        }
        for need in &done.needs {
            let Some(weight) = need.weight.filter(|weight| *weight > Weight::Note) else {
                continue;
            };
            let key = (need.module.clone(), need.name.clone());
            if self.needs.len() >= NAMES && !self.needs.contains_key(&key) {
                self.left_out += 1;
                continue;
            }
            let needed = self.needs.entry(key).or_default();
            needed.roles.insert(need.role);
            needed.weight = needed.weight.max(Some(weight));
        }
    }

    /// Writes the policy and tells what was refused.
    pub(super) fn finish(mut self, notices: &mut Vec<Notice>) -> Result<(), DocumentError> {
        let mut sources = Sources::new(&self.learning);
        let mut text = format!("schema = \"{}\"\n", SHAPE.schema);
        let mut learnt = 0;
        for ((module, name), needed) in &self.needs {
            match admit(&mut sources, module, name, needed) {
                Ok(admission) => {
                    let table =
                        toml::to_string(&admission).map_err(|error| DocumentError::Write {
                            path: self.learning.path.clone(),
                            why: std::io::Error::other(error),
                        })?;
                    let _ = write!(text, "\n[[admit]]\n{table}");
                    learnt += 1;
                }
                Err(why) => self
                    .refused
                    .push(format!("{module}.{name} was not learnt: {why}")),
            }
        }
        document::write(&self.learning.path, &text)?;
        let mut tell = |text| {
            notices.push(Notice {
                about: "learn",
                text,
            });
        };
        self.refused.into_iter().for_each(&mut tell);
        if self.left_out > 0 {
            tell(format!(
                "more than {NAMES} names: {} left out",
                self.left_out
            ));
        }
        let path = self.learning.path.display();
        tell(format!(
            "{learnt} names in {path}: read it before you use it with --policy"
        ));
        Ok(())
    }
}

fn admit(
    sources: &mut Sources,
    module: &str,
    name: &str,
    needed: &Needed,
) -> Result<Admission, &'static str> {
    if needed.weight >= Some(Weight::Dangerous) {
        return Err("it is dangerous");
    }
    let source = sources.find(module);
    match source {
        Some(source) if !source.defines(name) => {
            return Err("the source of its module does not define it");
        }
        None if needed.roles.contains(&Role::Call) || needed.weight == Some(Weight::Unknown) => {
            return Err("it would be called, and --source does not lead to its code");
        }
        _ => {}
    }
    Ok(Admission {
        module: module.to_owned(),
        name: name.to_owned(),
        roles: needed.roles.iter().copied().collect(),
        source: source.map(|source| source.path.clone()),
        digest: source.map(|source| source.digest),
    })
}

/// The sources that `--source` leads to.
struct Sources {
    folder: PathBuf,
    roots: Vec<PathBuf>,
    read: HashMap<String, Option<Source>>,
}

struct Source {
    path: String,
    digest: Digest,
    text: String,
}

impl Sources {
    fn new(learning: &Learning) -> Self {
        let policy = document::real(&learning.path);
        Self {
            folder: policy.parent().unwrap_or(Path::new("/")).to_owned(),
            roots: learning.sources.clone(),
            read: HashMap::new(),
        }
    }

    fn find(&mut self, module: &str) -> Option<&Source> {
        let (roots, folder) = (&self.roots, &self.folder);
        let entry = self.read.entry(module.to_owned());
        let found = entry.or_insert_with(|| {
            let candidates = roots.iter().flat_map(|root| candidates(root, module));
            candidates
                .into_iter()
                .find_map(|path| Source::read(&path, folder))
        });
        found.as_ref()
    }
}

/// Where the source of a module may lie, as Python looks for it.
fn candidates(root: &Path, module: &str) -> Vec<PathBuf> {
    if root.is_file() {
        let own = root.file_stem().and_then(|stem| stem.to_str()) == Some(module);
        let fits = own || module == "__main__";
        return if fits {
            vec![root.to_owned()]
        } else {
            Vec::new()
        };
    }
    let plain =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !module.split('.').all(plain) {
        return Vec::new();
    }
    let base = module
        .split('.')
        .fold(root.to_owned(), |path, part| path.join(part));
    vec![base.join("__init__.py"), base.with_extension("py")]
}

impl Source {
    fn read(path: &Path, folder: &Path) -> Option<Self> {
        let known = std::fs::metadata(path).ok()?;
        if !known.is_file() || known.len() > SOURCE_BYTES {
            return None;
        }
        let bytes = std::fs::read(path).ok()?;
        let real = path.canonicalize().ok()?;
        let shown = match real.strip_prefix(folder) {
            Ok(below) => PathText::from(below),
            Err(_) => PathText::from(real.as_path()),
        };
        Some(Self {
            path: shown.as_str().to_owned(),
            digest: Digest::of(&bytes),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// Whether the source defines every part of a dotted name by itself. What it imports from elsewhere is not its own.
    fn defines(&self, name: &str) -> bool {
        name.split('.')
            .all(|part| part == "<locals>" || self.text.lines().any(|line| defines(line, part)))
    }
}

/// Whether a line of Python is the beginning of the definition of `name`.
fn defines(line: &str, name: &str) -> bool {
    let code = line.trim_start();
    let code = code.strip_prefix("async ").unwrap_or(code).trim_start();
    let defined = ["class ", "def "]
        .iter()
        .find_map(|word| code.strip_prefix(word));
    if let Some(defined) = defined {
        let rest = defined.trim_start().strip_prefix(name);
        return rest
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
    }
    // A class that is made by a call at the top of the module.
    let made = line
        .split_once('=')
        .filter(|(left, _)| left.trim_end() == name);
    let makers = [
        "namedtuple(",
        "collections.namedtuple(",
        "NamedTuple(",
        "typing.NamedTuple(",
        "Enum(",
        "IntEnum(",
        "enum.Enum(",
        "enum.IntEnum(",
        "make_dataclass(",
        "dataclasses.make_dataclass(",
    ];
    made.is_some_and(|(_, right)| {
        makers
            .iter()
            .any(|maker| right.trim_start().starts_with(maker))
    })
}

#[cfg(test)]
mod tests {
    use domain::scan::{Examination, Finding, Need, Place, Rule};
    use report::scan::Verdict;

    use super::*;

    const SOURCE: &str = "from os import system\nimport subprocess\n\nPoint = namedtuple('Point', 'x y')\nrun = subprocess.run\n\nclass Config(Base):\n    class Inner:\n        pass\n\ndef rebuild(a):\n    return a\n";

    fn file(needs: &[(&str, &str, Role, Weight)], worst: Weight) -> FileReport {
        let needs = needs.iter().map(|(module, name, role, weight)| Need {
            module: (*module).to_owned(),
            name: (*name).to_owned(),
            role: *role,
            weight: Some(*weight),
        });
        FileReport {
            path: PathText::from_text("a.pt"),
            named: true,
            verdict: Verdict::Custom,
            examination: Examination {
                needs: needs.collect(),
                findings: vec![Finding {
                    rule: Rule::CustomClass,
                    weight: worst,
                    place: Place::default(),
                    expression: String::new(),
                    why: String::new(),
                }],
                ..Examination::default()
            },
            accepted: Vec::new(),
            listings: Vec::new(),
            as_in: None,
        }
    }

    /// What is learnt from `files` with the source at hand or not, and what is told.
    fn learn(files: &[FileReport], with_source: bool) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("src/mine")).unwrap();
        std::fs::write(folder.path().join("src/mine/model.py"), SOURCE).unwrap();
        let source = with_source.then(|| folder.path().join("src"));
        let sources = source.into_iter().collect();
        let path = folder.path().join("policy.toml");
        let learning = Learning {
            path: path.clone(),
            sources,
        };
        let mut pupil = Pupil::new(&learning, &[]).unwrap();
        for file in files {
            pupil.take(file);
        }
        let mut notices = Vec::new();
        pupil.finish(&mut notices).unwrap();
        let told: Vec<_> = notices.into_iter().map(|notice| notice.text).collect();
        (std::fs::read_to_string(path).unwrap(), told.join("\n"))
    }

    #[test]
    fn a_class_is_learnt_with_its_source_and_a_borrowed_function_is_not() {
        use Role::{Call, Construct};
        use Weight::{Custom, Unknown};
        let file = file(
            &[
                ("mine.model", "Config", Construct, Custom),
                ("mine.model", "Config.Inner", Construct, Custom),
                ("mine.model", "Point", Construct, Custom),
                ("mine.model", "rebuild", Call, Unknown),
                ("mine.model", "system", Call, Unknown),
                ("mine.model", "run", Call, Unknown),
                ("mine.model", "subprocess.run", Call, Unknown),
                ("other", "thing", Call, Unknown),
                ("other", "Thing", Construct, Custom),
            ],
            Unknown,
        );
        let (text, told) = learn(std::slice::from_ref(&file), true);
        let learnt: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("name"))
            .collect();
        assert_eq!(
            learnt,
            [
                "name = \"Config\"",
                "name = \"Config.Inner\"",
                "name = \"Point\"",
                "name = \"rebuild\"",
                "name = \"Thing\"",
            ]
        );
        assert!(text.contains(&Digest::of(SOURCE.as_bytes()).to_string()));
        assert!(told.contains("mine.model.system was not learnt"), "{told}");
        let (text, told) = learn(&[file], false);
        assert!(text.contains("Config") && !text.contains("rebuild"));
        assert!(told.contains("mine.model.rebuild was not learnt"), "{told}");
    }

    #[test]
    fn a_file_with_something_dangerous_teaches_nothing() {
        let needs = [("mine.model", "Config", Role::Construct, Weight::Custom)];
        let (text, told) = learn(&[file(&needs, Weight::Dangerous)], true);
        assert!(!text.contains("Config"), "{text}");
        assert!(told.contains("a.pt"), "{told}");
    }

    #[test]
    fn a_policy_that_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, "mine").unwrap();
        let learning = Learning {
            path: path.clone(),
            sources: Vec::new(),
        };
        assert!(Pupil::new(&learning, &[]).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
    }

    #[test]
    fn module_names_lead_nowhere_but_below_the_source() {
        let root = Path::new("/src");
        assert!(candidates(root, "../etc").is_empty());
        assert!(candidates(root, "a..b").is_empty());
        assert_eq!(candidates(root, "a.b").len(), 2);
    }
}
