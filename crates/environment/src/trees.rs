//! From a flat list of logical names to trees that can be stored, and back.
//!
//! Three levels: the root tree holds the roots, a root's tree holds its top-level entries, and each top-level folder is one
//! tree with all names below it. So a changed file of an environment of 20,000 costs the lines of one package and of two
//! short lists. Coming back, every blob is checked against its digest, and what a hostile store can make of it is bounded.

use std::collections::BTreeMap;

use domain::{Digest, Node, PathText, Tree, TreeEncoder, TreeSyntax};

/// The most names that [`flatten`] gives back.
pub const MAX_NAMES: usize = 2_000_000;

/// How deep trees may hold trees.
pub const MAX_DEPTH: usize = 8;

/// An encoded tree, to be stored as a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTree {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// What [`Tree::encode`] gave.
    pub bytes: Vec<u8>,
}

/// A stored tree that does not lead back to names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlattenError {
    /// A blob is not there.
    #[error("the tree {0} is not stored")]
    Missing(Digest),
    /// The bytes are not those that the digest names.
    #[error("the stored bytes of tree {0} are not its own")]
    Forged(Digest),
    /// The bytes are no tree.
    #[error("the blob {digest} is no tree: {source}")]
    Syntax {
        /// Which blob.
        digest: Digest,
        /// Where it breaks.
        source: TreeSyntax,
    },
    /// More names than [`MAX_NAMES`].
    #[error("the tree has more than {MAX_NAMES} names")]
    TooMany,
    /// Trees in trees beyond [`MAX_DEPTH`].
    #[error("the tree is nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Lists all names below the tree `root`; `blob` gives the bytes stored under a digest.
pub fn flatten(
    root: Digest,
    blob: impl Fn(Digest) -> Option<Vec<u8>>,
) -> Result<BTreeMap<PathText, Node>, FlattenError> {
    let mut names = BTreeMap::new();
    let mut waiting = vec![(Vec::new(), root, 0)];
    // Every name that is visited counts, not only those that come out: trees of nothing but trees would take for ever.
    let mut visited = 0;
    while let Some((prefix, digest, depth)) = waiting.pop() {
        if depth > MAX_DEPTH {
            return Err(FlattenError::TooDeep);
        }
        let bytes = blob(digest).ok_or(FlattenError::Missing(digest))?;
        if Digest::of(&bytes) != digest {
            return Err(FlattenError::Forged(digest));
        }
        let tree =
            Tree::decode(&bytes).map_err(|source| FlattenError::Syntax { digest, source })?;
        for (name, node) in tree.iter() {
            visited += 1;
            if visited > MAX_NAMES {
                return Err(FlattenError::TooMany);
            }
            let mut path = prefix.clone();
            path.extend_from_slice(&name.to_bytes());
            if let Node::Tree { digest, .. } = node {
                path.push(b'/');
                waiting.push((path, *digest, depth + 1));
            } else {
                names.insert(PathText::from_bytes(&path), node.clone());
            }
        }
    }
    Ok(names)
}

/// Makes the trees of a flat list; all of them, the root's included, are added to `stored`.
pub(crate) fn build(names: &BTreeMap<PathText, Node>, stored: &mut Vec<StoredTree>) -> Tree {
    let mut roots: BTreeMap<&str, Tree> = BTreeMap::new();
    let mut root = Tree::new();
    // Names below one folder follow each other in the order of names, so one package is open at a time.
    let mut open: Option<(&str, &str, TreeEncoder)> = None;
    for (path, node) in names {
        let mut parts = path.as_str().splitn(3, '/');
        let (first, second, rest) = (parts.next(), parts.next(), parts.next());
        if let Some((at, below, package)) = &mut open
            && first == Some(*at)
            && second == Some(*below)
            && let Some(rest) = rest
        {
            package.push(rest, node);
            continue;
        }
        close(open.take(), &mut roots, stored);
        match (first, second, rest) {
            (Some(first), Some(second), Some(rest)) => {
                let mut package = TreeEncoder::new();
                package.push(rest, node);
                open = Some((first, second, package));
            }
            (Some(first), Some(second), None) => {
                roots
                    .entry(first)
                    .or_default()
                    .insert(encoded(second), node.clone());
            }
            _ => {
                root.insert(path.clone(), node.clone());
            }
        }
    }
    close(open, &mut roots, stored);
    for (name, tree) in roots {
        root.insert(encoded(name), store(&tree, stored));
    }
    store(&root, stored);
    root
}

