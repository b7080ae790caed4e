//! The seal: what a model signature leaves open. Names, kinds, modes, sizes, links, folders, and the tree of each file.
//!
//! A model signature binds the bytes of files to their names and nothing else: a file may become a setuid program or an
//! empty folder may appear, and it still holds. The seal's predicate lists every entry. Over the list stands one value, the
//! *tree*: BLAKE3 in its own domain over each entry's fields with their lengths, so that no two folders have one value. The
//! model signature names the tree and the seal names the model signature's root: neither can be exchanged alone.

use std::collections::{BTreeMap, BTreeSet};

use blake3::Hasher;
use domain::{Digest, PathText};
use serde::{Deserialize, Serialize};

use crate::chunks::{Blake3, FileTree, piece_count, root_of};
use crate::envelope::Verified;
use crate::name::{Name, NameSyntax};
use crate::oms::{HashType, Serialized, Signed, TREE_KEY};
use crate::statement::{Statement, StatementError, Subject};

/// The predicate type.
pub const PREDICATE: &str = "https://taintline/seal/v1";

/// The domain of the tree's value: a context of BLAKE3's key derivation.
const DOMAIN: &str = "taintline 2026 seal tree v1";

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// How many.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: Digest,
    /// Their BLAKE3 tree.
    pub tree: FileTree,
}

/// One thing in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File {
        /// Permission bits with setuid, setgid and sticky.
        mode: u32,
        /// Its bytes.
        content: Content,
    },
    /// A folder.
    Folder {
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it points, as it stands.
        target: PathText,
        /// The bytes of the file that it leads to, where it was signed as that.
        content: Option<Content>,
    },
}

impl Entry {
    /// The bytes that are signed under this name.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::File { content, .. } => Some(content),
            Self::Folder { .. } => None,
            Self::Link { content, .. } => content.as_ref(),
        }
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "a file",
            Self::Folder { .. } => "a folder",
            Self::Link { .. } => "a link",
        }
    }
}

/// All entries of a folder, and what is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// By name as text.
    pub entries: BTreeMap<Name, Entry>,
    /// What is not covered, sorted.
    pub excluded: Vec<Name>,
}

/// A seal that contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not a statement of a seal.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A name that is none.
    #[error("the seal lists {path:?}: {why}")]
    Name {
        /// As it stands there.
        path: String,
        /// Why.
        why: NameSyntax,
    },
    /// Not in order, or twice.
    #[error("the seal's entry {path:?} is twice there, or not in its place")]
    Order {
        /// Which.
        path: String,
    },
    /// An entry below something that is no folder in the seal.
    #[error("the seal's entry {path:?} lies in no folder of the seal")]
    Parent {
        /// Which.
        path: String,
    },
    /// Fields that do not go together.
    #[error("the seal's entry {path:?} contradicts itself")]
    Fields {
        /// Which.
        path: String,
    },
    /// Not the value of its list.
    #[error("the seal names the tree {stated}, but what it lists gives {computed}")]
    Tree {
        /// What it names.
        stated: String,
        /// What its list gives.
        computed: Blake3,
    },
    /// No root of a model signature.
    #[error("the seal does not say to which model signature it belongs")]
    NoRoot,
}

/// What a seal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Name of the model when it was signed; says nothing.
    pub model: String,
    /// Root of the model signature that it goes with.
    pub root: Digest,
    /// The value over all entries.
    pub tree: Blake3,
    /// The entries.
    pub manifest: Manifest,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    tree: String,
    excluded: Vec<String>,
    entries: Vec<Form>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Folder,
    Link,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    path: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<PathText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<Blake3>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pieces: Vec<Blake3>,
}

