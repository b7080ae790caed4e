//! Which byte code stands for which source, by the names that the import system looks for.
//!
//! `__pycache__/x.TAG.pyc` stands for `x.py` beside the folder; of another tag, or without that source, it is never imported.
//! `x.pyc` in the place of a source is imported where neither a package, an extension module nor a source of that name is
//! beside it. With `PYTHONPYCACHEPREFIX` none of the former counts, only what lies in a tree of its own.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use domain::{Digest, Node, PathText};

use crate::packages::has_suffix;
use crate::snapshot::Snapshot;

/// How an interpreter names its byte code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// `sys.implementation.cache_tag`, such as `cpython-311`.
    pub tag: String,
    /// Endings of extension modules, such as `.cpython-311-x86_64-linux-gnu.so` and `.so`.
    pub extensions: Vec<String>,
    /// `sys.pycache_prefix`, absolute.
    pub prefix: Option<PathBuf>,
}

impl Naming {
    /// Where byte code of a source is looked for, whether it is there or not; nothing where the path has no folder.
    pub fn of_source(&self, source: &Path) -> Vec<(PathBuf, Level)> {
        let levels = [Level::Plain, Level::One, Level::Two].into_iter();
        levels
            .filter_map(|level| {
                let at = if let Some(prefix) = &self.prefix {
                    under(prefix, source, &self.tag, level)?
                } else {
                    let folder = source.parent()?.join("__pycache__");
                    folder.join(file_name(source, &self.tag, level)?)
                };
                Some((at, level))
            })
            .collect()
    }
}

/// How much was left out in compiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing.
    Plain,
    /// Assertions (`-O`).
    One,
    /// Assertions and documentation (`-OO`).
    Two,
}

impl Level {
    /// As the interpreter counts.
    pub fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::One => 1,
            Self::Two => 2,
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::One => ".opt-1",
            Self::Two => ".opt-2",
        }
    }
}

/// Byte code and the source that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Logical name of the byte code, or its path where it lies below a prefix.
    pub compiled: PathText,
    /// Where it is.
    pub compiled_at: PathBuf,
    /// Its digest, where it was listed with one.
    pub compiled_digest: Option<Digest>,
    /// Logical name of the source.
    pub source: PathText,
    /// Where that is.
    pub source_at: PathBuf,
    /// Its digest, where it was listed with one.
    pub source_digest: Option<Digest>,
    /// How much was left out.
    pub level: Level,
}

/// Byte code that is imported without any source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourceless {
    /// Its logical name.
    pub compiled: PathText,
    /// Its digest.
    pub digest: Digest,
}

/// The byte code that an interpreter could use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usable {
    /// With its source.
    pub pairs: Vec<Pair>,
    /// Without one.
    pub sourceless: Vec<Sourceless>,
    /// Byte code of this interpreter that could not be read, or whose source could not.
    pub unread: Vec<PathText>,
}

/// The byte code of a snapshot that an interpreter with this naming could use, by name. Below a prefix, a pair for every
/// source: whether there is byte code is for the caller to see.
pub fn pairs(snapshot: &Snapshot, naming: &Naming) -> Usable {
    let places: HashMap<&str, &Path> = snapshot
        .places
        .iter()
        .map(|place| (place.name.as_str(), place.path.as_path()))
        .collect();
    let at = |name: &PathText| located(&places, name);
    let mut usable = Usable::default();
    if naming.prefix.is_some() {
        below_prefix(snapshot, naming, &at, &mut usable);
    } else {
        beside_sources(snapshot, naming, &at, &mut usable);
    }
    for (name, node) in &snapshot.flat {
        if is_sourceless(name.as_str(), &snapshot.flat, naming) {
            match node {
                Node::File { digest, .. } => usable.sourceless.push(Sourceless {
                    compiled: name.clone(),
                    digest: *digest,
                }),
                _ => usable.unread.push(name.clone()),
            }
        }
    }
    usable
}

/// The path of a logical name on this machine.
fn located(places: &HashMap<&str, &Path>, name: &PathText) -> Option<PathBuf> {
    let (root, _) = name.as_str().split_once('/')?;
    let bytes = name.to_bytes();
    let below = bytes.get(root.len() + 1..)?;
    Some(places.get(root)?.join(OsStr::from_bytes(below)))
}

fn beside_sources(
    snapshot: &Snapshot,
    naming: &Naming,
    at: &dyn Fn(&PathText) -> Option<PathBuf>,
    usable: &mut Usable,
) {
    for (name, node) in &snapshot.compiled_flat {
        let Some((source, level)) = source_of(name.as_str(), &naming.tag) else {
            continue;
        };
        let source = PathText::from_text(&source);
        let (compiled_digest, source_digest) = match (node, snapshot.flat.get(&source)) {
            (_, None) => continue,
            (Node::File { digest, .. }, Some(Node::File { digest: source, .. })) => {
                (*digest, *source)
            }
            _ => {
                usable.unread.push(name.clone());
                continue;
            }
        };
        if let Some((compiled_at, source_at)) = at(name).zip(at(&source)) {
            usable.pairs.push(Pair {
                compiled: name.clone(),
                compiled_at,
                compiled_digest: Some(compiled_digest),
                source,
                source_at,
                source_digest: Some(source_digest),
                level,
            });
        }
    }
}

