//! `taintline seal`: measure, sign, record, publish; in this order.

use std::path::{Path, PathBuf};

use domain::entry::{Act, ENTRY_VERSION, Seal};
use domain::{Body, Digest, Entry, RunId, Tier};
use host::clock::wall_us;
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

use super::place::{self, Files};
use super::{SealError, place::name_inside};
use crate::error::AppError;
use crate::place::Surroundings;

/// Name of the user's own signing key among the private keys.
pub(crate) const OWN_KEY: &str = "seal.key";

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
    }
    let key = private_key(surroundings, request)?;
    let chain = chain(surroundings, request, &key)?;
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
    let signed =
        sign(&model, &measured, request.links, &key, chain.as_ref()).map_err(SealError::from)?;
    within(&signed, request.limit)?;
    let place = record(&store, &keys, &model, &measured, &signed, &key)?;
    // Dying here leaves an act whose signatures are in the store alone; dying between the two, a seal without its
    // model signature, which verifies as nothing.
    place::write(&files.seal, &signed.seal)?;
    place::write(&files.bundle, &signed.bundle)?;
    Ok(view(
        surroundings,
        &model,
        &measured,
        &signed,
        &files,
        &key,
        chain.as_ref(),
        place,
    ))
}

fn private_key(surroundings: &Surroundings, request: &SealRequest) -> Result<PrivateKey, AppError> {
    let key = match &request.key {
        Some(path) => keyfile::read_private(&surroundings.cwd.join(path)),
        None => keyfile::own_key(&surroundings.keys()?.join(OWN_KEY)),
    };
    Ok(key.map_err(SealError::from)?)
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

fn within(signed: &Signatures, limit: u64) -> Result<(), SealError> {
    for (what, bytes) in [("signature", &signed.bundle), ("seal", &signed.seal)] {
        let bytes = bytes.len() as u64;
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
    let writer = store.writer(&format!("{}@{}", person.user, person.host), keys)?;
    let now = wall_us();
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|_| AppError::NoRandomness)?;
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
    let entry = Entry {
        v: ENTRY_VERSION,
        run: RunId::new(u64::try_from(now / 1000).unwrap_or(0), random),
        seq: 0,
        event_us: now,
        capture_us: now,
        tier: Tier::Supervisor,
        body: Body::Act(act),
    };
    let appended = writer.append(&[entry.encode()?])?;
    let number = appended.head.size.saturating_sub(1);
    Ok(format!("{}, entry {number}", appended.log))
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
        notes: notes(measured.hard_links, &measured.collisions),
        ledger,
    }
}

/// What is no error and worth knowing.
pub(super) fn notes(hard_links: u64, collisions: &[Vec<Name>]) -> Vec<String> {
    let mut notes = Vec::new();
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
