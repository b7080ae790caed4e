//! What a model signature says: which files with which digests, and what was left out.
//!
//! The root digest is recomputed in the order in which resources are listed and never in another, because the
//! specification and the reference tool sort differently. Two entries of one name, names that leave the folder, and a list
//! of exclusions that excludes everything are refused: each of them is signed, and each means two things.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use domain::{Digest, Hasher};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};

use crate::envelope::Verified;
use crate::name::{Name, NameSyntax};
use crate::statement::{Statement, StatementError, Subject};

/// The predicate type.
pub const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// What every signer and verifier leaves out, at the top of the folder only.
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// The name that the reference tool gives to a model that is one file. The specification says its file name; both are
/// read, and this one is written, for only this one is verified by the tool that is there.
const ONE_FILE: &str = ".";

/// How files are digested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HashType {
    /// SHA-256.
    Sha256,
    /// BLAKE2b with 64 bytes.
    Blake2b,
    /// BLAKE3.
    Blake3,
}

impl HashType {
    /// Bytes of a digest.
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 32,
            Self::Blake2b => 64,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake2b => "blake2b",
            Self::Blake3 => "blake3",
        }
    }
}

/// Whole files or ranges of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serialized {
    /// Each file is one resource.
    Files,
    /// Each range of so many bytes is one.
    Shards(u64),
}

/// What a resource says of its own digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm(HashType);

/// One file, or one range of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The file; `None` is the one file of a model that is one file.
    pub name: Option<Name>,
    /// Which bytes, where it is a shard: first, and one past the last.
    pub shard: Option<(u64, u64)>,
    /// The digest, of the length that its algorithm has.
    pub digest: Vec<u8>,
}

/// A model signature's statement, checked in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Name of the model when it was signed; says nothing.
    pub model: String,
    /// Digest over all resources: what other documents refer to.
    pub root: Digest,
    /// Digest of the seal's tree, where there is a seal.
    pub tree: Option<String>,
    /// Whole files or shards.
    pub serialized: Serialized,
    /// How they are digested.
    pub hash: HashType,
    /// Links were signed as the files that they lead to.
    pub allow_symlinks: bool,
    /// What is not signed, beside [`DEFAULT_IGNORED`].
    pub ignored: Vec<Name>,
    /// In the order of the statement.
    pub resources: Vec<Resource>,
}

/// A statement that contradicts itself or cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// Not a statement of model signing.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Its root is not the digest of what it lists.
    #[error("the statement names the root {stated}, but what it lists gives {computed}")]
    Root {
        /// What it names.
        stated: String,
        /// What its list gives.
        computed: Digest,
    },
    /// A name that is none.
    #[error("the statement lists {name:?}: {why}")]
    Name {
        /// As it stands there.
        name: String,
        /// Why.
        why: NameSyntax,
    },
    /// The same name twice.
    #[error("the statement lists {name:?} twice")]
    Twice {
        /// Which.
        name: String,
    },
    /// A digest of the wrong length, or by another algorithm than is stated for all.
    #[error("the statement's digest of {name:?} is not one of its kind")]
    Digest {
        /// Of which resource.
        name: String,
    },
    /// Everything is left out.
    #[error("the statement leaves out {entry:?}, which is everything")]
    IgnoresAll {
        /// The entry.
        entry: String,
    },
    /// Shards that are no ranges of one file from its start to its end.
    #[error("the statement's shards of {name:?} do not make a whole file")]
    Shards {
        /// Which.
        name: String,
    },
    /// Nothing is signed.
    #[error("the statement lists no file")]
    Empty,
}

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Form>,
}

