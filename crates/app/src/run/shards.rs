//! A checkpoint in several safetensors files is one tree, named by its index.
//!
//! Frameworks write the shards and then `model.safetensors.index.json`, whose `weight_map` says which tensor is in which
//! shard. The shards are recorded one by one as they are saved; when the run ends, each index that it wrote becomes one
//! more write: a tree of the index itself and of the shards that it names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use domain::entry::Write;
use domain::{Body, Digest, Node, PathText, Tree};

use super::recorder::Recorder;

/// Ending of an index.
pub(super) const INDEX_ENDING: &str = ".safetensors.index.json";
const INDEX_BYTES_MAX: u64 = 64 << 20;

impl Recorder<'_> {
    /// Records each index that the run wrote as one checkpoint.
    pub(super) fn record_sharded(&mut self) {
        for index in std::mem::take(&mut self.shard_indexes) {
            match self.sharded(&index) {
                Ok(Some(write)) => self.journal.record(Body::Write(write)),
                Ok(None) => {}
                Err(why) => self.gap(&format!("sharded checkpoint {index}"), &why),
            }
        }
    }

    fn sharded(&mut self, index: &PathText) -> Result<Option<Write>, String> {
        let path = PathBuf::from(OsString::from_vec(index.to_bytes()));
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path)
            .map_err(|error| format!("its index cannot be opened: {error}"))?;
        let read = file.take(INDEX_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| format!("its index cannot be read: {error}"))?;
        let names = shard_names(&bytes).ok_or("its index is no weight map")?;
        let folder = index
            .as_str()
            .strip_suffix(index.file_name())
            .unwrap_or_default()
            .to_owned();
        let mut tree = Tree::new();
        let own = Node::File {
            size: bytes.len() as u64,
            mode: 0o644,
            digest: Digest::of(&bytes),
        };
        tree.insert(PathText::from_text(index.file_name()), own);
        let mut last: Option<Write> = None;
        for name in names {
            let shard = PathText::from_text(&format!("{folder}{name}"));
            let known = self.writes.get(&shard);
            let node = match known.and_then(|write| write.digest.zip(write.identity.as_ref())) {
                Some((digest, identity)) => Node::File {
                    size: identity.size,
                    mode: 0o644,
                    digest,
                },
                None => Node::Unread {
                    reason: "this run did not save it".to_owned(),
                },
            };
            last = known.cloned().or(last);
            tree.insert(PathText::from_text(&name), node);
        }
        let Some(last) = last else { return Ok(None) };
        let digest = self.journal.blob(&tree.encode());
        Ok(Some(Write {
            path: index.clone(),
            from: None,
            digest,
            identity: None,
            summary: None,
            ..last
        }))
    }
}

/// Names of the shards in an index, each once; `None` when it is not an index or names a file outside its folder.
fn shard_names(bytes: &[u8]) -> Option<BTreeSet<String>> {
    let index: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let names = index
        .get("weight_map")?
        .as_object()?
        .values()
        .map(|name| name.as_str().map(str::to_owned));
    let names: BTreeSet<String> = names.collect::<Option<_>>()?;
    let inside =
        |name: &String| !name.starts_with('/') && !name.split('/').any(|part| part == "..");
    names.iter().all(inside).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_its_shards_and_none_outside_its_folder() {
        let names = shard_names(br#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}}"#);
        assert_eq!(names.map(|names| names.len()), Some(2));
        for bad in [
            &br#"{"weight_map": {"a": "../x"}}"#[..],
            br#"{"weight_map": {"a": 3}}"#,
            b"[]",
            b"{",
        ] {
            assert!(shard_names(bad).is_none());
        }
    }
}