impl Manifest {
    /// The value over all entries: two folders have it in common only if all that is sealed is equal.
    pub fn tree(&self) -> Blake3 {
        let mut hasher = Hasher::new_derive_key(DOMAIN);
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (name, entry) in &self.entries {
            field(name.as_str().as_bytes());
            match entry {
                Entry::File { mode, .. } => field(&[b"f".as_slice(), &mode.to_le_bytes()].concat()),
                Entry::Folder { mode } => field(&[b"d".as_slice(), &mode.to_le_bytes()].concat()),
                Entry::Link { target, .. } => field(&[b"l", target.as_str().as_bytes()].concat()),
            }
            // Pieces are bound by the root that they give.
            let content = entry.content().map(|content| {
                let size = content.size.to_le_bytes();
                [
                    size.as_slice(),
                    content.sha256.as_bytes(),
                    content.tree.root.as_bytes(),
                ]
                .concat()
            });
            field(&content.unwrap_or_default());
        }
        field(b"");
        for name in &self.excluded {
            field(name.as_str().as_bytes());
        }
        Blake3::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The bytes of the statement that is signed.
    pub fn encode(&self, model: &str, root: &Digest) -> serde_json::Result<Vec<u8>> {
        let tree = self.tree().to_string();
        let subject = Subject {
            name: model.to_owned(),
            digest: BTreeMap::from([
                ("sha256".to_owned(), root.to_string()),
                (TREE_KEY.to_owned(), tree.clone()),
            ]),
        };
        let predicate = Predicate {
            tree,
            excluded: self.excluded.iter().map(Name::to_string).collect(),
            entries: self
                .entries
                .iter()
                .map(|(name, entry)| form(name, entry))
                .collect(),
        };
        Statement::encode(PREDICATE, subject, predicate)
    }
}

impl Sealed {
    /// Whether the seal lists exactly the files that the model signature lists, with the digests that are there. A seal that
    /// leaves one out would vouch for less than the signature that it stands for.
    pub fn lists(&self, signed: &Signed) -> bool {
        let entries = self.manifest.entries.iter();
        let contents: BTreeMap<&Name, &Content> = entries
            .filter_map(|(name, entry)| Some((name, entry.content()?)))
            .collect();
        // The one file of a model that is one file has no name in the signature.
        let only = contents
            .keys()
            .next()
            .copied()
            .filter(|_| contents.len() == 1);
        let mut named = BTreeSet::new();
        for resource in &signed.resources {
            let name = resource.name.as_ref().or(only);
            let Some((name, content)) = name.and_then(|name| contents.get_key_value(name)) else {
                return false;
            };
            let is_digest = match signed.hash {
                _ if resource.shard.is_some() => true,
                HashType::Sha256 => resource.digest == content.sha256.as_bytes(),
                HashType::Blake3 => resource.digest == content.tree.root.as_bytes(),
                HashType::Blake2b => true,
            };
            if !is_digest {
                return false;
            }
            named.insert(*name);
        }
        // A signature over ranges has none for an empty file.
        let is_sharded = matches!(signed.serialized, Serialized::Shards(_));
        contents
            .iter()
            .all(|(name, content)| named.contains(name) || is_sharded && content.size == 0)
    }

    /// Reads the statement of a verified envelope.
    pub fn read(signed: Verified<'_>, limit: u64) -> Result<Self, ManifestError> {
        Self::read_bytes(signed.bytes(), limit)
    }