/// A package has no further names: it is stored and gets its name in its root.
fn close<'a>(
    package: Option<(&'a str, &'a str, TreeEncoder)>,
    roots: &mut BTreeMap<&'a str, Tree>,
    stored: &mut Vec<StoredTree>,
) {
    if let Some((first, second, package)) = package {
        let (node, bytes) = package.finish();
        if let Node::Tree { digest, .. } = &node {
            stored.push(StoredTree {
                digest: *digest,
                bytes,
            });
        }
        roots
            .entry(first)
            .or_default()
            .insert(encoded(second), node);
    }
}

fn store(tree: &Tree, stored: &mut Vec<StoredTree>) -> Node {
    let bytes = tree.encode();
    let digest = Digest::of(&bytes);
    stored.push(StoredTree { digest, bytes });
    let (files, bytes) = tree.totals();
    Node::Tree {
        files,
        bytes,
        digest,
    }
}

/// A piece of text that was cut out of an encoded path at a `/` is an encoded path again.
fn encoded(text: &str) -> PathText {
    use serde::Deserialize as _;
    use serde::de::IntoDeserializer as _;
    let plain: Result<PathText, serde::de::value::Error> =
        PathText::deserialize(text.into_deserializer());
    plain.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeMap<PathText, Node> {
        let file = |text: &[u8]| Node::File {
            size: text.len() as u64,
            mode: 0o644,
            digest: Digest::of(text),
        };
        let list: [(&[u8], &[u8]); 6] = [
            (b"python3", b"elf"),
            (b"purelib/six.py", b"six"),
            (b"purelib/torch/optim/adamw.py", b"adamw"),
            (b"purelib/torch/a\xff\\b.py", b"odd"),
            (b"purelib/torch-2.dist-info/RECORD", b"list"),
            (b"stdlib/os.py", b"os"),
        ];
        list.iter()
            .map(|(path, text)| (PathText::from_bytes(path), file(text)))
            .collect()
    }

    fn lookup(stored: &[StoredTree]) -> impl Fn(Digest) -> Option<Vec<u8>> {
        move |digest| {
            stored
                .iter()
                .find(|tree| tree.digest == digest)
                .map(|tree| tree.bytes.clone())
        }
    }

    #[test]
    fn names_go_into_trees_and_come_back() {
        let mut stored = Vec::new();
        let root = build(&names(), &mut stored);
        assert_eq!(flatten(root.digest(), lookup(&stored)), Ok(names()));
        assert_eq!(root.totals(), (6, 3 + 3 + 5 + 3 + 4 + 2));
    }

    #[test]
    fn a_changed_file_changes_three_trees_only() {
        let mut before = Vec::new();
        build(&names(), &mut before);
        let mut changed = names();
        let at = PathText::from_bytes(b"purelib/torch/optim/adamw.py");
        changed.insert(
            at,
            Node::File {
                size: 1,
                mode: 0o644,
                digest: Digest::of(b"x"),
            },
        );
        let mut after = Vec::new();
        build(&changed, &mut after);
        after.retain(|tree| !before.contains(tree));
        assert_eq!(after.len(), 3);
    }

    #[test]
    fn missing_forged_and_endless_trees_are_refused() {
        let mut stored = Vec::new();
        let digest = build(&names(), &mut stored).digest();
        assert!(matches!(
            flatten(digest, |_| None),
            Err(FlattenError::Missing(_))
        ));
        assert!(matches!(
            flatten(digest, |_| Some(b"x".to_vec())),
            Err(FlattenError::Forged(_))
        ));
        assert!(matches!(
            flatten(Digest::of(b"x"), |_| Some(b"x".to_vec())),
            Err(FlattenError::Syntax { .. })
        ));
        let mut chain = vec![StoredTree {
            digest: Digest::of(b""),
            bytes: Vec::new(),
        }];
        let mut tree = Tree::new();
        for _ in 0..=MAX_DEPTH {
            let node = store(&tree, &mut chain);
            tree = Tree::new();
            tree.insert(PathText::from_bytes(b"in"), node);
        }
        store(&tree, &mut chain);
        assert_eq!(
            flatten(tree.digest(), lookup(&chain)),
            Err(FlattenError::TooDeep)
        );
    }
}