fn below_prefix(
    snapshot: &Snapshot,
    naming: &Naming,
    at: &dyn Fn(&PathText) -> Option<PathBuf>,
    usable: &mut Usable,
) {
    for (source, node) in &snapshot.flat {
        let Node::File { digest, .. } = node else {
            continue;
        };
        let Some(source_at) = at(source).filter(|_| has_suffix(source.file_name(), ".py")) else {
            continue;
        };
        for (compiled_at, level) in naming.of_source(&source_at) {
            if compiled_at.symlink_metadata().is_err() {
                continue;
            }
            usable.pairs.push(Pair {
                compiled: PathText::from(compiled_at.as_path()),
                compiled_at,
                compiled_digest: None,
                source: source.clone(),
                source_at: source_at.clone(),
                source_digest: Some(*digest),
                level,
            });
        }
    }
}

/// `/a/x.py` below a prefix: `PREFIX/a/x.TAG.pyc`.
fn under(prefix: &Path, source: &Path, tag: &str, level: Level) -> Option<PathBuf> {
    let folder = source.parent()?.strip_prefix("/").ok()?;
    Some(prefix.join(folder).join(file_name(source, tag, level)?))
}

fn file_name(source: &Path, tag: &str, level: Level) -> Option<OsString> {
    let mut name = source.file_stem()?.to_owned();
    name.push(format!(".{tag}{}.pyc", level.ending()));
    Some(name)
}

/// The source that byte code of this tag stands for, both as encoded logical names.
fn source_of(compiled: &str, tag: &str) -> Option<(String, Level)> {
    let (folder, name) = compiled.rsplit_once('/')?;
    let parent = folder.strip_suffix("__pycache__")?;
    let stem = name.strip_suffix(".pyc")?;
    let (stem, level) = [Level::One, Level::Two]
        .into_iter()
        .find_map(|level| Some((stem.strip_suffix(level.ending())?, level)))
        .unwrap_or((stem, Level::Plain));
    let module = stem.strip_suffix(tag)?.strip_suffix('.')?;
    Some((format!("{parent}{module}.py"), level))
}

/// Whether the import system would take the file for a module although there is no source.
fn is_sourceless(name: &str, flat: &BTreeMap<PathText, Node>, naming: &Naming) -> bool {
    let Some(stem) = name.strip_suffix(".pyc") else {
        return false;
    };
    let (folder, module) = stem.rsplit_once('/').unwrap_or(("", stem));
    if module.is_empty() || module.contains('.') || folder.ends_with("__pycache__") {
        return false;
    }
    let there = |name: String| flat.contains_key(&PathText::from_text(&name));
    let package = ["/__init__.py", "/__init__.pyc"]
        .into_iter()
        .any(|ending| there(format!("{stem}{ending}")));
    let extension = naming
        .extensions
        .iter()
        .any(|ending| there(format!("{stem}{ending}")));
    !(package || extension || there(format!("{stem}.py")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_stands_for_the_source_beside_its_folder_and_only_of_its_own_tag() {
        let of = |name: &str| source_of(name, "cpython-311");
        assert_eq!(
            of("p/t/__pycache__/a.cpython-311.pyc"),
            Some(("p/t/a.py".to_owned(), Level::Plain))
        );
        assert_eq!(
            of("p/__pycache__/a.cpython-311.opt-2.pyc"),
            Some(("p/a.py".to_owned(), Level::Two))
        );
        for no in [
            "p/__pycache__/a.cpython-312.pyc",
            "p/__pycache__/a.cpython-311.opt-3.pyc",
            "p/__pycache__/a.cpython-311-pytest-8.0.0.pyc",
            "p/a.pyc",
            "p/__pycache__/a.cpython-311.pyc.1234",
        ] {
            assert_eq!(of(no), None, "{no}");
        }
    }

    #[test]
    fn byte_code_in_the_place_of_a_source_counts_where_nothing_goes_before_it() {
        let node = Node::Link {
            target: PathText::default(),
        };
        let flat = |names: &[&str]| -> BTreeMap<PathText, Node> {
            let text = |name: &&str| PathText::from_bytes(name.as_bytes());
            names
                .iter()
                .map(|name| (text(name), node.clone()))
                .collect()
        };
        let naming = Naming {
            tag: "cpython-311".to_owned(),
            extensions: vec![".so".to_owned()],
            prefix: None,
        };
        let is = |others: &[&str]| is_sourceless("p/a.pyc", &flat(others), &naming);
        assert!(is(&["p/a.pyc"]));
        for other in ["p/a.py", "p/a.so", "p/a/__init__.py"] {
            assert!(!is(&["p/a.pyc", other]), "{other}");
        }
        assert!(!is_sourceless("p/a.b.pyc", &flat(&[]), &naming));
    }

    #[test]
    fn below_a_prefix_the_whole_path_of_the_source_is_kept() {
        assert_eq!(
            under(Path::new("/pre"), Path::new("/a/b/x.py"), "t", Level::One),
            Some(PathBuf::from("/pre/a/b/x.t.opt-1.pyc"))
        );
    }
}
