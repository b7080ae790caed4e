//! A replay that another machine makes: a signed file with all that it needs, and a signed answer.
//!
//! The job holds the entries of the run's record as they stand in the log, the blobs that these name, and the bytes of data and checkpoints. Who
//! executes it lays out a store of its own from it and replays there as anywhere; the answer is the act that followed, with its report
//! and the steps as they were computed again. Both are signed statements; a job by an unknown key is not executed.

mod container;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::entry::{Act, Kind};
use domain::replay::Replayed;
use domain::{Digest, RunId};
use ledger::Store;
use report::replay::{JobView, ReplayView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trust::envelope::Envelope;
use trust::keys::PublicKey;
use trust::oms::{Bundle, Method};
use trust::statement::{Statement, Subject};

use super::place::Workplace;
use super::{ReplayRequest, Task, Variation, inputs, process, replay, segment, subject};
use crate::attest::{AttestError, MAX_BUNDLE_BYTES, MAX_BYTES, believed};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::queries::Reading;
use crate::seal::own::SigningKey;
use crate::{acts, evidence, stamp, writing};
use container::{Member, Reader, Source};

use super::differences::PutBack;

/// A job.
pub(crate) const JOB: &str = "https://taintline/replay-job/v1";
/// What followed.
pub(crate) const ANSWER: &str = "https://taintline/replay-answer/v1";
/// Entries that are appended at once.
const BATCH: usize = 256;

/// A job or an answer that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what was signed.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nobody that is believed signed it.
    #[error("{}: {why}", path.display())]
    Unsigned {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Not every run can be sent.
    #[error("no job can be made of {run}: {why}")]
    Unfit {
        /// The run.
        run: String,
        /// Why.
        why: String,
    },
}

impl JobError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsigned { .. } => Some("name the public key of its signer with --key"),
            _ => None,
        }
    }
}

impl From<JobError> for AppError {
    fn from(error: JobError) -> Self {
        Self::Job(Box::new(error))
    }
}

/// What is to be computed again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    run: RunId,
    name: String,
    steps: Option<(u64, u64)>,
    resume: Vec<String>,
    threads: Option<u32>,
    /// The record, entry by entry.
    entries: Vec<Member>,
    blobs: Vec<Member>,
    /// Data and checkpoints.
    inputs: Vec<Member>,
}

/// What followed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// Digest of the job's statement.
    job: Digest,
    replayed: Replayed,
    blobs: Vec<Member>,
}

/// Which files, keys and places.
#[derive(Debug, Clone, Default)]
pub struct JobRequest {
    /// The job, or the answer.
    pub file: PathBuf,
    /// Where the answer goes, where one is written.
    pub answer: Option<PathBuf>,
    /// Public keys that are believed; the user's own by default.
    pub keys: Vec<PathBuf>,
    /// How the replay is made here; run, steps and resume come from the job.
    pub replay: ReplayRequest,
}

/// Writes a job.
pub fn write_job(
    surroundings: &Surroundings,
    request: &ReplayRequest,
    file: &Path,
) -> Result<JobView, AppError> {
    let reading = Reading::open(surroundings)?;
    let subject = subject(&reading, surroundings, &request.run)?;
    if request.code.is_some() {
        return Err(JobError::Unfit {
            run: subject.record.name(),
            why: "a commit stays in its repository; without --code the recorded files are sent"
                .to_owned(),
        }
        .into());
    }
    let (segment, program) = (
        segment(&subject, request)?,
        process::program(&subject, None)?,
    );
    let nothing = PutBack::default();
    let task = Task {
        subject: &subject,
        segment: &segment,
        program: &program,
        request,
        variation: Variation::of(request),
        back: &nothing,
    };
    let (mut entries, mut blobs, mut files) = (Vec::new(), Vec::new(), Vec::new());
    record_of(&reading, subject.record.id, &mut entries, &mut blobs)?;
    let mut seen = BTreeSet::new();
    for (digest, found) in inputs::found(&task) {
        if seen.insert(digest) {
            let bytes = std::fs::metadata(&found).map_err(|source| JobError::File {
                path: found.clone(),
                source,
            })?;
            let member = Member {
                sha256: digest,
                bytes: bytes.len(),
            };
            files.push((member, Source::File(found)));
        }
    }
    let of = |all: &[(Member, Source)]| all.iter().map(|(member, _)| *member).collect::<Vec<_>>();
    let job = Job {
        run: subject.record.id,
        name: subject.record.name(),
        steps: request.steps,
        resume: request.resume.clone(),
        threads: request.threads,
        entries: of(&entries),
        blobs: of(&blobs),
        inputs: of(&files),
    };
    let key = SigningKey::take(surroundings, None)?;
    let path = surroundings.cwd.join(file);
    let (bundle, _) = signed(&key, JOB, &format!("run:{}", job.run), &job)?;
    let members: Vec<_> = entries.into_iter().chain(blobs).chain(files).collect();
    container::write(&path, &bundle, &members)?;
    Ok(view(
        "job",
        surroundings,
        &path,
        &job.name,
        key.key().public(),
        &members,
    ))
}

