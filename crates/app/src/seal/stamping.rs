//! A time stamp over the signature of a model, beside the signature in its bundle (Sigstore bundle v0.3).
//!
//! A certificate must have been valid when it signed, and no signer can say when that was. A token over the bytes of the
//! signature says that the signature existed no later; the signature covers all the rest, the value of the seal included,
//! so one token is enough for both files. No nonce is kept for it: an older token over the same bytes proves more, not less.

use std::path::PathBuf;

use domain::Digest;
use domain::entry::Act;
use domain::vouch::{Stamp, StampOf};
use ledger::Store;
use report::stamp::{SealStampView, StampView};
use trust::keyfile;
use trust::measure::Model;
use trust::oms::{self, Bundle};
use trust::time::{self, MAX_RESPONSE_BYTES};

use super::place::{self, Files};
use super::{SealError, SealRequest};
use crate::acts;
use crate::error::AppError;
use crate::place::Surroundings;
use crate::settings::Settings;
use crate::stamp::{self, PATIENCE, StampError, TimeRoots};

/// Adds to a bundle what the authority of the request answers, if one was named. Nothing is kept of an answer that does
/// not hold.
pub(super) fn at_sealing(
    surroundings: &Surroundings,
    request: &SealRequest,
    bundle: &mut Vec<u8>,
) -> Result<Option<StampView>, AppError> {
    let Some(url) = &request.tsa else {
        return Ok(None);
    };
    let settings = Settings::load(surroundings)?;
    let roots = TimeRoots::load(surroundings, &settings, &request.time_roots)?;
    let query = time::request(&imprint(bundle, request.limit)?, stamp::nonce()?);
    let token = stamp::exchange(url, &query, PATIENCE)?;
    let (stamped, view) = add(bundle, request.limit, &token, &roots)?;
    *bundle = stamped;
    Ok(Some(view))
}

/// Writes the request for a stamp over the signature in a bundle, if that was asked for.
pub(super) fn write_request(
    surroundings: &Surroundings,
    request: &SealRequest,
    bundle: &[u8],
) -> Result<Option<String>, AppError> {
    let Some(file) = &request.time_request else {
        return Ok(None);
    };
    let query = time::request(&imprint(bundle, request.limit)?, stamp::nonce()?);
    let path = surroundings.cwd.join(file);
    stamp::write(&path, &query)?;
    Ok(Some(surroundings.shown(&path)))
}

/// What the authority stamps: the digest of the signature's bytes.
fn imprint(bundle: &[u8], limit: u64) -> Result<Digest, SealError> {
    let bundle = Bundle::parse(bundle, limit.saturating_mul(2))?;
    Ok(Digest::of(bundle.envelope.signature()))
}

fn add(
    bundle: &[u8],
    limit: u64,
    token: &[u8],
    roots: &TimeRoots,
) -> Result<(Vec<u8>, StampView), AppError> {
    let imprint = imprint(bundle, limit)?;
    let parsed = time::Token::parse(token).map_err(StampError::from)?;
    let held = match roots.certificates() {
        Some(roots) => parsed.verify(&imprint, None, roots).map(drop),
        None => parsed.answers(&imprint, None),
    };
    held.map_err(StampError::from)?;
    let view = stamp::judge(token, &imprint, None, roots, stamp::empty(None)).view;
    let bundle = oms::stamped(bundle, limit.saturating_mul(2), token).map_err(SealError::from)?;
    Ok((bundle, view))
}

/// What was asked for with `--time-response`.
#[derive(Debug, Clone, Default)]
pub struct SealStampRequest {
    /// Folder or file that is sealed already.
    pub path: PathBuf,
    /// Its model signature, where that is elsewhere.
    pub signature: Option<PathBuf>,
    /// The authority's answer.
    pub response: PathBuf,
    /// Roots that are believed, beside those that are settled.
    pub time_roots: Vec<PathBuf>,
    /// The most bytes of one signed text.
    pub limit: u64,
}

/// Puts the authority's answer into the signature that is there. What is sealed is not read again.
pub fn take_stamp(
    surroundings: &Surroundings,
    request: &SealStampRequest,
) -> Result<SealStampView, AppError> {
    let model = Model::open(&surroundings.cwd.join(&request.path)).map_err(SealError::from)?;
    let named = request.signature.as_ref();
    let named = named.map(|path| surroundings.cwd.join(path));
    let files = Files::of(&model, named.as_deref());
    let settings = Settings::load(surroundings)?;
    let roots = TimeRoots::load(surroundings, &settings, &request.time_roots)?;
    let limit = request.limit.saturating_mul(2);
    let bundle = keyfile::read(&files.bundle, limit).map_err(SealError::from)?;
    let response = surroundings.cwd.join(&request.response);
    let answer = keyfile::read(&response, MAX_RESPONSE_BYTES as u64).map_err(StampError::from)?;
    let token = time::token_in(&answer).map_err(StampError::from)?;
    let (stamped, mut view) = add(&bundle, request.limit, &token, &roots)?;
    let store = Store::open_or_create(&surroundings.store_to_write())?;
    let recorded = record(surroundings, &store, &model, &stamped, &token)?;
    view.recorded = Some(recorded);
    place::replace(&files.bundle, &stamped)?;
    Ok(SealStampView {
        schema: "taintline.seal-stamp/1",
        path: surroundings.shown(model.path()),
        signature: surroundings.shown(&files.bundle),
        stamp: view,
    })
}

/// Signature, token and bundle become blobs, the act an entry.
fn record(
    surroundings: &Surroundings,
    store: &Store,
    model: &Model,
    bundle: &[u8],
    token: &[u8],
) -> Result<(String, u64), AppError> {
    let parsed = Bundle::parse(bundle, bundle.len() as u64).map_err(SealError::from)?;
    let digests = store.put_blobs(&[parsed.envelope.signature(), token, bundle])?;
    let [over, token, bundle] = digests.as_slice() else {
        return Err(AppError::NotRecorded {
            why: "the time stamp is not among the blobs".to_owned(),
        });
    };
    let stamp = Stamp {
        of: StampOf::Signature {
            path: model.path().into(),
            bundle: *bundle,
        },
        over: *over,
        token: *token,
        person: crate::run::person(),
    };
    let writer = crate::writing::open(store, &surroundings.keys()?)?;
    Ok(acts::record(&writer, Act::Stamped(Box::new(stamp)))?)
}