    /// The same of any bytes: for the parser's own tests. What it gives is not signed by anybody.
    pub fn read_bytes(bytes: &[u8], limit: u64) -> Result<Self, ManifestError> {
        let (subject, predicate) = Statement::<Predicate>::decode_bytes(bytes, PREDICATE, limit)?;
        let root = subject
            .digest
            .get("sha256")
            .and_then(|root| root.parse().ok());
        let mut manifest = Manifest::default();
        for path in predicate.excluded {
            manifest.excluded.push(name(&path)?);
        }
        if !manifest.excluded.is_sorted_by(|left, right| left < right) {
            let path = "excluded".to_owned();
            return Err(ManifestError::Order { path });
        }
        for form in predicate.entries {
            let name = name(&form.path)?;
            if manifest
                .entries
                .last_key_value()
                .is_some_and(|(last, _)| *last >= name)
            {
                return Err(ManifestError::Order { path: form.path });
            }
            if !lies_in_folder(&manifest.entries, &name) {
                return Err(ManifestError::Parent { path: form.path });
            }
            let entry = form.entry().ok_or_else(|| ManifestError::Fields {
                path: name.to_string(),
            })?;
            manifest.entries.insert(name, entry);
        }
        let computed = manifest.tree();
        if predicate.tree != computed.to_string() {
            return Err(ManifestError::Tree {
                stated: predicate.tree,
                computed,
            });
        }
        Ok(Self {
            model: subject.name,
            root: root.ok_or(ManifestError::NoRoot)?,
            tree: computed,
            manifest,
        })
    }
}

fn name(path: &str) -> Result<Name, ManifestError> {
    Name::new(path).map_err(|why| ManifestError::Name {
        path: path.to_owned(),
        why,
    })
}

/// The parent comes before its entries in the order of names, so it must be there already.
fn lies_in_folder(entries: &BTreeMap<Name, Entry>, name: &Name) -> bool {
    let Some((above, _)) = name.as_str().rsplit_once('/') else {
        return true;
    };
    let above = Name::new(above).ok().and_then(|above| entries.get(&above));
    matches!(above, Some(Entry::Folder { .. }))
}

fn form(name: &Name, entry: &Entry) -> Form {
    let content = entry.content();
    let (kind, mode, target) = match entry {
        Entry::File { mode, .. } => (Kind::File, Some(*mode), None),
        Entry::Folder { mode } => (Kind::Folder, Some(*mode), None),
        Entry::Link { target, .. } => (Kind::Link, None, Some(target.clone())),
    };
    Form {
        path: name.to_string(),
        kind,
        mode: mode.map(|mode| format!("{mode:04o}")),
        target,
        size: content.map(|content| content.size),
        sha256: content.map(|content| content.sha256),
        blake3: content.map(|content| content.tree.root),
        pieces: content
            .map(|content| content.tree.pieces.clone())
            .unwrap_or_default(),
    }
}

impl Form {
    /// The entry, if the fields are exactly those of its kind and hold together.
    fn entry(self) -> Option<Entry> {
        let mode = match &self.mode {
            None => None,
            Some(text) => Some(mode(text)?),
        };
        let content = match (self.size, self.sha256, self.blake3) {
            (Some(size), Some(sha256), Some(root)) => {
                let (pieces, count) = (self.pieces, piece_count(size));
                let holds = pieces.is_empty() || root_of(&pieces) == Some(root);
                let tree = FileTree { root, pieces };
                let content = Content { size, sha256, tree };
                Some(content)
                    .filter(|it| holds && it.tree.pieces.len() as u64 == count)?
                    .into()
            }
            (None, None, None) if self.pieces.is_empty() => None,
            _ => return None,
        };
        match (self.kind, mode, self.target, content) {
            (Kind::File, Some(mode), None, Some(content)) => Some(Entry::File { mode, content }),
            (Kind::Folder, Some(mode), None, None) => Some(Entry::Folder { mode }),
            (Kind::Link, None, Some(target), content) => Some(Entry::Link { target, content }),
            _ => None,
        }
    }
}

/// Exactly four octal digits.
fn mode(text: &str) -> Option<u32> {
    let octal = text.len() == 4 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    u32::from_str_radix(text, 8).ok().filter(|_| octal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::MAX_STATEMENT_BYTES;

    fn content(byte: u8, size: u64) -> Content {
        let pieces: Vec<_> = (0..piece_count(size))
            .map(|_| Blake3::from_bytes([byte; 32]))
            .collect();
        let root = root_of(&pieces).unwrap_or(Blake3::from_bytes([byte; 32]));
        Content {
            size,
            sha256: Digest::of(&[byte]),
            tree: FileTree { root, pieces },
        }
    }

    fn sample() -> Manifest {
        let name = |text| Name::new(text).unwrap();
        let mut manifest = Manifest {
            excluded: vec![name(".git"), name("model.sig")],
            ..Manifest::default()
        };
        let mut add = |path, entry| manifest.entries.insert(name(path), entry);
        add("a", Entry::Folder { mode: 0o755 });
        add(
            "a/x",
            Entry::File {
                mode: 0o4755,
                content: content(1, 10),
            },
        );
        add(
            "a-b",
            Entry::File {
                mode: 0o644,
                content: content(2, 3 << 20),
            },
        );
        let target = PathText::from_bytes(b"a/x");
        add(
            "l",
            Entry::Link {
                target: target.clone(),
                content: None,
            },
        );
        add(
            "m",
            Entry::Link {
                target,
                content: Some(content(1, 10)),
            },
        );
        manifest
    }

    fn read(text: &[u8]) -> Result<Sealed, ManifestError> {
        Sealed::read_bytes(text, MAX_STATEMENT_BYTES)
    }

    #[test]
    fn a_seal_comes_back_as_it_was() {
        let (manifest, root) = (sample(), Digest::of(b"root"));
        let bytes = manifest.encode("m", &root).unwrap();
        let sealed = read(&bytes).unwrap();
        assert_eq!((sealed.root, sealed.tree), (root, manifest.tree()));
        assert_eq!(sealed.manifest, manifest);
    }

    /// The model signature that goes with a seal, with other files than the seal has.
    fn lists(change: impl Fn(&mut Vec<(Name, Digest)>)) -> bool {
        let manifest = sample();
        let entries = manifest.entries.iter();
        let contents =
            entries.filter_map(|(name, entry)| Some((name.clone(), entry.content()?.sha256)));
        let mut files: Vec<_> = contents.collect();
        change(&mut files);
        let files: Vec<_> = files
            .iter()
            .map(|(name, digest)| (Some(name), *digest))
            .collect();
        let (root, text) = crate::oms::encode("m", &files, &[], true, "tree").unwrap();
        let signed = Signed::read_bytes(&text, MAX_STATEMENT_BYTES).unwrap();
        read(&manifest.encode("m", &root).unwrap())
            .unwrap()
            .lists(&signed)
    }

    #[test]
    fn a_seal_lists_the_files_of_its_model_signature_no_fewer_no_more_no_others() {
        assert!(lists(|_| {}));
        assert!(!lists(
            |files| files.push((Name::new("z").unwrap(), Digest::of(b"")))
        ));
        assert!(!lists(|files| drop(files.pop())));
        assert!(!lists(|files| files[0].1 = Digest::of(b"other")));
        assert!(!lists(|files| files[0].0 = Name::new("a/X").unwrap()));
    }

    #[test]
    fn every_field_of_every_entry_is_in_the_tree() {
        let mut trees = vec![sample().tree()];
        let name = |text| Name::new(text).unwrap();
        let mut changed = |change: fn(&mut Content), mode: u32| {
            let mut manifest = sample();
            if let Some(Entry::File { mode: old, content }) = manifest.entries.get_mut(&name("a/x"))
            {
                change(content);
                *old = mode;
            }
            trees.push(manifest.tree());
        };
        changed(|_| {}, 0o755);
        changed(|content| content.size += 1, 0o4755);
        changed(|content| content.sha256 = Digest::of(b"other"), 0o4755);
        changed(
            |content| content.tree.root = Blake3::from_bytes([9; 32]),
            0o4755,
        );
        let mut renamed = sample();
        let entry = renamed.entries.remove(&name("a/x")).unwrap();
        renamed.entries.insert(name("a/y"), entry);
        trees.push(renamed.tree());
        let mut linked = sample();
        let target = PathText::from_bytes(b"a/y");
        linked.entries.insert(
            name("l"),
            Entry::Link {
                target,
                content: None,
            },
        );
        trees.push(linked.tree());
        let mut open = sample();
        open.excluded.pop();
        trees.push(open.tree());
        let count = trees.len();
        trees.sort_by_key(|tree| *tree.as_bytes());
        trees.dedup();
        assert_eq!(trees.len(), count);
    }

    #[test]
    fn a_seal_that_contradicts_itself_is_refused_and_says_where() {
        let bytes = sample().encode("m", &Digest::of(b"root")).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for (from, to, why) in [
            ("\"path\":\"a/x\"", "\"path\":\"../x\"", "`..`"),
            ("\"path\":\"a/x\"", "\"path\":\"a-c/x\"", "no folder"),
            ("\"path\":\"l\"", "\"path\":\"a\"", "not in its place"),
            ("\"mode\":\"4755\"", "\"mode\":\"04755\"", "contradicts"),
            ("\"mode\":\"4755\"", "\"mode\":\"0755\"", "names the tree"),
            ("\"size\":10,", "", "contradicts"),
            ("\"size\":3145728", "\"size\":31457280", "contradicts"),
            ("\"type\":\"folder\"", "\"type\":\"file\"", "contradicts"),
            (
                "\"type\":\"folder\"",
                "\"type\":\"device\"",
                "unknown variant",
            ),
        ] {
            assert!(text.contains(from), "{from}");
            let error = read(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