/// The entries of a run, and the blobs that they name, trees within trees too.
fn record_of(
    reading: &Reading,
    run: RunId,
    entries: &mut Vec<(Member, Source)>,
    blobs: &mut Vec<(Member, Source)>,
) -> Result<(), AppError> {
    let mut named = BTreeSet::new();
    for place in reading.index.entries_of(run)? {
        let log = evidence::find_log(&reading.store, &place.log)?;
        let bytes = log.entries(place.number..place.number.saturating_add(1))?;
        let Some(bytes) = bytes.into_iter().next() else {
            continue;
        };
        if let Ok(entry) = domain::Entry::decode(&bytes) {
            named.extend(entry.blobs());
            if let domain::Body::Load(load) = &entry.body
                && load.what == Kind::Environment
                && let Some(tree) = load.digest
            {
                let within = RefCell::new(BTreeSet::new());
                // What cannot be read is not sent, and missing there as here.
                let _ = environment::flatten(tree, |digest| {
                    within.borrow_mut().insert(digest);
                    reading.store.blob(&digest).ok().flatten()
                });
                named.extend(within.into_inner());
            }
        }
        entries.push((Member::of(&bytes), Source::Bytes(bytes)));
    }
    for digest in named {
        if let Ok(Some(bytes)) = reading.store.blob(&digest) {
            blobs.push((Member::of(&bytes), Source::Bytes(bytes)));
        }
    }
    Ok(())
}

fn signed<P: Serialize>(
    key: &SigningKey,
    kind: &'static str,
    name: &str,
    predicate: &P,
) -> Result<(Vec<u8>, Digest), AttestError> {
    let about = serde_json::to_vec(predicate)?;
    let subject = Subject {
        name: name.to_owned(),
        digest: [("sha256".to_owned(), Digest::of(&about).to_string())].into(),
    };
    let statement = Statement::encode_many(kind, vec![subject], predicate)?;
    let bytes = statement.len() as u64;
    if bytes > MAX_BYTES {
        return Err(AttestError::TooLarge { bytes });
    }
    let envelope = Envelope::sign(&statement, key.key())?;
    let bundle = Bundle::encode(&envelope, key.key().public(), None)?;
    Ok((bundle, Digest::of(&statement)))
}

fn view(
    what: &'static str,
    surroundings: &Surroundings,
    path: &Path,
    run: &str,
    key: &PublicKey,
    members: &[(Member, Source)],
) -> JobView {
    JobView {
        schema: "taintline.replay-job/1",
        what,
        file: surroundings.shown(path),
        run: run.to_owned(),
        key: key.hint(),
        public: key.to_pem(),
        members: members.len() as u64,
        bytes: members.iter().map(|(member, _)| member.bytes).sum(),
        ledger: None,
    }
}

/// Opens a file and believes its statement, if one of the keys signed it: what it states, its digest, and who.
fn open<P: DeserializeOwned + Serialize>(
    surroundings: &Surroundings,
    request: &JobRequest,
    kind: &str,
) -> Result<(Reader, P, Digest, PublicKey), AppError> {
    let path = surroundings.cwd.join(&request.file);
    let (reader, bundle) = Reader::open(&path)?;
    let damaged = |why: String| JobError::Damaged {
        path: path.clone(),
        why,
    };
    let bundle = Bundle::parse(&bundle, MAX_BUNDLE_BYTES)
        .map_err(|why| damaged(format!("it is not signed: {why}")))?;
    let hint = match &bundle.method {
        Method::Key { hint } => hint.clone(),
        _ => None,
    };
    let keys = believed(surroundings, &request.keys)?;
    let mut by = keys
        .iter()
        .filter_map(|key| Some((key, bundle.envelope.verified_by(key)?)));
    let Some((key, verified)) = by.next() else {
        let by = hint.unwrap_or_else(|| "that it does not name".to_owned());
        let why = format!("it is signed by key {by}, which is not believed here");
        return Err(JobError::Unsigned { path, why }.into());
    };
    let digest = Digest::of(bundle.envelope.unverified());
    let (_, predicate) = Statement::<P>::decode_many(verified, kind, MAX_BYTES)
        .map_err(|why| damaged(format!("what is signed cannot be read: {why}")))?;
    Ok((reader, predicate, digest, key.clone()))
}

