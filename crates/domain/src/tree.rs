//! A tree is a directory of blobs, named by digest.
//!
//! Its encoding is text that a person can read and a shell can check: one line a name, sorted by the bytes of the name,
//! so that equal directories have equal digests. A tree may hold trees: an environment of 15,000 files is some hundred
//! package trees under one root, and a changed file costs one package's lines, not the whole list.
//!
//! ```text
//! taintline-tree 1
//! f 644 5120 <digest> name      a file: permission bits in octal, size in bytes, digest
//! l <target> <TAB> name         a symbolic link
//! t 12 81920 <digest> name      a tree: files and bytes below it, digest of its own encoding
//! u <reason> <TAB> name         a file that could not be read
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, PathText};

const HEADER: &str = "taintline-tree 1";

/// What stands behind one name of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Node {
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// Permission bits, `st_mode & 0o7777`.
        mode: u32,
        /// Digest of its content.
        digest: Digest,
    },
    /// A symbolic link that was not followed.
    Link {
        /// What it points to, as written.
        target: PathText,
    },
    /// Another tree.
    Tree {
        /// Files below it, all levels.
        files: u64,
        /// Bytes of these files.
        bytes: u64,
        /// Digest of its encoding.
        digest: Digest,
    },
    /// A file that could not be read; it counts as a gap, never as unchanged.
    Unread {
        /// Why, in a few words without tab or line break.
        reason: String,
    },
}

/// A directory of blobs, links and further trees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    entries: BTreeMap<PathText, Node>,
}

/// An encoding that is not exactly what [`Tree::encode`] would write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the tree is not in the form that trees are written in")]
pub struct TreeSyntax {
    /// The line, counted from 1.
    pub line: usize,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `node` at `name`, which may contain `/`; returns what stood there.
    pub fn insert(&mut self, name: PathText, node: Node) -> Option<Node> {
        self.entries.insert(name, node)
    }

    /// What stands at `name`.
    pub fn get(&self, name: &PathText) -> Option<&Node> {
        self.entries.get(name)
    }

    /// All names in order.
    pub fn iter(&self) -> impl Iterator<Item = (&PathText, &Node)> {
        self.entries.iter()
    }

    /// How many names it has at this level.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no names.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Files and bytes below this tree, all levels.
    pub fn totals(&self) -> (u64, u64) {
        self.entries.values().fold((0, 0), add)
    }

    /// The node that stands for this tree in another one.
    pub fn to_node(&self) -> Node {
        let (files, bytes) = self.totals();
        Node::Tree {
            files,
            bytes,
            digest: self.digest(),
        }
    }

    /// The digest of [`Tree::encode`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// The one encoding of this tree.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = TreeEncoder::new();
        for (name, node) in &self.entries {
            encoder.push(name.as_str(), node);
        }
        encoder.finish().1
    }

    /// Reads an encoding; refuses whatever [`Tree::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeSyntax> {
        let text = std::str::from_utf8(bytes).map_err(|_| TreeSyntax { line: 1 })?;
        let mut lines = text.split_inclusive('\n');
        if lines.next() != Some("taintline-tree 1\n") {
            return Err(TreeSyntax { line: 1 });
        }
        let mut tree = Self::new();
        let mut again = String::new();
        for (index, line) in lines.enumerate() {
            let error = TreeSyntax { line: index + 2 };
            let (name, node) = line
                .strip_suffix('\n')
                .and_then(decode_line)
                .filter(|(name, node)| {
                    again.clear();
                    encode_line(&mut again, name.as_str(), node);
                    again == line
                })
                .ok_or(error.clone())?;
            if tree
                .entries
                .last_key_value()
                .is_some_and(|(last, _)| *last >= name)
            {
                return Err(error);
            }
            tree.entries.insert(name, node);
        }
        Ok(tree)
    }
}

/// Makes the encoding of a tree whose names come in order, without the tree: an environment has ten thousands of names.
#[derive(Debug)]
pub struct TreeEncoder {
    text: String,
    totals: (u64, u64),
}

impl Default for TreeEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl TreeEncoder {
    /// An empty tree.
    pub fn new() -> Self {
        Self {
            text: format!("{HEADER}\n"),
            totals: (0, 0),
        }
    }

    /// Adds a name, which must be encoded as [`PathText`] is and come behind all names before; out of order makes bytes that
    /// [`Tree::decode`] refuses.
    pub fn push(&mut self, name: &str, node: &Node) {
        self.totals = add(self.totals, node);
        encode_line(&mut self.text, name, node);
    }

