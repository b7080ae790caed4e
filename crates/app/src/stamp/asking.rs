//! From a tree head to a request, from an answer to an entry.
//!
//! A request that is not answered at once waits in the store, in `asked/`, under the digest that it is about: the request
//! with its nonce, and the signed head. Both are thrown away when the answer is recorded. Losing them costs a new request.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::Digest;
use domain::entry::Act;
use domain::vouch::{Stamp, StampOf};
use ledger::{Log, Store, TreeHead, tree_head};
use report::stamp::StampedView;
use trust::keyfile;
use trust::time::{self, MAX_RESPONSE_BYTES, Token};

use super::StampError;
use super::judging::{Judge, TimeRoots};
use crate::acts;
use crate::error::AppError;
use crate::net;
use crate::place::Surroundings;
use crate::settings::Settings;

/// Folder of the store with requests that wait for their answer.
const ASKED: &str = "asked";

/// How long an answer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The same at the end of a run.
const PATIENCE_OF_A_RUN: Duration = Duration::from_secs(5);

/// What was asked for.
#[derive(Debug, Clone)]
pub struct StampRequest {
    /// The log; one's own by default.
    pub log: Option<String>,
    /// How the authority is reached.
    pub how: How,
    /// Roots that are believed, beside those that are settled.
    pub time_roots: Vec<PathBuf>,
}

/// How the authority is reached.
#[derive(Debug, Clone)]
pub enum How {
    /// Somebody carries this file to it.
    Request(PathBuf),
    /// Somebody brought this file from it.
    Response(PathBuf),
    /// It is asked now, at this URL.
    Ask(String),
    /// It is asked now, at the URL of the settings.
    Settled,
}

/// Writes a request, or records an answer.
///
/// # Errors
/// Where the answer does not fit a request of this store, or does not hold under roots that were named, nothing is recorded.
pub fn stamp(surroundings: &Surroundings, request: &StampRequest) -> Result<StampedView, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    let settings = Settings::load(surroundings)?;
    let roots = TimeRoots::load(surroundings, &settings, &request.time_roots)?;
    match &request.how {
        How::Ask(url) => {
            let log = log(surroundings, &store, request.log.as_deref())?;
            ask(surroundings, &store, &log, url, &roots, PATIENCE)
        }
        How::Settled => {
            let url = settings.ledger.tsa.ok_or(StampError::NoAuthority)?;
            let log = log(surroundings, &store, request.log.as_deref())?;
            ask(surroundings, &store, &log, &url, &roots, PATIENCE)
        }
        How::Request(file) => {
            let log = log(surroundings, &store, request.log.as_deref())?;
            let asked = Asked::new(&store, &log)?;
            asked.keep(&store)?;
            let path = surroundings.cwd.join(file);
            write(&path, &asked.query)?;
            Ok(StampedView {
                request: Some(surroundings.shown(&path)),
                ..asked.view(&log, "asked")
            })
        }
        How::Response(file) => {
            let bytes = keyfile::read(&surroundings.cwd.join(file), MAX_RESPONSE_BYTES as u64);
            let token =
                time::token_in(&bytes.map_err(StampError::from)?).map_err(StampError::from)?;
            let (log, asked) = Asked::recall(&store, &token)?;
            record(surroundings, &store, &log, &asked, &token, &roots)
        }
    }
}

/// Asks for a stamp over the newest head at the end of a run, with less patience: a training does not wait for an authority.
pub(crate) fn stamp_at_end(
    surroundings: &Surroundings,
    settings: &Settings,
    url: &str,
    store: &Store,
    log: &str,
) -> Result<StampedView, AppError> {
    let roots = TimeRoots::load(surroundings, settings, &[])?;
    let log = crate::evidence::find_log(store, log)?;
    ask(surroundings, store, &log, url, &roots, PATIENCE_OF_A_RUN)
}

/// The log that is named, else the one that this user writes.
fn log(surroundings: &Surroundings, store: &Store, name: Option<&str>) -> Result<Log, AppError> {
    let own = || Ok::<_, AppError>(crate::writing::open(store, &surroundings.keys()?)?.log());
    let name = name.map_or_else(own, |name| Ok(name.to_owned()))?;
    crate::evidence::find_log(store, &name)
}

/// Asks an authority over HTTP and records what it answers.
fn ask(
    surroundings: &Surroundings,
    store: &Store,
    log: &Log,
    url: &str,
    roots: &TimeRoots,
    patience: Duration,
) -> Result<StampedView, AppError> {
    let asked = Asked::new(store, log)?;
    let token = exchange(url, &asked.query, patience)?;
    record(surroundings, store, log, &asked, &token, roots)
}

/// Sends a request, gives the token.
pub(crate) fn exchange(url: &str, query: &[u8], patience: Duration) -> Result<Vec<u8>, StampError> {
    let failed = |why| StampError::Net {
        url: url.to_owned(),
        why,
    };
    let kind = "application/timestamp-query";
    let reply = net::post(url, kind, query, MAX_RESPONSE_BYTES as u64, patience);
    let reply = reply.map_err(failed)?;
    if reply.status != 200 {
        let (url, status) = (url.to_owned(), reply.status);
        return Err(StampError::Status { url, status });
    }
    Ok(time::token_in(&reply.body)?)
}

