//! What is installed, by the papers that installers leave: `*.dist-info`, `*.egg-info`, and `.pth` files.
//!
//! Papers are read after they were hashed, and only believed if they still have that digest: what a package is called and
//! what the tree says are then statements about the same bytes. The address that a package was fetched from is not kept,
//! for it may hold a token; which kind of source it was is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::{Digest, Node, PathText};
use serde::{Deserialize, Serialize};

use crate::file::{BUFFER, read_small};
use crate::gap::Gap;

/// The most packages that one environment can have.
pub const MAX_PACKAGES: usize = 20_000;

/// The most bytes of one paper; a larger one is not believed.
pub const MAX_PAPER_BYTES: u64 = 64 * 1024 * 1024;

/// The most bytes of all papers of an environment together.
pub const MAX_ALL_PAPERS_BYTES: u64 = 512 * 1024 * 1024;

/// The most characters of a name, version or installer.
const MAX_WORD: usize = 200;

/// One installed distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name as its metadata spells it.
    pub name: String,
    /// Its version as its metadata spells it.
    pub version: String,
    /// The root that it is installed in.
    pub root: String,
    /// Its folder (or file) of papers, such as `purelib/torch-2.8.0.dist-info`.
    pub papers: PathText,
    /// Which program says that it installed it.
    pub installer: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// What kind of source a package was installed from, by its `direct_url.json` (PEP 610).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// From an index, by name: no `direct_url.json`.
    Index,
    /// From one archive.
    Archive,
    /// From a folder, copied.
    Folder,
    /// From a folder, in place: its code lies elsewhere and changes without any installer.
    Editable,
    /// From version control.
    Vcs {
        /// The commit.
        commit: String,
    },
    /// From something that its paper does not say in the standard's way.
    Unknown,
}

impl Package {
    /// The name in the form in which names are compared (PEP 503).
    pub fn normalized(&self) -> String {
        normalized(&self.name)
    }
}

/// A name in the form in which names are compared (PEP 503).
pub(crate) fn normalized(spelled: &str) -> String {
    let mut name = String::with_capacity(spelled.len());
    for character in spelled.chars() {
        if matches!(character, '-' | '_' | '.') {
            if !name.ends_with('-') {
                name.push('-');
            }
        } else {
            name.extend(character.to_lowercase());
        }
    }
    name
}

/// A `.pth` file at the top of a site folder: read by every start of the interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathHook {
    /// The file.
    pub path: PathText,
    /// How many of its lines are run as code rather than added to the search path.
    pub code_lines: u64,
    /// How many lines name a folder.
    pub path_lines: u64,
    /// The one module that it imports, where it does nothing else.
    pub only_imports: Option<String>,
}

/// What a package says that it owns.
#[derive(Debug, Clone)]
pub(crate) enum Claims {
    /// The bytes of a RECORD.
    Record(Vec<u8>),
    /// The bytes of an `installed-files.txt`: names relative to the folder of papers, no digests.
    InstalledFiles(Vec<u8>),
    /// The bytes of a `top_level.txt`: whole modules.
    TopLevel(Vec<u8>),
    None,
}

impl Claims {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Record(bytes) | Self::InstalledFiles(bytes) | Self::TopLevel(bytes) => bytes,
            Self::None => &[],
        }
    }
}

#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) packages: Vec<Package>,
    pub(crate) claims: Vec<Claims>,
    pub(crate) hooks: Vec<PathHook>,
}

const PAPERS: [&str; 7] = [
    "METADATA",
    "PKG-INFO",
    "RECORD",
    "INSTALLER",
    "direct_url.json",
    "installed-files.txt",
    "top_level.txt",
];

/// Whether the file is one of those that [`collect`] reads.
pub(crate) fn is_paper(path: &str) -> bool {
    let mut parts = path.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(name), None, None) => {
            has_suffix(name, ".pth") || has_suffix(name, ".egg-info")
        }
        (Some(_), Some(folder), Some(name), None) => {
            is_papers_folder(folder) && PAPERS.contains(&name)
        }
        _ => false,
    }
}

