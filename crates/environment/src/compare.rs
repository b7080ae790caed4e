//! What differs between two environments, name by name. What it means is [`crate::judge`]'s.

use std::collections::{BTreeMap, HashSet};

use domain::{Digest, Node, PathText};
use serde::Serialize;

/// How a name differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its bytes, or where its link points, are others.
    Modified,
    /// Only its permission bits are others.
    ModeChanged,
    /// It, or the folder it is in, could not be read on one side: nothing is known.
    Unread,
}

/// One name that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The logical name.
    pub path: PathText,
    /// How it differs.
    pub kind: ChangeKind,
    /// The digest that it had.
    pub before: Option<Digest>,
    /// The digest that it has.
    pub after: Option<Digest>,
}

/// Lists all names that differ, in order. What is unread on both sides is no change.
pub fn compare(old: &BTreeMap<PathText, Node>, new: &BTreeMap<PathText, Node>) -> Vec<Change> {
    let (dark_before, dark_after) = (unlisted(old), unlisted(new));
    let mut changes = Vec::new();
    for (path, before) in old {
        let after = new.get(path);
        let kind = match after {
            Some(after) => difference(before, after),
            None if is_in(path, &dark_after) || is_unread(before) => Some(ChangeKind::Unread),
            None => Some(ChangeKind::Removed),
        };
        push(&mut changes, path, kind, Some(before), after);
    }
    for (path, after) in new {
        if old.contains_key(path) {
            continue;
        }
        let unknown = is_in(path, &dark_before) || is_unread(after);
        let kind = if unknown {
            ChangeKind::Unread
        } else {
            ChangeKind::Added
        };
        push(&mut changes, path, Some(kind), None, Some(after));
    }
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    changes
}

fn push(
    changes: &mut Vec<Change>,
    path: &PathText,
    kind: Option<ChangeKind>,
    before: Option<&Node>,
    after: Option<&Node>,
) {
    if let Some(kind) = kind {
        changes.push(Change {
            path: path.clone(),
            kind,
            before: before.and_then(digest),
            after: after.and_then(digest),
        });
    }
}

fn difference(before: &Node, after: &Node) -> Option<ChangeKind> {
    match (before, after) {
        (Node::Unread { .. }, Node::Unread { .. }) => None,
        (Node::Unread { .. }, _) | (_, Node::Unread { .. }) => Some(ChangeKind::Unread),
        (
            Node::File {
                digest: one,
                mode: old,
                ..
            },
            Node::File {
                digest: other,
                mode: new,
                ..
            },
        ) if one == other => (old != new).then_some(ChangeKind::ModeChanged),
        _ => (before != after).then_some(ChangeKind::Modified),
    }
}

fn digest(node: &Node) -> Option<Digest> {
    match node {
        Node::File { digest, .. } | Node::Tree { digest, .. } => Some(*digest),
        Node::Link { .. } | Node::Unread { .. } => None,
    }
}

fn is_unread(node: &Node) -> bool {
    matches!(node, Node::Unread { .. })
}

/// Folders that were not, or not wholly, listed: they have an unread entry `.`.
pub(crate) fn unlisted(names: &BTreeMap<PathText, Node>) -> HashSet<&str> {
    let unread = names.iter().filter(|(_, node)| is_unread(node));
    unread
        .filter_map(|(path, _)| path.as_str().strip_suffix("/."))
        .collect()
}

pub(crate) fn is_in(path: &PathText, folders: &HashSet<&str>) -> bool {
    let mut rest = path.as_str();
    while !folders.is_empty() {
        let Some((folder, _)) = rest.rsplit_once('/') else {
            return false;
        };
        if folders.contains(folder) {
            return true;
        }
        rest = folder;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[(&str, Node)]) -> BTreeMap<PathText, Node> {
        list.iter()
            .map(|(path, node)| (PathText::from_bytes(path.as_bytes()), node.clone()))
            .collect()
    }

    fn file(text: &str, mode: u32) -> Node {
        Node::File {
            size: text.len() as u64,
            mode,
            digest: Digest::of(text.as_bytes()),
        }
    }

    fn link(target: &str) -> Node {
        Node::Link {
            target: PathText::from_bytes(target.as_bytes()),
        }
    }

    fn gap() -> Node {
        Node::Unread {
            reason: "permission denied".to_owned(),
        }
    }

    fn kinds(old: &[(&str, Node)], new: &[(&str, Node)]) -> Vec<(String, ChangeKind)> {
        let changes = compare(&names(old), &names(new));
        changes
            .into_iter()
            .map(|change| (change.path.to_string(), change.kind))
            .collect()
    }

    #[test]
    fn every_kind_of_difference_is_told_apart() {
        let old = [
            ("a", file("1", 0o644)),
            ("b", file("1", 0o644)),
            ("c", file("1", 0o644)),
            ("d", link("x")),
            ("e", link("x")),
        ];
        let new = [
            ("a", file("1", 0o644)),
            ("b", file("2", 0o644)),
            ("c", file("1", 0o755)),
            ("d", link("y")),
            ("f", link("x")),
        ];
        let expected = [
            ("b", ChangeKind::Modified),
            ("c", ChangeKind::ModeChanged),
            ("d", ChangeKind::Modified),
            ("e", ChangeKind::Removed),
            ("f", ChangeKind::Added),
        ];
        assert_eq!(
            kinds(&old, &new),
            expected.map(|(path, kind)| (path.to_owned(), kind))
        );
    }

    #[test]
    fn what_was_not_read_is_neither_added_nor_removed_nor_unchanged() {
        let whole = [("p/t/a", file("1", 0o644)), ("p/t/b", file("1", 0o644))];
        let dark = [("p/t/.", gap()), ("p/t/b", gap())];
        let unread = |paths: &[&str]| {
            paths
                .iter()
                .map(|path| ((*path).to_owned(), ChangeKind::Unread))
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(&whole, &dark), unread(&["p/t/.", "p/t/a", "p/t/b"]));
        assert_eq!(kinds(&dark, &whole), unread(&["p/t/.", "p/t/a", "p/t/b"]));
        assert_eq!(kinds(&dark, &dark), []);
    }
}