/// A head about which an authority is asked.
pub(super) struct Asked {
    head: TreeHead,
    note: Vec<u8>,
    pub(super) query: Vec<u8>,
}

impl Asked {
    /// The newest signed head of a log. A request that waits for it already is used again.
    pub(super) fn new(store: &Store, log: &Log) -> Result<Self, AppError> {
        let (head, note) = log.signed_head()?;
        if head.size == 0 {
            let log = log.name().to_owned();
            return Err(StampError::Empty { log }.into());
        }
        let imprint = Digest::of(&note);
        let waiting = keyfile::read(&place(store, &imprint, "tsq"), MAX_RESPONSE_BYTES as u64);
        let waiting = waiting.ok().filter(|query| {
            let asked = time::asked(query);
            asked.is_some_and(|(digest, nonce)| digest == imprint && nonce.is_some())
        });
        let query = match waiting {
            Some(query) => query,
            None => time::request(&imprint, nonce()?),
        };
        Ok(Self { head, note, query })
    }

    fn imprint(&self) -> Digest {
        Digest::of(&self.note)
    }

    fn keep(&self, store: &Store) -> Result<(), StampError> {
        let imprint = self.imprint();
        let note = place(store, &imprint, "note");
        if let Some(folder) = note.parent() {
            std::fs::create_dir_all(folder).map_err(|source| StampError::Write {
                path: folder.to_owned(),
                source,
            })?;
        }
        write(&note, &self.note)?;
        write(&place(store, &imprint, "tsq"), &self.query)
    }

    /// The head that a token is over, and its log: one that was asked about, or that was stamped before.
    fn recall(store: &Store, token: &[u8]) -> Result<(Log, Self), AppError> {
        let stated = Token::parse(token).map_err(StampError::from)?;
        let imprint: Result<[u8; 32], _> = stated.stated().imprint.as_slice().try_into();
        let imprint = Digest::from_bytes(imprint.map_err(|_| StampError::NotAsked)?);
        let limit = ledger::note::MAX_NOTE_BYTES as u64;
        let kept = keyfile::read(&place(store, &imprint, "note"), limit);
        let note = match kept {
            Ok(note) if Digest::of(&note) == imprint => Some(note),
            _ => store.blob(&imprint)?,
        };
        let note = note.ok_or(StampError::NotAsked)?;
        let query = keyfile::read(&place(store, &imprint, "tsq"), MAX_RESPONSE_BYTES as u64);
        let query = query.unwrap_or_default();
        for log in store.logs()? {
            if let Ok((head, _)) = tree_head::open(&note, &log.key()?) {
                return Ok((log, Self { head, note, query }));
            }
        }
        Err(StampError::NotAsked.into())
    }

    fn view(&self, log: &Log, state: &'static str) -> StampedView {
        StampedView {
            schema: "taintline.stamp/1",
            state,
            log: log.name().to_owned(),
            size: self.head.size,
            root: self.head.root.to_string(),
            imprint: self.imprint().to_string(),
            request: None,
            stamp: None,
        }
    }
}

/// Judges an answer, stores head and token, and makes the act an entry.
pub(super) fn record(
    surroundings: &Surroundings,
    store: &Store,
    log: &Log,
    asked: &Asked,
    token: &[u8],
    roots: &TimeRoots,
) -> Result<StampedView, AppError> {
    let imprint = asked.imprint();
    let parsed = Token::parse(token).map_err(StampError::from)?;
    let nonce = time::asked(&asked.query).and_then(|(_, nonce)| nonce);
    let held = match roots.certificates() {
        Some(roots) => parsed.verify(&imprint, nonce, roots).map(|_| ()),
        None => parsed.answers(&imprint, nonce),
    };
    held.map_err(StampError::from)?;
    let digests = store.put_blobs(&[asked.note.as_slice(), token])?;
    let [over, token] = digests.as_slice() else {
        return Err(AppError::NotRecorded {
            why: "the time stamp is not among the blobs".to_owned(),
        });
    };
    let stamp = Stamp {
        of: StampOf::TreeHead {
            log: log.name().to_owned(),
            size: asked.head.size,
            root: asked.head.root,
        },
        over: *over,
        token: *token,
        person: crate::run::person(),
    };
    let writer = crate::writing::open(store, &surroundings.keys()?)?;
    let place = acts::record(&writer, Act::Stamped(Box::new(stamp.clone())))?;
    forget(store, &imprint);
    let judged = Judge::new(store, roots).head(&stamp, Some(place));
    Ok(StampedView {
        stamp: Some(judged.view),
        ..asked.view(log, "stamped")
    })
}

fn forget(store: &Store, imprint: &Digest) {
    for ending in ["tsq", "note"] {
        // What stays is asked about once more and answered by the same token.
        let _ = std::fs::remove_file(place(store, imprint, ending));
    }
}

fn place(store: &Store, imprint: &Digest, ending: &str) -> PathBuf {
    let name = format!("{imprint}.{ending}");
    store.root().join(ASKED).join(name)
}

pub(crate) fn nonce() -> Result<[u8; 8], AppError> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|_| AppError::NoRandomness)?;
    Ok(nonce)
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), StampError> {
    std::fs::write(path, bytes).map_err(|source| StampError::Write {
        path: path.to_owned(),
        source,
    })
}
