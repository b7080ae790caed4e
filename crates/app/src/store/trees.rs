//! Which trees lie in a tree: a blob that only another blob names is needed all the same.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::{Digest, Node, Tree};
use ledger::Store;

/// Trees in trees at most, as everywhere.
const DEPTH_MAX: usize = 16;

/// Trees below one root at most; an environment has some hundred.
const TREES_MAX: usize = 100_000;

/// Reads trees, each once.
pub(crate) struct Trees<'a> {
    store: &'a Store,
    known: HashMap<Digest, Vec<Digest>>,
    /// Trees of which it is not known what is below them: unreadable, no tree, or beyond what is followed. One that is not
    /// there is not among them: it may have been pruned, and the audit names it otherwise.
    doubtful: BTreeSet<Digest>,
}

impl<'a> Trees<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            known: HashMap::new(),
            doubtful: BTreeSet::new(),
        }
    }

    /// All trees below `root`, without it. What is missing or no tree has none below it: the audit names it.
    pub(crate) fn below(&mut self, root: Digest) -> Vec<Digest> {
        let mut found = Vec::new();
        let mut seen = HashSet::from([root]);
        let mut waiting = vec![(root, 0)];
        while let Some((digest, depth)) = waiting.pop() {
            for child in self.children(digest) {
                if found.len() >= TREES_MAX || depth >= DEPTH_MAX {
                    self.doubtful.insert(root);
                } else if seen.insert(child) {
                    found.push(child);
                    waiting.push((child, depth + 1));
                }
            }
        }
        found
    }

    /// Trees of which it is not known what is below them.
    pub(crate) fn doubtful(&self) -> &BTreeSet<Digest> {
        &self.doubtful
    }

    fn children(&mut self, digest: Digest) -> Vec<Digest> {
        if let Some(known) = self.known.get(&digest) {
            return known.clone();
        }
        let tree = match self.store.blob(&digest) {
            Ok(Some(bytes)) => Tree::decode(&bytes).ok(),
            Ok(None) => Some(Tree::new()),
            Err(_) => None,
        };
        let tree = tree.unwrap_or_else(|| {
            self.doubtful.insert(digest);
            Tree::new()
        });
        let children: Vec<Digest> = tree
            .iter()
            .filter_map(|(_, node)| match node {
                Node::Tree { digest, .. } => Some(*digest),
                _ => None,
            })
            .collect();
        self.known.insert(digest, children.clone());
        children
    }
}
