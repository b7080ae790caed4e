//! The ledger's own use-cases: list entries, show one, prove one, verify a proof that came from elsewhere.

use std::path::{Path, PathBuf};

use domain::{Body, Entry};
use ledger::note::VerifierKey;
use ledger::tlog_proof::{MAX_PROOF_BYTES, ProofError, ProofSyntax, TlogProof};
use ledger::{KeptHead, Log, MAX_ENTRY_BYTES, Store};
use report::time::rfc3339;
use report::view::{EntriesView, EntryLine, EntryView, HeadView, ProofView, ProvedView};

use crate::bounded;
use crate::error::AppError;
use crate::place::Surroundings;
use crate::witness;

/// Entries that are read at once.
const BATCH: u64 = 256;

/// Why there is no such evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Neither `NUMBER` nor `LOG:NUMBER`.
    #[error("{asked} does not name an entry: give its number, or LOG:NUMBER")]
    NoName {
        /// What was asked for.
        asked: String,
    },
    /// Several logs, or none, and only a number.
    #[error("the store has {logs} logs; say which entry {asked} is meant: LOG:NUMBER")]
    WhichLog {
        /// What was asked for.
        asked: String,
        /// How many logs there are.
        logs: usize,
    },
    /// No such log.
    #[error("the store has no log {name}")]
    NoLog {
        /// What was asked for.
        name: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key is not a verifier key.
    #[error("{given}: {why}")]
    Key {
        /// What was given.
        given: String,
        /// Why it is none.
        why: ledger::note::VerifierKeySyntax,
    },
    /// The file is not a proof.
    #[error("{}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: ProofSyntax,
    },
    /// The file holds no tree head.
    #[error("{}: {why}", path.display())]
    Head {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: ledger::KeptSyntax,
    },
    /// The store has several logs, or none, and none was named.
    #[error("the store has {logs} logs; say which with --log")]
    WhichHead {
        /// How many there are.
        logs: usize,
    },
    /// The proof holds no entry, and none was given.
    #[error("{}: the proof does not hold the entry; give it with --entry", path.display())]
    NoEntry {
        /// The file.
        path: PathBuf,
    },
}

/// The newest `count` entries of a log, or of each, oldest first.
pub fn entries(
    surroundings: &Surroundings,
    log: Option<&str>,
    count: u64,
    full: bool,
) -> Result<EntriesView, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    let mut view = EntriesView {
        schema: "taintline.log/1",
        entries: Vec::new(),
    };
    let logs = match log {
        Some(name) => vec![find_log(&store, name)?],
        None => store.logs()?,
    };
    for log in logs {
        let size = log.head()?.size;
        let mut next = size.saturating_sub(count);
        while next < size {
            let end = size.min((next / BATCH + 1) * BATCH);
            for (number, bytes) in (next..end).zip(log.entries(next..end)?) {
                let mut line = line(log.name(), number, &bytes);
                line.entry = full.then(|| serde_json::from_slice(&bytes).ok()).flatten();
                view.entries.push(line);
            }
            next = end;
        }
    }
    Ok(view)
}

/// One entry, in full.
pub fn entry(surroundings: &Surroundings, asked: &str) -> Result<EntryView, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    let (log, number) = find_entry(&store, asked)?;
    let bytes = log.entries(number..number.saturating_add(1))?;
    let bytes = bytes.first().map(Vec::as_slice).unwrap_or_default();
    Ok(EntryView {
        schema: "taintline.entry/1",
        log: log.name().to_owned(),
        number,
        leaf: ledger::tree::leaf(bytes).to_string(),
        entry: serde_json::from_slice(bytes).unwrap_or_else(|_| {
            serde_json::Value::String(String::from_utf8_lossy(bytes).into_owned())
        }),
    })
}

/// Writes a proof of one entry; by default beside nothing, in the working directory.
pub fn prove(
    surroundings: &Surroundings,
    asked: &str,
    output: Option<&Path>,
) -> Result<ProofView, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    let (log, number) = find_entry(&store, asked)?;
    let proof = log.of_snapshot(|snapshot| witness::prove(&log, snapshot, number))?;
    let path = surroundings.cwd.join(output.map_or_else(
        || PathBuf::from(format!("{}-{number}.tlog-proof", log.name())),
        Path::to_owned,
    ));
    let bytes = proof.proof.encode();
    std::fs::write(&path, &bytes).map_err(|source| EvidenceError::File {
        path: path.clone(),
        source,
    })?;
    Ok(ProofView {
        schema: "taintline.proof/1",
        file: surroundings.shown(&path),
        bytes: bytes.len() as u64,
        log: log.name().to_owned(),
        number,
        size: proof.head.size,
        root: proof.head.root.to_string(),
        key: log.key()?.encode(),
        cosigners: proof.cosigners,
    })
}