#[derive(Deserialize)]
struct Serialization {
    method: Method,
    hash_type: HashType,
    #[serde(default)]
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
    #[serde(default)]
    shard_size: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Method {
    Files,
    Shards,
}

#[derive(Deserialize)]
struct Form {
    name: String,
    algorithm: Algorithm,
    digest: Hex,
}

/// Lower-case hexadecimal digits as bytes.
struct Hex(Vec<u8>);

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Algorithm;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("sha256, blake2b or blake3")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Algorithm, E> {
                // The reference tool writes `sha256-sharded-1000000000` where the specification has `sha256`.
                let name = text.split_once("-sharded-").map_or(text, |(name, _)| name);
                let all = [HashType::Sha256, HashType::Blake2b, HashType::Blake3];
                let known = all.into_iter().find(|hash| hash.name() == name);
                known
                    .map(Algorithm)
                    .ok_or_else(|| E::custom("an unknown algorithm"))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        hex(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom("not lower-case hexadecimal"))
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if !rest.is_empty() || pairs.len() > 64 {
        return None;
    }
    let byte = |pair: &[u8; 2]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
    pairs.iter().map(byte).collect()
}

impl Signed {
    /// Reads the statement of a verified envelope.
    pub fn read(signed: Verified<'_>, limit: u64) -> Result<Self, SignedError> {
        Self::read_bytes(signed.bytes(), limit)
    }

    /// The same of any bytes: for the parser's own tests. What it gives is not signed by anybody.
    pub fn read_bytes(bytes: &[u8], limit: u64) -> Result<Self, SignedError> {
        let (subject, predicate) = Statement::<Predicate>::decode_bytes(bytes, PREDICATE, limit)?;
        let Predicate {
            serialization,
            resources,
        } = predicate;
        let stated = subject.digest.get("sha256").cloned().unwrap_or_default();
        let mut all = Hasher::new();
        for form in &resources {
            all.update(&form.digest.0);
        }
        let root = all.finish();
        if stated != root.to_string() {
            return Err(SignedError::Root {
                stated,
                computed: root,
            });
        }
        let serialized = match (serialization.method, serialization.shard_size) {
            (Method::Files, _) => Serialized::Files,
            (Method::Shards, size) => Serialized::Shards(shard_size(size)?),
        };
        let mut listed = Vec::with_capacity(resources.len());
        for form in resources {
            listed.push(form.check(serialization.hash_type, serialized)?);
        }
        check_names(&listed)?;
        Ok(Self {
            model: subject.name,
            root,
            tree: subject.digest.get(super::TREE_KEY).cloned(),
            serialized,
            hash: serialization.hash_type,
            allow_symlinks: serialization.allow_symlinks,
            ignored: ignored(&serialization.ignore_paths)?,
            resources: listed,
        })
    }

