//! What a scan saw.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use domain::{Digest, Node, PathText, Tree};

use crate::file::read_small;
use crate::layout::Place;
use crate::packages::{Claims, Package, PathHook};
use crate::trees::StoredTree;

/// How much there was and how much of it was really read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Files listed with a digest, byte code included.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files read in this scan; files that are one file under several names count once.
    pub read_files: u64,
    /// Bytes of these.
    pub read_bytes: u64,
}

/// A remembered digest that was not that of the bytes, although nothing else about the file had changed. Rule
/// `cache-lied`: somebody wrote the cache, the clock or the device below the file system, or the disk is failing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheLie {
    /// The file.
    pub path: PathText,
    /// What the cache said.
    pub remembered: Digest,
    /// What was read.
    pub read: Digest,
}

/// An environment as one scan saw it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The compared tree: root names, below each its top-level entries, below these everything.
    pub root: Tree,
    /// The same for byte code under `__pycache__`, which an import may write at any time.
    pub compiled: Tree,
    /// All encoded trees of both, to be stored as blobs.
    pub trees: Vec<StoredTree>,
    /// The compared tree as a list of logical names.
    pub flat: BTreeMap<PathText, Node>,
    /// The byte code as a list of logical names.
    pub compiled_flat: BTreeMap<PathText, Node>,
    /// How much there was.
    pub totals: Totals,
    /// What is installed, by its own papers.
    pub packages: Vec<Package>,
    /// The `.pth` files at the top of the site folders.
    pub hooks: Vec<PathHook>,
    /// Roots and single files as they were found.
    pub places: Vec<Place>,
    /// Records of the cache that were caught lying.
    pub cache_lies: Vec<CacheLie>,
    /// For each package, what it says that it owns.
    pub(crate) claims: Vec<Claims>,
}

impl Snapshot {
    /// Where the file of a logical name is on this machine.
    pub fn located(&self, name: &PathText) -> Option<PathBuf> {
        let bytes = name.to_bytes();
        let of = |place: &Place| {
            let rest = bytes.strip_prefix(place.name.as_bytes())?;
            let rest = match rest.strip_prefix(b"/") {
                Some(rest) => rest,
                None if rest.is_empty() => return Some(place.path.clone()),
                None => return None,
            };
            Some(place.path.join(OsStr::from_bytes(rest)))
        };
        let places = self.places.iter().filter(|place| place.same_as.is_none());
        places
            .filter_map(|place| Some((place.name.len(), of(place)?)))
            .max_by_key(|(length, _)| *length)
            .map(|(_, path)| path)
    }

    /// The bytes of a small file, if they still are those that the scan digested.
    pub(crate) fn bytes(&self, name: &PathText, limit: u64) -> Option<Vec<u8>> {
        let Some(Node::File { digest, size, .. }) = self.flat.get(name) else {
            return None;
        };
        if *size > limit {
            return None;
        }
        let mut buffer = vec![0; 16 << 10];
        let bytes = read_small(&self.located(name)?, limit, &mut buffer).ok()??;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }

    /// What could not be read, with the reason. A name that ends in `/.` stands for the rest of that folder.
    pub fn unread(&self) -> impl Iterator<Item = (&PathText, &str)> {
        self.flat
            .iter()
            .chain(&self.compiled_flat)
            .filter_map(|(path, node)| match node {
                Node::Unread { reason } => Some((path, reason.as_str())),
                _ => None,
            })
    }
}
