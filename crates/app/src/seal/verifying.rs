//! `taintline verify`: the signatures first, then the folder, and one answer of three.
//!
//! *Invalid*: something that was looked at is not as it should be. *Cannot check*: nothing is wrong, but something could
//! not be looked at, or nobody who is believed vouches. *Valid* is only what remains.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use domain::{Digest, Gap, PathText};
use host::clock::wall_us;
use report::vouch::{DifferenceView, ExcludedView, SignerView, Verdict, VerifyView};
use trust::certificate::At;
use trust::difference::{Difference, What};
use trust::envelope::Envelope;
use trust::keyfile::{self, KeyFileError};
use trust::keys::PublicKey;
use trust::manifest::Sealed;
use trust::measure::{FileState, Model};
use trust::name::Name;
use trust::oms::{Bundle, Method, Signed, SignedError};
use trust::statement::StatementError;
use trust::strict;
use trust::verify::{Compared, Expected, Known, Reading, compare};

use super::SealError;
use super::believed::Believed;
use super::making::{digest, notes};
use super::own::EndedKey;
use super::place::{Files, leads_through, most_bytes};
use super::remembered::{About, Memory, Settling, Signer, is_all_the_same, known, names};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::settings::Settings;
use crate::stamp::TimeRoots;

/// The predicate of the time before version 1.0 of the specification.
const LEGACY: &str = "https://model_signing/Digests/v0.1";

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct VerifyRequest {
    /// Folder or file.
    pub path: PathBuf,
    /// Public keys that are believed.
    pub keys: Vec<PathBuf>,
    /// Root certificates that are believed.
    pub roots: Vec<PathBuf>,
    /// A file that names such keys and roots.
    pub trust: Option<PathBuf>,
    /// When it was signed, as the user knows; RFC 3339.
    pub at: Option<String>,
    /// The model signature.
    pub signature: Option<PathBuf>,
    /// Read everything again.
    pub deep: bool,
    /// With a seal, compute BLAKE3 alone.
    pub tree_only: bool,
    /// Threads that read.
    pub threads: usize,
    /// The most bytes of one signed text.
    pub limit: u64,
    /// Roots of time stamping authorities that are believed, beside those that are settled.
    pub time_roots: Vec<PathBuf>,
}

/// Verifies.
pub fn verify(
    surroundings: &Surroundings,
    request: &VerifyRequest,
) -> Result<VerifyView, AppError> {
    let model = Model::open(&surroundings.cwd.join(&request.path)).map_err(SealError::from)?;
    let believed = Believed::resolve(surroundings, request, &model)?;
    let settings = Settings::load(surroundings)?;
    let named = request.time_roots.iter();
    let named = named.map(|path| surroundings.cwd.join(path));
    for path in settings.trust.time_roots.iter().cloned().chain(named) {
        // Who made the folder has no say in whose time is believed either.
        if leads_through(&path, &model) {
            return Err(SealError::Inside {
                path: path.as_path().into(),
            }
            .into());
        }
    }
    let time_roots = TimeRoots::load(surroundings, &settings, &request.time_roots)?;
    let started_us = wall_us();
    let at = match &request.at {
        Some(text) => At::Given(given(text)?),
        None => At::Now(started_us / 1_000_000),
    };
    let named = request
        .signature
        .as_ref()
        .map(|path| surroundings.cwd.join(path));
    let mut verification = Verification {
        files: Files::of(&model, named.as_deref()),
        memory: Memory::of(surroundings, &model),
        surroundings,
        request,
        trust: trust(&believed, at, &time_roots),
        believed,
        model,
        at,
        time_roots,
        started_ns: i128::from(started_us) * 1000,
        answer: empty(),
    };
    verification.answer.path = surroundings.shown(verification.model.path());
    verification.answer.signature = surroundings.shown(&verification.files.bundle);
    verification.run()?;
    Ok(verification.finish())
}

fn given(text: &str) -> Result<i64, SealError> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(jiff::Timestamp::as_second)
        .map_err(|_| SealError::Time {
            text: text.to_owned(),
        })
}

fn empty() -> VerifyView {
    VerifyView {
        schema: "taintline.verify/1",
        verdict: Verdict::CannotCheck,
        path: String::new(),
        signature: String::new(),
        root: None,
        tree: None,
        signer: None,
        problems: Vec::new(),
        differences: Vec::new(),
        gaps: Vec::new(),
        files: 0,
        bytes: 0,
        bytes_read: 0,
        files_known: 0,
        excluded: ExcludedView::default(),
        notes: Vec::new(),
        time_stamps: Vec::new(),
    }
}

