//! What was found valid on this machine, so that unchanged files need not be read again.
//!
//! One file a model, signed with the user's own key, in the store where there is one and else in the cache; never in the
//! model. It is bound to the bytes of both signature files, to whom was believed, and to the path.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::{Digest, PathText};
use serde::{Deserialize, Serialize};
use trust::index::{Index, Kind, MAX_INDEX_BYTES, Remembered, SETTLED};
use trust::keyfile;
use trust::keys::PrivateKey;
use trust::measure::{FileState, Listing, Model, SeenKind};
use trust::name::Name;
use trust::verify::Known;

use super::making::OWN_KEY;
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
        let name = Digest::of(model.path().as_os_str().as_encoded_bytes());
        let key = keyfile::own_key(&surroundings.keys().ok()?.join(OWN_KEY)).ok()?;
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
    pub(super) fn keep(&self, about: &About, states: States, started_ns: i128) {
        let is_settled = |kind, state: &FileState| {
            kind == Kind::Folder || state.changed.max(state.modified) < started_ns - SETTLED
        };
        let settled = states
            .into_iter()
            .filter(|(_, (kind, state))| is_settled(*kind, state));
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