    /// The node that stands for the tree in another one, and the encoding.
    pub fn finish(self) -> (Node, Vec<u8>) {
        let bytes = self.text.into_bytes();
        let (files, size) = self.totals;
        let node = Node::Tree {
            files,
            bytes: size,
            digest: Digest::of(&bytes),
        };
        (node, bytes)
    }
}

fn add((files, bytes): (u64, u64), node: &Node) -> (u64, u64) {
    match node {
        Node::File { size, .. } => (files.saturating_add(1), bytes.saturating_add(*size)),
        Node::Tree {
            files: more,
            bytes: size,
            ..
        } => (files.saturating_add(*more), bytes.saturating_add(*size)),
        Node::Link { .. } | Node::Unread { .. } => (files, bytes),
    }
}

fn encode_line(text: &mut String, name: &str, node: &Node) {
    use std::fmt::Write as _;
    // Writing to a string cannot fail.
    let _ = match node {
        Node::File { size, mode, digest } => writeln!(text, "f {mode:o} {size} {digest} {name}"),
        Node::Link { target } => writeln!(text, "l {target}\t{name}"),
        Node::Tree {
            files,
            bytes,
            digest,
        } => writeln!(text, "t {files} {bytes} {digest} {name}"),
        Node::Unread { reason } => {
            let reason = reason.replace(|c: char| c.is_control(), " ");
            writeln!(text, "u {reason}\t{name}")
        }
    };
}

fn decode_line(line: &str) -> Option<(PathText, Node)> {
    let (kind, rest) = line.split_once(' ')?;
    let text = PathText::from_text;
    match kind {
        "l" => rest.split_once('\t').map(|(target, name)| {
            (
                text(name),
                Node::Link {
                    target: text(target),
                },
            )
        }),
        "u" => rest.split_once('\t').map(|(reason, name)| {
            (
                text(name),
                Node::Unread {
                    reason: reason.to_owned(),
                },
            )
        }),
        "f" | "t" => {
            let mut fields = rest.splitn(4, ' ');
            let (first, second) = (fields.next()?, fields.next()?.parse().ok()?);
            let digest = fields.next()?.parse().ok()?;
            let name = text(fields.next()?);
            let node = if kind == "f" {
                Node::File {
                    mode: u32::from_str_radix(first, 8).ok()?,
                    size: second,
                    digest,
                }
            } else {
                Node::Tree {
                    files: first.parse().ok()?,
                    bytes: second,
                    digest,
                }
            };
            Some((name, node))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::new();
        let name = |text: &str| PathText::from_bytes(text.as_bytes());
        tree.insert(
            name("b c.py"),
            Node::File {
                size: 3,
                mode: 0o644,
                digest: Digest::of(b"abc"),
            },
        );
        tree.insert(
            name("a"),
            Node::Link {
                target: name("../x y"),
            },
        );
        tree.insert(
            name("z\n"),
            Node::Unread {
                reason: "permission denied".to_owned(),
            },
        );
        let inner = tree.to_node();
        tree.insert(name("inner"), inner);
        tree
    }

    #[test]
    fn what_is_written_is_read_back() {
        let tree = sample();
        assert_eq!(Tree::decode(&tree.encode()), Ok(tree));
    }

    #[test]
    fn one_tree_has_one_encoding() {
        let digest = Digest::of(b"");
        for line in [
            format!("f 0644 5 {digest} x"),
            format!("f 644 +5 {digest} x"),
            "l \\x41\tx".into(),
            "u a\u{1}\tx".into(),
        ] {
            let text = format!("{HEADER}\n{line}\n");
            assert_eq!(
                Tree::decode(text.as_bytes()),
                Err(TreeSyntax { line: 2 }),
                "{line:?}"
            );
        }
    }

    #[test]
    fn sizes_that_cannot_be_added_do_not_wrap() {
        let mut tree = sample();
        let node = Node::File {
            size: u64::MAX,
            mode: 0o644,
            digest: Digest::of(b""),
        };
        tree.insert(PathText::from_bytes(b"huge"), node);
        assert_eq!(tree.totals().1, u64::MAX);
    }

    #[test]
    fn a_tree_out_of_order_or_with_a_broken_line_is_refused() {
        let text = String::from_utf8(sample().encode()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.swap(1, 2);
        assert!(Tree::decode(format!("{}\n", lines.join("\n")).as_bytes()).is_err());
        assert!(Tree::decode(text.replace("f 644", "f 9").as_bytes()).is_err());
        assert!(Tree::decode(&text.as_bytes()[..text.len() - 1]).is_err());
    }
}
