//! `taintline seal`: measure, sign, record, publish; in this order.

use std::path::{Path, PathBuf};

use domain::Digest;
use domain::entry::{Act, Seal};
use ledger::Store;
use report::vouch::{ExcludedView, SealView, SignerView};
use trust::certificate::Chain;
use trust::keys::PrivateKey;
use trust::measure::Model;
use trust::name::Name;
use trust::oms::DEFAULT_IGNORED;
use trust::pem::MAX_PEM_BYTES;
use trust::seal::{Measured, Sealing, Signatures, measure, sign};
use trust::{keyfile, manifest};

use super::own::SigningKey;
use super::place::{self, Files};
use super::{SealError, place::name_inside, stamping};
use crate::acts;
use crate::error::AppError;
use crate::place::Surroundings;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct SealRequest {
    /// Folder or file.
    pub path: PathBuf,
    /// The private key; the user's own by default.
    pub key: Option<PathBuf>,
    /// The certificate of that key, and those above it.
    pub certificates: Vec<PathBuf>,
    /// Where the model signature goes.
    pub signature: Option<PathBuf>,
    /// Names to leave out.
    pub exclude: Vec<String>,
    /// Seal links too.
    pub links: bool,
    /// Threads that read.
    pub threads: usize,
    /// The most bytes of one signed text.
    pub limit: u64,
    /// The time stamping authority that is asked, a URL.
    pub tsa: Option<String>,
    /// Where the request for a time stamp goes, for somebody to carry.
    pub time_request: Option<PathBuf>,
    /// Roots of authorities that are believed, beside those that are settled.
    pub time_roots: Vec<PathBuf>,
}

/// Seals.
pub fn seal(surroundings: &Surroundings, request: &SealRequest) -> Result<SealView, AppError> {
    let model = Model::open(&surroundings.cwd.join(&request.path)).map_err(SealError::from)?;
    let named = request
        .signature
        .as_ref()
        .map(|path| surroundings.cwd.join(path));
    let files = Files::of(&model, named.as_deref());
    for file in [&files.bundle, &files.seal] {
        if !place::may_replace(file) {
            return Err(SealError::Occupied { path: file.clone() }.into());
        }
        place::can_write_beside(file)?;
    }
    let key = SigningKey::take(surroundings, request.key.as_deref())?;
    let key = key.key();
    let chain = chain(surroundings, request, key)?;
    let keys = surroundings.keys()?;
    let store = Store::open_or_create(&surroundings.store_to_write())?;
    let sealing = Sealing {
        excluded: excluded(&model, request, &files, &store)?,
        links: request.links,
        threads: request.threads,
    };
    let measured = measure(&model, &sealing).map_err(|things| SealError::Unsealable {
        path: model.path().into(),
        things,
    })?;
    let mut signed =
        sign(&model, &measured, request.links, key, chain.as_ref()).map_err(SealError::from)?;
    within(&signed, request.limit)?;
    let stamp = stamping::at_sealing(surroundings, request, &mut signed.bundle)?;
    let place = record(&store, &keys, &model, &measured, &signed, key)?;
    // Dying here leaves an act whose signatures are in the store alone.
    place::publish(&files, &signed.bundle, &signed.seal)?;
    let time_request = stamping::write_request(surroundings, request, &signed.bundle)?;
    let made = view(
        surroundings,
        &model,
        &measured,
        &signed,
        &files,
        key,
        chain.as_ref(),
        place,
    );
    Ok(SealView {
        stamp,
        time_request,
        ..made
    })
}

fn chain(
    surroundings: &Surroundings,
    request: &SealRequest,
    key: &PrivateKey,
) -> Result<Option<Chain>, SealError> {
    let Some(first) = request.certificates.first() else {
        return Ok(None);
    };
    let read = |path: &PathBuf| keyfile::read(&surroundings.cwd.join(path), MAX_PEM_BYTES);
    let texts: Result<Vec<_>, _> = request.certificates.iter().map(read).collect();
    let chain = Chain::for_key(key.public(), &texts?);
    let chain = chain.map_err(|why| SealError::Certificates {
        path: first.as_path().into(),
        why,
    })?;
    Ok(Some(chain))
}