/// Verifies a proof file with nothing but a key. A proof that proves nothing is an answer, not an error.
pub fn verify_proof(
    surroundings: &Surroundings,
    file: &Path,
    trusted: &Trusted<'_>,
    entry: Option<&Path>,
) -> Result<ProvedView, AppError> {
    let named = trusted.key.map(|key| read_key(surroundings, key));
    let named = named.transpose()?;
    let policy = trusted.policy.map(|policy| surroundings.cwd.join(policy));
    let policy = policy.map(|path| witness::read_policy(&path)).transpose()?;
    let path = surroundings.cwd.join(file);
    let bytes = read(&path, MAX_PROOF_BYTES as u64)?;
    let given = match entry {
        Some(entry) => {
            let path = surroundings.cwd.join(entry);
            Some(read(&path, MAX_ENTRY_BYTES as u64)?)
        }
        None => None,
    };
    let proof = TlogProof::parse(&bytes).map_err(|why| EvidenceError::Syntax {
        path: path.clone(),
        why,
    })?;
    let key = match named {
        Some(key) => key,
        None => witness::log_of(policy.as_ref(), &proof)?,
    };
    let verified = proof.verify(&key, given.as_deref());
    if verified == Err(ProofError::NoEntry) {
        return Err(EvidenceError::NoEntry { path }.into());
    }
    let (proved, mut problem) = match verified {
        Ok(proved) => (Some(proved), None),
        Err(why) => (None, Some(why.to_string())),
    };
    let mut witnesses = None;
    if let (Some(policy), Some((_, head))) = (&policy, proved) {
        let judged = witness::judge_proof(policy, &proof, &key, head);
        problem = judged.1;
        witnesses = Some(judged.0);
    }
    Ok(ProvedView {
        schema: "taintline.proved/1",
        file: surroundings.shown(&path),
        log: key.name().to_owned(),
        number: proof.index,
        size: proved.map(|(_, head)| head.size),
        root: proved.map(|(_, head)| head.root.to_string()),
        entry: proved.map(|(entry, _)| String::from_utf8_lossy(entry).into_owned()),
        problem,
        witnesses,
    })
}

/// Whose word counts for a proof: the key of its log, or a policy, or both.
#[derive(Debug, Clone, Copy)]
pub struct Trusted<'a> {
    /// The log's key, as text or as a file.
    pub key: Option<&'a str>,
    /// A policy file: the quorum in it is demanded, and its logs count where no key is given.
    pub policy: Option<&'a Path>,
}

/// A tree head that was kept in a file: the file as a person reads it, and what it says.
pub(crate) fn kept_head(
    surroundings: &Surroundings,
    file: &Path,
) -> Result<(String, KeptHead), AppError> {
    let path = surroundings.cwd.join(file);
    let bytes = read(&path, MAX_PROOF_BYTES as u64)?;
    let kept = KeptHead::parse(&bytes).map_err(|why| EvidenceError::Head {
        path: path.clone(),
        why,
    })?;
    Ok((surroundings.shown(&path), kept))
}

/// The newest signed head of a log, for keeping elsewhere; written to `output` where one is named.
pub fn head(
    surroundings: &Surroundings,
    log: Option<&str>,
    output: Option<&Path>,
) -> Result<HeadView, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    let log = if let Some(name) = log {
        find_log(&store, name)?
    } else {
        let mut logs = store.logs()?;
        let count = logs.len();
        let only = logs.pop().filter(|_| count == 1);
        only.ok_or(EvidenceError::WhichHead { logs: count })?
    };
    let (head, note) = log.signed_head()?;
    let path = output.map(|output| surroundings.cwd.join(output));
    if let Some(path) = &path {
        std::fs::write(path, &note).map_err(|source| EvidenceError::File {
            path: path.clone(),
            source,
        })?;
    }
    Ok(HeadView {
        schema: "taintline.head/1",
        log: log.name().to_owned(),
        entries: head.size,
        root: head.root.to_string(),
        key: log.key()?.encode(),
        note: String::from_utf8_lossy(&note).into_owned(),
        file: path.map(|path| surroundings.shown(&path)),
    })
}