/// Whether this is the name of a folder of papers.
pub(crate) fn is_papers_folder(name: &str) -> bool {
    has_suffix(name, ".dist-info") || has_suffix(name, ".egg-info")
}

/// Whether a file name ends so and has a stem; the interpreter compares letter by letter too.
pub(crate) fn has_suffix(name: &str, suffix: &str) -> bool {
    name.len() > suffix.len() && name.ends_with(suffix)
}

/// Reads the papers. One that is no longer what was hashed becomes a gap in `flat`.
pub(crate) fn collect(
    papers: Vec<(PathText, PathBuf)>,
    flat: &mut BTreeMap<PathText, Node>,
) -> Collected {
    let mut folders: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    let mut hooks = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut left = MAX_ALL_PAPERS_BYTES;
    for (path, place) in papers {
        let Some(Node::File { digest, size, .. }) = flat.get(&path) else {
            continue;
        };
        if *size > MAX_PAPER_BYTES.min(left) {
            continue;
        }
        match read_small(&place, MAX_PAPER_BYTES.min(left), &mut buffer) {
            Ok(Some(bytes)) if Digest::of(&bytes) == *digest => {
                left -= bytes.len() as u64;
                if has_suffix(path.file_name(), ".pth") {
                    hooks.push(path_hook(path, &bytes));
                } else {
                    let (folder, name) = split_paper(path.as_str());
                    folders
                        .entry(folder.to_owned())
                        .or_default()
                        .insert(name.to_owned(), bytes);
                }
            }
            Ok(_) => {
                flat.insert(
                    path,
                    Node::Unread {
                        reason: Gap::Changed.to_string(),
                    },
                );
            }
            Err(gap) => {
                flat.insert(
                    path,
                    Node::Unread {
                        reason: gap.to_string(),
                    },
                );
            }
        }
    }
    hooks.sort_by(|one, other| one.path.cmp(&other.path));
    let mut collected = Collected {
        hooks,
        ..Collected::default()
    };
    for (folder, mut files) in folders.into_iter().take(MAX_PACKAGES) {
        collected.packages.push(package(&folder, &files));
        let mut take = |name| files.remove(name);
        let record = take("RECORD").map(Claims::Record);
        let installed = || take("installed-files.txt").map(Claims::InstalledFiles);
        let claims = record.or_else(installed);
        let claims = claims.or_else(|| files.remove("top_level.txt").map(Claims::TopLevel));
        collected.claims.push(claims.unwrap_or(Claims::None));
    }
    collected
}

/// `purelib/x.dist-info/METADATA` to folder and name; an `x.egg-info` that is a file is its own `PKG-INFO`.
fn split_paper(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some((folder, name)) if PAPERS.contains(&name) => (folder, name),
        _ => (path, "PKG-INFO"),
    }
}

fn package(folder: &str, files: &BTreeMap<String, Vec<u8>>) -> Package {
    let (root, leaf) = folder.split_once('/').unwrap_or(("", folder));
    let stem = leaf
        .strip_suffix(".dist-info")
        .or_else(|| leaf.strip_suffix(".egg-info"))
        .unwrap_or(leaf);
    let mut of_name = stem.splitn(3, '-');
    let (name, version) = (
        of_name.next().unwrap_or(stem),
        of_name.next().unwrap_or("unknown"),
    );
    let metadata = files
        .get("METADATA")
        .or_else(|| files.get("PKG-INFO"))
        .map(Vec::as_slice)
        .unwrap_or_default();
    let header = |key: &str| header(metadata, key);
    Package {
        name: header("name").unwrap_or_else(|| word(name.as_bytes())),
        version: header("version").unwrap_or_else(|| word(version.as_bytes())),
        root: root.to_owned(),
        papers: PathText::from_bytes(&as_bytes(folder)),
        installer: files
            .get("INSTALLER")
            .map(|bytes| word(bytes))
            .filter(|name| !name.is_empty()),
        origin: files
            .get("direct_url.json")
            .map_or(Origin::Index, |bytes| origin(bytes)),
    }
}