pub(super) struct Verification<'a> {
    surroundings: &'a Surroundings,
    request: &'a VerifyRequest,
    believed: Believed,
    model: Model,
    files: Files,
    memory: Option<Memory>,
    pub(super) at: At,
    pub(super) time_roots: TimeRoots,
    /// One value over whom the user believes, and as of when.
    trust: Digest,
    started_ns: i128,
    pub(super) answer: VerifyView,
}

/// A signature by somebody who is believed.
struct Vouched {
    signed: Signed,
    key: PublicKey,
    signer: Signer,
    valid_until: Option<i64>,
    /// The key is no longer the user's own.
    ended: Option<EndedKey>,
}

/// One value over everybody who is believed: another answer for another circle of friends, or for another time.
fn trust(believed: &Believed, at: At, time_roots: &TimeRoots) -> Digest {
    let time = match at {
        At::Now(_) => None,
        At::Given(seconds) | At::Stamped(seconds) => Some(seconds),
    };
    let authorities = time_roots.fingerprint();
    digest(format!("{} {time:?} {authorities:?}", believed.fingerprint()).as_bytes())
}

/// It was said in the answer what is wrong.
struct Told;

impl Verification<'_> {
    pub(super) fn problem(&mut self, what: impl Into<String>) {
        self.answer.problems.push(what.into());
    }

    fn gap(&mut self, what: &str, why: impl Into<String>) {
        self.answer.gaps.push(Gap {
            what: what.to_owned(),
            why: why.into(),
        });
    }

    fn finish(self) -> VerifyView {
        let mut answer = self.answer;
        let is_wrong = !answer.problems.is_empty() || !answer.differences.is_empty();
        answer.verdict = match (is_wrong, answer.gaps.is_empty()) {
            (true, _) => Verdict::Invalid,
            (false, false) => Verdict::CannotCheck,
            (false, true) => Verdict::Valid,
        };
        answer
    }

    fn run(&mut self) -> Result<(), SealError> {
        let Some(bundle) = self.signature_file()? else {
            return Ok(());
        };
        let seal = self.seal_file()?;
        let (bundle_digest, seal_digest) = (digest(&bundle), seal.as_deref().map(digest));
        let recalled = self.recall(bundle_digest, seal_digest);
        let recalled = match recalled {
            Some((about, entries)) if self.is_unchanged(&about, &entries) => return Ok(()),
            other => other,
        };
        let Some(vouched) = self.signature(&bundle) else {
            return Ok(());
        };
        drop(bundle);
        let Ok(sealed) = self.seal(seal, &vouched) else {
            return Ok(());
        };
        self.ended(&vouched, sealed.as_ref());
        let known = recalled
            .map(|(_, entries)| known(entries))
            .unwrap_or_default();
        self.folder(
            &vouched,
            sealed.as_ref(),
            &known,
            bundle_digest,
            seal_digest,
        );
        Ok(())
    }

    fn signature_file(&mut self) -> Result<Option<Vec<u8>>, SealError> {
        let file = self.files.bundle.clone();
        let bytes = self.read(&file)?;
        if bytes.is_none() {
            let name = self.surroundings.shown(&file);
            let why = if self.files.seal.is_file() {
                format!(
                    "there is no file {name}, but its seal: sealing was interrupted, or it was taken away; seal again"
                )
            } else {
                format!("there is no file {name}")
            };
            self.gap("the model signature", why);
        }
        Ok(bytes)
    }

    fn seal_file(&mut self) -> Result<Option<Vec<u8>>, SealError> {
        let file = self.files.seal.clone();
        self.read(&file)
    }

    /// The bytes of a signature file; `None` where there is none.
    fn read(&mut self, file: &std::path::Path) -> Result<Option<Vec<u8>>, SealError> {
        match keyfile::read(file, most_bytes(self.request.limit)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(KeyFileError::Disk { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is remembered of exactly these signatures and this trust.
    fn recall(
        &self,
        bundle: Digest,
        seal: Option<Digest>,
    ) -> Option<(About, Vec<trust::index::Remembered>)> {
        if self.request.deep {
            return None;
        }
        let (about, entries) = self.memory.as_ref()?.recall()?;
        let same = about.path == PathText::from(self.model.path())
            && about.bundle == bundle
            && about.seal == seal
            && about.trust == self.trust
            && about
                .valid_until
                .is_none_or(|until| self.at.seconds() <= until);
        same.then_some((about, entries))
    }

    /// Whether nothing changed since everything was found valid; then that is the answer.
    fn is_unchanged(&mut self, about: &About, entries: &[trust::index::Remembered]) -> bool {
        let listed = self.model.list(&names(&about.excluded));
        if about.through_links || !is_all_the_same(entries, &listed, about.seal.is_some()) {
            return false;
        }
        let hard_links = |entry: &&trust::index::Remembered| {
            entry.kind == trust::index::Kind::File && entry.state.links > 1
        };
        let hard_links = entries.iter().filter(hard_links).count() as u64;
        let all = trust::name::collisions(listed.entries.iter().map(|seen| &seen.name));
        self.answer.notes = notes(hard_links, &all, listed.excluded.unseen);
        self.answer.root = Some(about.root.to_string());
        self.answer.tree.clone_from(&about.tree);
        self.at = about.stamped.map_or(self.at, At::Stamped);
        self.answer.time_stamps.clone_from(&about.time_stamps);
        self.answer.signer = Some(self.shown(&about.signer));
        self.answer.files = about.files;
        self.answer.files_known = about.files;
        self.answer.bytes = about.bytes;
        self.answer.excluded = ExcludedView {
            names: about.excluded.clone(),
            files: listed.excluded.files,
            bytes: listed.excluded.bytes,
        };
        true
    }

    fn shown(&self, signer: &Signer) -> SignerView {
        let source = match self.at {
            At::Now(_) => "now",
            At::Given(_) => "given",
            At::Stamped(_) => "stamped",
        };
        let at = report::time::rfc3339(self.at.seconds().saturating_mul(1_000_000));
        SignerView {
            method: signer.method.clone(),
            key: signer.key.clone(),
            name: signer.name.clone(),
            subject: signer.subject.clone(),
            at: signer.subject.is_some().then_some((at, source)),
        }
    }

    /// The model signature, if somebody who is believed made it; else it was said why not.
    fn signature(&mut self, bytes: &[u8]) -> Option<Vouched> {
        let bundle = match Bundle::parse(bytes, bytes.len() as u64) {
            Ok(bundle) => bundle,
            Err(why) => {
                self.problem(format!("the model signature is no signature: {why}"));
                return None;
            }
        };
        self.time(&bundle);
        let (key, signer, valid_until) = self.signer(&bundle)?;
        let own = self.believed.keys.iter();
        let mut own = own.filter(|friend| friend.key.hint() == key.hint());
        let ended = own.next().and_then(|friend| friend.ended.clone());
        self.answer.signer = Some(self.shown(&signer));
        let Some(statement) = bundle.envelope.verified_by(&key) else {
            self.problem("the model signature is not by that key over this statement: one of them was changed");
            return None;
        };
        match Signed::read(statement, self.request.limit) {
            Ok(content) => {
                self.answer.root = Some(content.root.to_string());
                Some(Vouched {
                    signed: content,
                    key,
                    signer,
                    valid_until,
                    ended,
                })
            }
            Err(SignedError::Statement(StatementError::Predicate { found })) if found == LEGACY => {
                self.gap(
                    "the model signature",
                    "it is of the time before version 1.0 of the specification; sign again",
                );
                None
            }
            Err(why) => {
                self.problem(format!("what is signed cannot be believed: {why}"));
                None
            }
        }
    }

    fn signer(&mut self, bundle: &Bundle) -> Option<(PublicKey, Signer, Option<i64>)> {
        match &bundle.method {
            Method::Key { hint } => self.by_key(bundle, hint.as_deref()),
            Method::Certificate(_) if self.believed.roots.is_empty() => {
                self.gap(
                    "who signed",
                    "it is signed with a certificate; name the root with --certificate-root",
                );
                None
            }
            Method::Certificate(chain) => match chain.verify(&self.believed.roots, self.at) {
                Ok(leaf) => {
                    let signer = Signer {
                        method: "certificate".to_owned(),
                        key: Some(leaf.key.hint()),
                        name: None,
                        subject: Some(leaf.subject),
                    };
                    let until = matches!(self.at, At::Now(_)).then_some(leaf.valid_until);
                    Some((leaf.key, signer, until))
                }
                Err(why) => {
                    let at = report::time::rfc3339(self.at.seconds().saturating_mul(1_000_000));
                    self.problem(format!("{why} (looked at as of {at})"));
                    None
                }
            },
            Method::Sigstore => {
                self.gap(
                    "who signed",
                    "it is signed through Sigstore, whose log is not asked here",
                );
                None
            }
        }
    }

    fn by_key(
        &mut self,
        bundle: &Bundle,
        hint: Option<&str>,
    ) -> Option<(PublicKey, Signer, Option<i64>)> {
        let signer = |key: &PublicKey, name: &Option<String>| Signer {
            method: "key".to_owned(),
            key: Some(key.hint()),
            name: name.clone(),
            subject: None,
        };
        let friends = self.believed.keys.iter();
        let mut candidates = friends.filter(|friend| match hint {
            Some(hint) => friend.key.hint() == hint,
            None => bundle.envelope.verified_by(&friend.key).is_some(),
        });
        if let Some(friend) = candidates.next() {
            return Some((friend.key.clone(), signer(&friend.key, &friend.name), None));
        }
        let by = hint.map_or_else(
            || "a key that it does not name".to_owned(),
            |hint| format!("key {hint}"),
        );
        if self.believed.named {
            self.problem(format!(
                "it is signed by {by}, and by none of those that you named"
            ));
        } else {
            let why = format!(
                "it is signed by {by}, which is not yours; name the signer with --key, --certificate-root or --trust"
            );
            self.gap("who signed", why);
        }
        None
    }

    /// The seal that goes with the model signature; `None` where there is none.
    fn seal(&mut self, bytes: Option<Vec<u8>>, vouched: &Vouched) -> Result<Option<Sealed>, Told> {
        let Some(bytes) = bytes else {
            if vouched.signed.tree.is_some() {
                let name = self.surroundings.shown(&self.files.seal);
                self.gap(
                    "modes, links and folders",
                    format!("the seal that the model signature names is not there ({name})"),
                );
            }
            return Ok(None);
        };
        let envelope = strict::from_slice::<Envelope>(&bytes, bytes.len() as u64);
        drop(bytes);
        let sealed = envelope
            .map_err(|why| format!("the seal is no envelope: {why}"))
            .and_then(|envelope| envelope.open().map_err(|why| format!("the seal: {why}")))
            .and_then(|opened| {
                let statement = opened.verified_by(&vouched.key);
                let statement = statement
                    .ok_or("the seal is not signed by who signed the model, or was changed")?;
                if opened.keyid().is_some_and(|id| id != vouched.key.hint()) {
                    return Err("the seal names another key than the one that signed it".to_owned());
                }
                Sealed::read(statement, self.request.limit).map_err(|why| why.to_string())
            })
            .and_then(|sealed| {
                let signed = &vouched.signed;
                let belongs = sealed.root == signed.root
                    && signed
                        .tree
                        .as_ref()
                        .is_none_or(|tree| *tree == sealed.tree.to_string())
                    && sealed.manifest.excluded == signed.excluded();
                let other = || "the seal belongs to another model signature".to_owned();
                belongs.then_some(sealed).ok_or_else(other)
            })
            .and_then(|sealed| {
                let same = sealed.lists(&vouched.signed);
                let other = || "the seal lists other files than the model signature".to_owned();
                same.then_some(sealed).ok_or_else(other)
            });
        match sealed {
            Ok(sealed) => {
                self.answer.tree = Some(sealed.tree.to_string());
                Ok(Some(sealed))
            }
            Err(why) => {
                self.problem(why);
                Err(Told)
            }
        }
    }

    /// A key that ended vouches for what it is known to have sealed before.
    fn ended(&mut self, vouched: &Vouched, sealed: Option<&Sealed>) {
        let Some(ended) = &vouched.ended else {
            return;
        };
        let is_before = matches!(self.at, At::Stamped(seconds) if seconds <= ended.at);
        let tree = sealed.map(|sealed| sealed.tree.to_string());
        let listed = ended.sealed(self.surroundings, vouched.signed.root, tree.as_deref());
        let why = match listed {
            Ok(true) => return,
            _ if is_before => return,
            Ok(false) => "this is not among what it had sealed by then".to_owned(),
            Err(why) => format!("what it had sealed by then is not known: {why}"),
        };
        let at = ended.at();
        let why = format!(
            "your own key that signed it ended at {at}, and {why}; to believe it all the same, name its public key with --key"
        );
        self.gap("who signed", why);
    }

    fn folder(
        &mut self,
        vouched: &Vouched,
        sealed: Option<&Sealed>,
        known: &Known,
        bundle: Digest,
        seal: Option<Digest>,
    ) {
        let signed = &vouched.signed;
        let mut excluded = signed.excluded();
        excluded.extend(self.files.inside(&self.model));
        excluded.sort();
        excluded.dedup();
        let expected = Expected {
            signed: Some(signed),
            sealed: sealed.map(|sealed| &sealed.manifest),
        };
        let settling = Settling::of(&self.model, self.started_ns);
        let settle = |file: BorrowedFd<'_>, state: &FileState| settling.settle(file, state);
        let reading = Reading {
            threads: self.request.threads,
            known,
            tree_only: self.request.tree_only,
            before: self.memory.is_some().then_some(&settle),
        };
        let compared = compare(&self.model, expected, &excluded, &reading);
        let excluded: Vec<String> = excluded.iter().map(Name::to_string).collect();
        self.take(&compared, excluded.clone(), sealed.is_some());
        let is_valid = self.answer.problems.is_empty()
            && self.answer.differences.is_empty()
            && self.answer.gaps.is_empty();
        if let Some(memory) = self.memory.as_ref().filter(|_| is_valid) {
            let about = About {
                path: self.model.path().into(),
                bundle,
                seal,
                trust: self.trust,
                stamped: match self.at {
                    At::Stamped(seconds) => Some(seconds),
                    At::Now(_) | At::Given(_) => None,
                },
                time_stamps: self.answer.time_stamps.clone(),
                valid_until: vouched.valid_until,
                signer: vouched.signer.clone(),
                root: signed.root,
                tree: self.answer.tree.clone(),
                excluded,
                files: compared.files,
                bytes: compared.bytes,
                through_links: signed.allow_symlinks,
            };
            memory.keep(&about, compared.states, &settling);
        }
    }

    fn take(&mut self, compared: &Compared, excluded: Vec<String>, has_seal: bool) {
        self.answer.differences = compared.differences.iter().map(difference).collect();
        let gaps = compared.not_compared.iter().map(|it| Gap {
            what: it.path.to_string(),
            why: it.why.to_string(),
        });
        self.answer.gaps.extend(gaps);
        self.answer.files = compared.files;
        self.answer.bytes = compared.bytes;
        self.answer.bytes_read = compared.bytes_read;
        self.answer.files_known = compared.files_known;
        self.answer.excluded = ExcludedView {
            names: excluded,
            files: compared.excluded.files,
            bytes: compared.excluded.bytes,
        };
        let unseen = compared.excluded.unseen;
        self.answer.notes = notes(compared.hard_links, &compared.collisions, unseen);
        if compared.empty > 0 {
            self.answer.notes.push(format!(
                "{} empty files are covered by nothing: a signature over ranges has none for them",
                compared.empty
            ));
        }
        if !has_seal {
            let note = "there is no seal: modes and empty folders are covered by nothing";
            self.answer.notes.push(note.to_owned());
        }
    }
}

fn difference(it: &Difference) -> DifferenceView {
    let (signed, found) = match &it.what {
        What::Missing | What::Content { .. } => (None, None),
        What::Extra { kind } => (None, Some((*kind).to_owned())),
        What::Kind { signed, found } => (Some((*signed).to_owned()), Some((*found).to_owned())),
        What::Size { signed, found } => (
            Some(format!("{signed} bytes")),
            Some(format!("{found} bytes")),
        ),
        What::Mode { signed, found } => {
            (Some(format!("{signed:04o}")), Some(format!("{found:04o}")))
        }
        What::Target { signed, found } => (Some(signed.to_string()), Some(found.to_string())),
    };
    let ranges = match &it.what {
        What::Content { ranges } => ranges
            .iter()
            .map(|range| (range.start, range.end))
            .collect(),
        _ => Vec::new(),
    };
    DifferenceView {
        path: it.path.to_string(),
        what: it.what.word(),
        signed,
        found,
        ranges,
    }
}