/// What every signer leaves out, the signatures themselves, a store that lies inside, and what the user named.
fn excluded(
    model: &Model,
    request: &SealRequest,
    files: &Files,
    store: &Store,
) -> Result<Vec<Name>, SealError> {
    let mut names = files.inside(model);
    names.extend(name_inside(model, store.root()));
    let defaults = DEFAULT_IGNORED.iter().copied().map(str::to_owned);
    for entry in defaults.chain(request.exclude.iter().cloned()) {
        let plain = entry.trim_end_matches('/');
        let plain = plain.strip_prefix("./").unwrap_or(plain);
        names.push(Name::new(plain).map_err(|why| SealError::Exclude {
            entry: entry.clone(),
            why,
        })?);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// What is made here can be read with the same limit.
fn within(signed: &Signatures, limit: u64) -> Result<(), SealError> {
    let [bundle, seal] = signed.statements;
    for (what, bytes, file) in [
        ("signature", bundle, &signed.bundle),
        ("seal", seal, &signed.seal),
    ] {
        if bytes > limit {
            return Err(SealError::TooLarge { what, bytes, limit });
        }
        let (bytes, limit) = (file.len() as u64, place::most_bytes(limit));
        if bytes > limit {
            return Err(SealError::TooLarge { what, bytes, limit });
        }
    }
    Ok(())
}

/// Blobs first, then the entry; where it is.
fn record(
    store: &Store,
    keys: &Path,
    model: &Model,
    measured: &Measured,
    signed: &Signatures,
    key: &PrivateKey,
) -> Result<String, AppError> {
    let blobs = store.put_blobs(&[&signed.bundle, &signed.seal])?;
    let [signature, seal] = blobs.as_slice() else {
        return Err(AppError::NotRecorded {
            why: "the signatures are not among the blobs".to_owned(),
        });
    };
    let person = crate::run::person();
    let writer = crate::writing::open(store, keys)?;
    let act = Act::Sealed(Box::new(Seal {
        path: model.path().into(),
        root: signed.root,
        tree: signed.tree.to_string(),
        key: key.public().hint(),
        signature: *signature,
        seal: *seal,
        files: measured.files,
        bytes: measured.bytes,
        person,
    }));
    let (log, number) = acts::record(&writer, act)?;
    Ok(format!("{log}, entry {number}"))
}

#[expect(
    clippy::too_many_arguments,
    reason = "one view of everything that was done"
)]
fn view(
    surroundings: &Surroundings,
    model: &Model,
    measured: &Measured,
    signed: &Signatures,
    files: &Files,
    key: &PrivateKey,
    chain: Option<&Chain>,
    ledger: String,
) -> SealView {
    let content = |entry: &&manifest::Entry| entry.content().is_none();
    let others = measured.manifest.entries.values().filter(content).count() as u64;
    SealView {
        schema: "taintline.seal/1",
        path: surroundings.shown(model.path()),
        root: signed.root.to_string(),
        tree: signed.tree.to_string(),
        signer: SignerView {
            method: if chain.is_some() {
                "certificate"
            } else {
                "key"
            }
            .to_owned(),
            key: Some(key.public().hint()),
            ..SignerView::default()
        },
        signature: surroundings.shown(&files.bundle),
        seal: surroundings.shown(&files.seal),
        files: measured.files,
        bytes: measured.bytes,
        others,
        excluded: ExcludedView {
            names: measured
                .manifest
                .excluded
                .iter()
                .map(Name::to_string)
                .collect(),
            files: measured.excluded.files,
            bytes: measured.excluded.bytes,
        },
        notes: notes(
            measured.hard_links,
            &measured.collisions,
            measured.excluded.unseen,
        ),
        ledger,
        stamp: None,
        time_request: None,
    }
}

/// What is no error and worth knowing.
pub(super) fn notes(hard_links: u64, collisions: &[Vec<Name>], unseen: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if unseen > 0 {
        notes.push(format!(
            "{unseen} places of what is not covered could not be looked into, and are not counted"
        ));
    }
    if hard_links > 0 {
        notes.push(format!(
            "{hard_links} of the files have other names (hard links): whoever can write one of those changes them here"
        ));
    }
    for group in collisions.iter().take(5) {
        let names: Vec<_> = group.iter().map(Name::as_str).collect();
        notes.push(format!(
            "{} are one name on file systems that do not tell case",
            names.join(", ")
        ));
    }
    notes
}

/// The digest of a file's bytes.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}
