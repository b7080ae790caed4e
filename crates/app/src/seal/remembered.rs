//! What was found valid on this machine, so that unchanged files need not be read again.
//!
//! One file a model, signed with the user's own key, in the store where there is one and else in the cache; never in the
//! model. It is bound to the bytes of both signature files, to whom was believed, and to the path. Only what the kernel has
//! written out before it was read is remembered ([`host::disk`]), and nothing of a model that lies in memory.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use domain::{Digest, PathText};
use report::stamp::StampView;
use serde::{Deserialize, Serialize};
use trust::index::{Index, Kind, MAX_INDEX_BYTES, Remembered, SETTLED};
use trust::keyfile;
use trust::keys::PrivateKey;
use trust::measure::{FileState, Listing, Model, SeenKind};
use trust::name::Name;
use trust::verify::Known;

use super::own;
use crate::place::Surroundings;

/// What the kernel said of each entry.
pub(super) type States = BTreeMap<Name, (Kind, FileState)>;

/// What else is remembered of a verification that found everything valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// The model.
    pub(super) path: PathText,
    /// Bytes of the model signature.
    pub(super) bundle: Digest,
    /// Bytes of the seal.
    pub(super) seal: Option<Digest>,
    /// Who was believed, and for certificates at which given time.
    pub(super) trust: Digest,
    /// Seconds since 1970 until which that holds.
    pub(super) valid_until: Option<i64>,
    /// Who signed.
    pub(super) signer: Signer,
    pub(super) root: Digest,
    pub(super) tree: Option<String>,
    pub(super) excluded: Vec<String>,
    /// Seconds since 1970 that a time stamp gave, where certificates were looked at as of then.
    #[serde(default)]
    pub(super) stamped: Option<i64>,
    #[serde(default)]
    pub(super) time_stamps: Vec<StampView>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Files behind links are signed: their states are not in here.
    pub(super) through_links: bool,
}

/// Who signed, as it is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Signer {
    pub(super) method: String,
    pub(super) key: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subject: Option<String>,
}

/// Where the index of a model is, and the key that signs it.
pub(super) struct Memory {
    file: PathBuf,
    key: PrivateKey,
}

impl Memory {
    /// `None` where there is no place for it; verifying then reads everything.
    pub(super) fn of(surroundings: &Surroundings, model: &Model) -> Option<Self> {
        let folder = match surroundings.store_to_read() {
            Ok(store) if store.join("version").is_file() => store,
            _ => surroundings.cache().ok()?,
        };
        let kind = rustix::fs::statfs(model.path()).ok()?.f_type;
        if host::disk::is_in_memory(kind) {
            return None;
        }
        let name = Digest::of(model.path().as_os_str().as_encoded_bytes());
        let key = keyfile::own_key(&own::path(&surroundings.keys().ok()?)).ok()?;
        let file = folder.join("verified").join(format!("{name}.index"));
        // Not in the folder that is verified, also where a store lies in there.
        let outside = !file.starts_with(model.path());
        outside.then_some(Self { file, key })
    }

    /// What is remembered, if it is whole and our own.
    pub(super) fn recall(&self) -> Option<(About, Vec<Remembered>)> {
        let bytes = keyfile::read(&self.file, MAX_INDEX_BYTES).ok()?;
        let index = Index::decode(&bytes, self.key.public())?;
        let about = serde_json::from_slice(&index.about).ok()?;
        Some((about, index.entries))
    }

    /// Remembers; what cannot be written is not remembered, and nothing else.
    pub(super) fn keep(&self, about: &About, states: States, settling: &Settling) {
        // Files are settled by now.
        let states = states.into_iter();
        let settled =
            states.filter(|(_, (kind, state))| *kind != Kind::Link || settling.can(state));
        let entries = settled.map(|(name, (kind, state))| Remembered { name, kind, state });
        let Ok(about) = serde_json::to_vec(about) else {
            return;
        };
        let index = Index {
            about,
            entries: entries.collect(),
        };
        let Ok(bytes) = index.encode(&self.key) else {
            return;
        };
        if let Some(folder) = self.file.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let temporary = self
            .file
            .with_extension(format!("new-{}", std::process::id()));
        let written = std::fs::write(&temporary, bytes);
        if written
            .and_then(|()| std::fs::rename(&temporary, &self.file))
            .is_err()
        {
            let _ = std::fs::remove_file(&temporary);
        }
    }
}

/// What may be remembered of a model that is verified now: what was not changed since shortly before, on the device of the
/// folder (a file on another one may lie in memory).
pub(super) struct Settling {
    device: Option<u64>,
    started_ns: i128,
}

impl Settling {
    pub(super) fn of(model: &Model, started_ns: i128) -> Self {
        let facts = std::fs::metadata(model.path()).ok();
        Self {
            device: facts.map(|facts| facts.dev()),
            started_ns,
        }
    }

    fn can(&self, state: &FileState) -> bool {
        state.changed.max(state.modified) < self.started_ns - SETTLED
            && Some(state.device) == self.device
    }

    /// Has a file written out before it is read; whether its state then says what its bytes are.
    pub(super) fn settle(&self, file: BorrowedFd<'_>, state: &FileState) -> bool {
        self.can(state) && host::disk::write_out(file).is_ok()
    }
}

/// Whether all that is there is remembered and all that is remembered is there. Folders count where a seal covers them.
pub(super) fn is_all_the_same(entries: &[Remembered], listed: &Listing, folders: bool) -> bool {
    if !listed.unlisted.is_empty() {
        return false;
    }
    let counts = |kind: &SeenKind| folders || *kind != SeenKind::Folder;
    let mut found = listed.entries.iter().filter(|seen| counts(&seen.kind));
    let same = entries
        .iter()
        .all(|entry| found.next().is_some_and(|seen| entry.is(seen)));
    same && found.next().is_none()
}

/// The files among them.
pub(super) fn known(entries: Vec<Remembered>) -> Known {
    let files = entries.into_iter().filter(|entry| entry.kind == Kind::File);
    files.map(|entry| (entry.name, entry.state)).collect()
}

/// Names out of their texts.
pub(super) fn names(texts: &[String]) -> Vec<Name> {
    texts
        .iter()
        .filter_map(|text| Name::new(text).ok())
        .collect()
}