/// The bytes of a path that is already encoded text.
fn as_bytes(encoded: &str) -> Vec<u8> {
    use serde::de::IntoDeserializer as _;
    let plain: Result<PathText, serde::de::value::Error> =
        PathText::deserialize(encoded.into_deserializer());
    plain.unwrap_or_default().to_bytes()
}

/// A header of core metadata: `Key: value` lines up to the first empty one.
fn header(metadata: &[u8], key: &str) -> Option<String> {
    let lines = metadata
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.trim_ascii().is_empty());
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(key.as_bytes()) {
            return Some(word(value.get(1..).unwrap_or_default()))
                .filter(|value| !value.is_empty());
        }
    }
    None
}

/// A short word from a hostile paper: one line, bounded, no control characters.
fn word(bytes: &[u8]) -> String {
    let line = bytes
        .trim_ascii()
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let text = String::from_utf8_lossy(line.get(..MAX_WORD * 4).unwrap_or(line));
    text.chars()
        .filter(|character| !character.is_control())
        .take(MAX_WORD)
        .collect()
}

fn origin(bytes: &[u8]) -> Origin {
    #[derive(Deserialize)]
    struct DirectUrl {
        #[serde(rename = "dir_info")]
        folder: Option<DirInfo>,
        #[serde(rename = "vcs_info")]
        vcs: Option<VcsInfo>,
        #[serde(rename = "archive_info")]
        archive: Option<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct DirInfo {
        #[serde(default)]
        editable: bool,
    }
    #[derive(Deserialize)]
    struct VcsInfo {
        commit_id: String,
    }
    let Ok(url) = serde_json::from_slice::<DirectUrl>(bytes) else {
        return Origin::Unknown;
    };
    match (url.folder, url.vcs, url.archive) {
        (Some(DirInfo { editable: true }), ..) => Origin::Editable,
        (Some(_), ..) => Origin::Folder,
        (_, Some(vcs), _) => Origin::Vcs {
            commit: word(vcs.commit_id.as_bytes()),
        },
        (_, _, Some(_)) => Origin::Archive,
        _ => Origin::Unknown,
    }
}

/// Lines that old setuptools wrote around the list of `easy-install.pth`; they only reorder the search path.
const HARMLESS: [&str; 2] = [
    "import sys; sys.__plen = len(sys.path)",
    "import sys; new=sys.path[sys.__plen:]; del sys.path[sys.__plen:]; p=getattr(sys,'__egginsert',0); sys.path[p:p]=new; sys.__egginsert = p+len(new)",
];

/// Sorts the lines of a `.pth` as the interpreter's `site` module does: those that begin with `import` and a space or a
/// tab are run. Versions of Python differ in what ends a line, so everything that does in one of them does here.
fn path_hook(path: PathText, bytes: &[u8]) -> PathHook {
    let (mut code_lines, mut path_lines) = (0, 0);
    let mut imported = None;
    let text = String::from_utf8_lossy(bytes);
    let ends_line = |character| {
        matches!(
            character,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    for line in text.trim_start_matches('\u{feff}').split(ends_line) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with("import ") || line.starts_with("import\t") {
            code_lines += u64::from(!HARMLESS.contains(&line.trim_end()));
            let name = line.get("import ".len()..).unwrap_or_default().trim();
            let is_name = |one: char| one == '_' || one.is_ascii_alphanumeric();
            imported = Some(name)
                .filter(|name| !name.is_empty() && name.chars().all(is_name))
                .map(str::to_owned);
        } else {
            path_lines += 1;
        }
    }
    PathHook {
        path,
        code_lines,
        path_lines,
        only_imports: imported.filter(|_| code_lines == 1 && path_lines == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> PathText {
        PathText::from_bytes(path.as_bytes())
    }

    #[test]
    fn names_are_compared_in_one_form() {
        let files = BTreeMap::from([(
            "METADATA".to_owned(),
            b"Metadata-Version: 2.1\nName: Foo._-Bar\nVersion: 1.0\n\nVersion: 9".to_vec(),
        )]);
        let package = package("purelib/foo_bar-1.0.dist-info", &files);
        assert_eq!(
            (package.normalized().as_str(), package.version.as_str()),
            ("foo-bar", "1.0")
        );
    }

    #[test]
    fn without_metadata_the_folder_names_the_package() {
        let package = package("purelib/foo-2.0-py3.11.egg-info", &BTreeMap::new());
        assert_eq!(
            (
                package.name.as_str(),
                package.version.as_str(),
                package.root.as_str()
            ),
            ("foo", "2.0", "purelib")
        );
    }

    #[test]
    fn a_hostile_word_is_short_and_without_control_characters() {
        let long = [b"\x1b[31m".as_slice(), &[b'x'; 5000]].concat();
        assert_eq!(word(&long).len(), MAX_WORD);
        assert!(!word(&long).contains('\x1b'));
    }

    #[test]
    fn an_origin_never_holds_the_address() {
        let of = |json: &str| origin(json.as_bytes());
        let url = "\"url\": \"https://token@host.invalid/x\"";
        assert_eq!(
            of(&format!("{{{url}, \"dir_info\": {{\"editable\": true}}}}")),
            Origin::Editable
        );
        assert_eq!(
            of(&format!("{{{url}, \"dir_info\": {{}}}}")),
            Origin::Folder
        );
        assert_eq!(
            of(&format!("{{{url}, \"archive_info\": {{}}}}")),
            Origin::Archive
        );
        let vcs = of(&format!(
            "{{{url}, \"vcs_info\": {{\"vcs\": \"git\", \"commit_id\": \"abc\"}}}}"
        ));
        assert_eq!(
            vcs,
            Origin::Vcs {
                commit: "abc".to_owned()
            }
        );
        assert_eq!(of("[1"), Origin::Unknown);
    }

    #[test]
    fn lines_of_a_hook_are_told_apart_as_the_interpreter_does() {
        let hook = |bytes: &[u8]| {
            let hook = path_hook(text("purelib/a.pth"), bytes);
            (hook.code_lines, hook.path_lines)
        };
        assert_eq!(hook(b"# import x\n\n/src\n"), (0, 1));
        assert_eq!(hook(b"\xef\xbb\xbfimport\tevil\r\n/src"), (1, 1));
        assert_eq!(hook(b" import x\nimportant\n"), (0, 2));
        assert_eq!(
            hook("/src\x0bimport evil\u{2028}import more".as_bytes()),
            (2, 1)
        );
        assert_eq!(
            hook(format!("{}\n./foo.egg\n{}\n", HARMLESS[0], HARMLESS[1]).as_bytes()),
            (0, 1)
        );
        assert_eq!(
            hook(format!("{}; evil()\n", HARMLESS[0]).as_bytes()),
            (1, 0)
        );
    }

    #[test]
    fn a_hook_that_does_nothing_but_import_one_module_is_known_by_that() {
        let hook = |bytes: &[u8]| path_hook(text("purelib/a.pth"), bytes).only_imports;
        assert_eq!(
            hook(b"import _virtualenv\n"),
            Some("_virtualenv".to_owned())
        );
        for no in [
            &b"import a; b()"[..],
            b"import a.b",
            b"import a as b",
            b"import a\nimport a",
            b"import a\n/src",
            b"/src",
        ] {
            assert_eq!(hook(no), None);
        }
    }

    #[test]
    fn papers_lie_at_the_top_of_a_root() {
        for yes in [
            "p/a.pth",
            "p/a-1.dist-info/RECORD",
            "p/a-1.egg-info",
            "p/a-1.egg-info/PKG-INFO",
        ] {
            assert!(is_paper(yes), "{yes}");
        }
        for no in [
            "p/b/a.pth",
            "p/a-1.dist-info/x/RECORD",
            "p/.dist-info/RECORD",
            "p/.pth",
            "a.pth",
            "p/a/RECORD",
        ] {
            assert!(!is_paper(no), "{no}");
        }
    }
}