/// A key as text, or a file that holds it.
pub(crate) fn read_key(surroundings: &Surroundings, given: &str) -> Result<VerifierKey, AppError> {
    let why = match VerifierKey::parse(given) {
        Ok(key) => return Ok(key),
        Err(why) => why,
    };
    let path = surroundings.cwd.join(given);
    let malformed = |why| EvidenceError::Key {
        given: given.to_owned(),
        why,
    };
    if !path.is_file() {
        return Err(malformed(why).into());
    }
    let bytes = read(&path, 4096)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(VerifierKey::parse(text.trim_end_matches('\n')).map_err(malformed)?)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, EvidenceError> {
    bounded::read(path, limit).map_err(|source| EvidenceError::File {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn find_log(store: &Store, name: &str) -> Result<Log, AppError> {
    let mut logs = store.logs()?.into_iter();
    let found = logs.find(|log| log.name() == name);
    Ok(found.ok_or_else(|| EvidenceError::NoLog {
        name: name.to_owned(),
    })?)
}

/// The log and number that `NUMBER` or `LOG:NUMBER` names.
fn find_entry(store: &Store, asked: &str) -> Result<(Log, u64), AppError> {
    let (log, number) = match asked.rsplit_once(':') {
        Some((log, number)) => (Some(log), number),
        None => (None, asked),
    };
    let number = number.parse().map_err(|_| EvidenceError::NoName {
        asked: asked.to_owned(),
    })?;
    if let Some(log) = log {
        return Ok((find_log(store, log)?, number));
    }
    let mut logs = store.logs()?;
    match (logs.pop(), logs.len()) {
        (Some(log), 0) => Ok((log, number)),
        (last, others) => Err(EvidenceError::WhichLog {
            asked: asked.to_owned(),
            logs: others + usize::from(last.is_some()),
        }
        .into()),
    }
}

fn line(log: &str, number: u64, bytes: &[u8]) -> EntryLine {
    let entry = Entry::decode(bytes).ok();
    EntryLine {
        log: log.to_owned(),
        number,
        captured: entry.as_ref().map(|entry| rfc3339(entry.capture_us)),
        run: entry.as_ref().map(|entry| entry.run.to_string()),
        seq: entry.as_ref().map(|entry| entry.seq),
        what: entry.map_or_else(
            || format!("{} bytes that are no entry of this version", bytes.len()),
            |entry| what(&entry.body).to_owned(),
        ),
        entry: None,
    }
}

fn what(body: &Body) -> &'static str {
    use domain::entry::Act;
    match body {
        Body::Act(act) => match act {
            Act::Launch(_) => "launch",
            Act::Joined(_) => "process joined",
            Act::Exit(_) => "process ended",
            Act::Signal(_) | Act::SignalMade(_) => "signal",
            Act::ClockBack { .. } | Act::ClockStep { .. } => "clock was set",
            Act::Clock(_) => "state of the clock",
            Act::EnvironmentAccepted => "environment accepted",
            Act::WaysIn { .. } => "ways in",
            Act::End(_) => "end",
            Act::Interrupted => "interrupted",
            Act::Sealed(_) => "seal",
            Act::Stamped(_) => "time stamp",
            Act::Approved(_) => "approval",
            Act::SpecSigned(_) => "spec signed",
            Act::SpecUsed(_) => "spec used",
            Act::CheckpointKept(_) => "checkpoint kept",
            Act::Replayed(_) => "steps computed again",
            Act::Bisected(_) => "bisection",
            Act::Audited(_) => "audit",
            Act::Alive(_) => "heartbeat",
            Act::Pruned(_) => "blobs pruned",
            Act::LogEnded(_) => "log ended",
            Act::LogBegun(_) => "log begun",
            Act::KeyRotated(_) => "seal key exchanged",
            Act::EnvironmentChecked(_) => "environment checked",
            Act::FileChanged(_) => "file changed",
            Act::Intervened(_) => "hands laid on a process",
            Act::DaemonSeen(_) => "host daemon",
            Act::WatchBegun(_) => "watch began",
            Act::RunRegistered(_) => "run registered",
            Act::FolderWatched { .. } => "folder watched",
            Act::RunLeft { .. } => "run left",
            Act::WatchBeat(_) => "heartbeat of the watch",
            Act::WatchEnded => "watch ended",
        },
        Body::Load(_) => "load",
        Body::Write(_) => "write",
        Body::Steps(_) => "steps",
        Body::Examined(_) => "files examined",
        Body::Finding(_) => "finding",
        Body::Gap(_) => "gap",
    }
}