    /// All that is left out, the defaults included, but for a default below which something is signed all the same.
    pub fn excluded(&self) -> Vec<Name> {
        let defaults = DEFAULT_IGNORED
            .iter()
            .filter_map(|name| Name::new(name).ok());
        let is_signed = |above: &Name| {
            let names = self.resources.iter().filter_map(|it| it.name.as_ref());
            names.into_iter().any(|name| name.is_below(above))
        };
        let defaults = defaults.filter(|name| !is_signed(name));
        let mut all: Vec<Name> = defaults.chain(self.ignored.iter().cloned()).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Form {
    fn check(self, hash: HashType, serialized: Serialized) -> Result<Resource, SignedError> {
        let Self {
            name,
            algorithm,
            digest: Hex(digest),
        } = self;
        if algorithm.0 != hash || digest.len() != hash.length() {
            return Err(SignedError::Digest { name });
        }
        let (path, shard) = match serialized {
            Serialized::Files => (name.as_str(), None),
            Serialized::Shards(size) => {
                let parts = split_shard(&name).filter(|(_, from, to)| {
                    from < to && from.is_multiple_of(size) && to - from <= size
                });
                let (path, from, to) =
                    parts.ok_or_else(|| SignedError::Shards { name: name.clone() })?;
                (path, Some((from, to)))
            }
        };
        let parsed = match path {
            ONE_FILE => None,
            path => Some(Name::new(path).map_err(|why| SignedError::Name {
                name: name.clone(),
                why,
            })?),
        };
        Ok(Resource {
            name: parsed,
            shard,
            digest,
        })
    }
}

/// `path:start:end`; the path may have colons of its own.
fn split_shard(name: &str) -> Option<(&str, u64, u64)> {
    let (rest, end) = name.rsplit_once(':')?;
    let (path, start) = rest.rsplit_once(':')?;
    Some((path, start.parse().ok()?, end.parse().ok()?))
}

/// The reference tool writes `100.0`; a fraction or nothing is no size.
fn shard_size(size: Option<f64>) -> Result<u64, SignedError> {
    let whole = size.filter(|size| size.fract() == 0.0 && (1.0..9e15).contains(size));
    let bad = || SignedError::Shards {
        name: "shard_size".to_owned(),
    };
    // In this range every whole number is exact.
    whole
        .and_then(|size| format!("{size:.0}").parse().ok())
        .ok_or_else(bad)
}

fn check_names(resources: &[Resource]) -> Result<(), SignedError> {
    if resources.is_empty() {
        return Err(SignedError::Empty);
    }
    let mut seen = HashSet::with_capacity(resources.len());
    for resource in resources {
        let start = resource.shard.map(|(start, _)| start);
        if !seen.insert((resource.name.as_ref(), start)) {
            let name = resource.name.as_ref().map_or(ONE_FILE, Name::as_str);
            return Err(SignedError::Twice {
                name: name.to_owned(),
            });
        }
    }
    // `.` beside others would be a folder that is signed as a file.
    if resources.iter().any(|it| it.name.is_none()) && resources.iter().any(|it| it.name.is_some())
    {
        return Err(SignedError::Name {
            name: ONE_FILE.to_owned(),
            why: NameSyntax::Dots,
        });
    }
    Ok(())
}

/// Entries that name nothing inside of the folder exclude nothing; those that name all of it are refused.
fn ignored(entries: &[String]) -> Result<Vec<Name>, SignedError> {
    let mut names = Vec::new();
    for entry in entries {
        let parts = entry
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".");
        let plain = parts.collect::<Vec<_>>().join("/");
        if plain.is_empty() {
            let entry = entry.clone();
            return Err(SignedError::IgnoresAll { entry });
        }
        if !entry.starts_with('/')
            && let Ok(name) = Name::new(&plain)
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// The bytes of a statement over whole files by SHA-256. `files` is sorted by name as text; a model that is one file has
/// no name. The tree names the seal that goes with it.
pub fn encode(
    model: &str,
    files: &[(Option<&Name>, Digest)],
    ignored: &[Name],
    allow_symlinks: bool,
    tree: &str,
) -> serde_json::Result<(Digest, Vec<u8>)> {
    #[derive(Serialize)]
    struct Out<'a> {
        serialization: serde_json::Value,
        resources: Vec<OutResource<'a>>,
    }
    #[derive(Serialize)]
    struct OutResource<'a> {
        name: &'a str,
        algorithm: &'static str,
        digest: Digest,
    }
    let mut all = Hasher::new();
    for (_, digest) in files {
        all.update(digest.as_bytes());
    }
    let root = all.finish();
    let subject = Subject {
        name: model.to_owned(),
        digest: BTreeMap::from([
            ("sha256".to_owned(), root.to_string()),
            (super::TREE_KEY.to_owned(), tree.to_owned()),
        ]),
    };
    let resources = files.iter().map(|(name, digest)| OutResource {
        name: name.map_or(ONE_FILE, Name::as_str),
        algorithm: HashType::Sha256.name(),
        digest: *digest,
    });
    let ignored: Vec<&str> = ignored.iter().map(Name::as_str).collect();
    let predicate = Out {
        serialization: serde_json::json!({
            "method": "files",
            "hash_type": HashType::Sha256,
            "allow_symlinks": allow_symlinks,
            "ignore_paths": ignored,
        }),
        resources: resources.collect(),
    };
    Ok((root, Statement::encode(PREDICATE, subject, predicate)?))
}