/// Executes a job, and writes the answer where one is wanted.
pub fn run_job(
    surroundings: &Surroundings,
    request: &JobRequest,
    progress: &mut dyn FnMut(&str),
) -> Result<(ReplayView, Option<JobView>), AppError> {
    let (mut reader, job, digest, _) = open::<Job>(surroundings, request, JOB)?;
    let place = Workplace::make(surroundings, None)?;
    let own = Surroundings {
        store: Some(place.at("store")),
        data_home: Some(place.at("data")),
        settings: None,
        settings_named: false,
        ..surroundings.clone()
    };
    let store = Store::open_or_create(&place.at("store"))?;
    let mut entries = Vec::new();
    for member in &job.entries {
        entries.push(reader.member(*member)?);
    }
    for member in &job.blobs {
        store.put_blob(&reader.member(*member)?)?;
    }
    let folder = inputs::beside(&store);
    std::fs::create_dir_all(&folder).map_err(super::disk(&folder))?;
    for member in &job.inputs {
        reader.member_to(*member, &folder.join(member.sha256.to_string()))?;
    }
    reader.end()?;
    let writer = writing::open(&store, &own.keys()?)?;
    for batch in entries.chunks(BATCH) {
        writer.append(batch)?;
    }
    drop(writer);
    let asked = ReplayRequest {
        run: job.run.to_string(),
        steps: job.steps,
        resume: job.resume.clone(),
        threads: request.replay.threads.or(job.threads),
        code: None,
        ..request.replay.clone()
    };
    let view = replay(&own, &asked, progress)?;
    let answer = request.answer.as_deref();
    let answer = answer.map(|file| answer_to(surroundings, &store, digest, &job, &view, file));
    Ok((view, answer.transpose()?))
}

fn answer_to(
    surroundings: &Surroundings,
    store: &Store,
    digest: Digest,
    job: &Job,
    view_of: &ReplayView,
    file: &Path,
) -> Result<JobView, AppError> {
    let unfit = |why: &str| JobError::Unfit {
        run: job.name.clone(),
        why: why.to_owned(),
    };
    let place = view_of.ledger.as_ref();
    let (log, number) = place.ok_or_else(|| unfit("its replay is not recorded"))?;
    let log = evidence::find_log(store, log)?;
    let Some(Act::Replayed(replayed)) = stamp::act_at(&log, *number)? else {
        return Err(unfit("its replay is not recorded").into());
    };
    let mut members = Vec::new();
    for blob in [replayed.report, replayed.transcript] {
        let bytes = store.blob(&blob)?.unwrap_or_default();
        members.push((Member::of(&bytes), Source::Bytes(bytes)));
    }
    let answer = Answer {
        job: digest,
        replayed: *replayed,
        blobs: members.iter().map(|(member, _)| *member).collect(),
    };
    let key = SigningKey::take(surroundings, None)?;
    let path = surroundings.cwd.join(file);
    let (bundle, _) = signed(&key, ANSWER, &format!("run:{}", job.run), &answer)?;
    container::write(&path, &bundle, &members)?;
    let public = key.key().public();
    Ok(view(
        "answer",
        surroundings,
        &path,
        &job.name,
        public,
        &members,
    ))
}

/// Takes an answer into the ledger.
pub fn accept(surroundings: &Surroundings, request: &JobRequest) -> Result<JobView, AppError> {
    let (mut reader, answer, _, key) = open::<Answer>(surroundings, request, ANSWER)?;
    let reading = Reading::open(surroundings)?;
    let run = reading.find(&answer.replayed.of.to_string())?;
    let store = &reading.store;
    let mut held = Vec::new();
    let mut members = Vec::new();
    for member in &answer.blobs {
        let bytes = reader.member(*member)?;
        held.push(member.sha256);
        store.put_blob(&bytes)?;
        members.push((*member, Source::Bytes(Vec::new())));
    }
    reader.end()?;
    let path = surroundings.cwd.join(&request.file);
    if ![answer.replayed.report, answer.replayed.transcript]
        .iter()
        .all(|it| held.contains(it))
    {
        let why = "its report or its steps are not in it".to_owned();
        return Err(JobError::Damaged { path, why }.into());
    }
    let replayed = Replayed {
        signed_by: Some(key.hint()),
        job: Some(answer.job),
        ..answer.replayed
    };
    let writer = writing::open(store, &surroundings.keys()?)?;
    let mut told = view("accepted", surroundings, &path, &run.name, &key, &members);
    told.ledger = Some(acts::record(&writer, Act::Replayed(Box::new(replayed)))?);
    Ok(told)
}
