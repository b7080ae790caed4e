//! Who needs which blob: every entry of every log read once, and the folder of blobs listed once.
//!
//! Memory grows with the store: about 100 bytes a blob that is there or referred to. Nothing is believed of the index. An
//! entry that cannot be read or understood makes the census incomplete, and then nothing may be removed on its word.

use std::collections::HashMap;

use domain::entry::{Act, Kind};
use domain::vouch::ApprovalOf;
use domain::{Body, Digest, Entry, Gap, PathText, Process, RunId};
use ledger::{Log, Store, StoredBlob};

use super::kind::{BlobKind, blobs_of, tree_root};
use super::trees::Trees;
use crate::error::AppError;
use crate::interrupted;

/// Entries that are read at once.
const BATCH: u64 = 256;

/// A run, a scan, or an act of its own: whatever has entries.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) id: RunId,
    /// Readable name of a run; nothing of anything else.
    pub(super) name: Option<String>,
    pub(super) started_us: i64,
    /// When its last entry was recorded.
    pub(super) last_us: i64,
    pub(super) findings: u64,
    /// Which command it was, where its environment can be what later runs are compared with.
    pub(super) same: Option<Digest>,
    pub(super) environment_findings: u64,
    /// It recorded an environment.
    pub(super) has_environment: bool,
    pub(super) accepted: bool,
    is_over: bool,
    supervisor: Option<Process>,
    log: String,
}

impl Owner {
    /// Whether its supervisor may still write; of a run on another host that has no end, nobody here can know.
    pub(super) fn is_running(&self) -> bool {
        let lives = |process| interrupted::may_live(&self.log, process);
        !self.is_over && self.supervisor.as_ref().is_some_and(lives)
    }

    /// Whether its environment is one that later runs of the same command are compared with.
    pub(super) fn is_good(&self) -> bool {
        self.accepted || self.environment_findings == 0
    }
}

/// That an owner refers to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) digest: Digest,
    pub(super) owner: u32,
    pub(super) kind: BlobKind,
}

/// A checkpoint that a run wrote.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) owner: u32,
    pub(super) path: PathText,
    pub(super) digest: Option<Digest>,
    pub(super) summary: Option<Digest>,
}

/// A checkpoint that a run loaded.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) owner: u32,
    pub(super) path: PathText,
    pub(super) digest: Option<Digest>,
}

/// The whole store.
pub(super) struct Census {
    pub(super) owners: Vec<Owner>,
    /// Sorted, each once.
    pub(super) references: Vec<Reference>,
    /// Sorted by digest.
    pub(super) stored: Vec<StoredBlob>,
    pub(super) saved: Vec<Saved>,
    pub(super) loaded: Vec<Loaded>,
    /// Blobs with model signatures.
    pub(super) signatures: Vec<Digest>,
    /// What somebody approved of.
    pub(super) approved: Vec<ApprovalOf>,
    /// Entries of each log.
    pub(super) logs: Vec<(String, u64)>,
    /// What could not be read, so that something may be needed that is not listed.
    pub(super) gaps: Vec<Gap>,
    by_id: HashMap<RunId, u32>,
}

impl Census {
    /// Takes it.
    pub(super) fn take(store: &Store) -> Result<Self, AppError> {
        let mut census = Self {
            owners: Vec::new(),
            references: Vec::new(),
            stored: Vec::new(),
            saved: Vec::new(),
            loaded: Vec::new(),
            signatures: Vec::new(),
            approved: Vec::new(),
            logs: Vec::new(),
            gaps: Vec::new(),
            by_id: HashMap::new(),
        };
        let mut trees = Trees::new(store);
        for log in store.logs()? {
            if let Err(error) = census.read(&log, &mut trees) {
                census.gaps.push(Gap {
                    what: format!("log {}", log.name()),
                    why: error.to_string(),
                });
            }
        }
        let doubtful = trees.doubtful().iter();
        census.gaps.extend(doubtful.map(|tree| Gap {
            what: format!("what the tree {} needs", tree.short()),
            why: "it cannot be read, or not followed to its end".to_owned(),
        }));
        census.references.sort_unstable();
        census.references.dedup();
        // After the entries: what was stored meanwhile has no reference yet, and is in hand.
        census.stored = store.stored_blobs().map_err(ledger::StoreError::from)?;
        census.stored.sort_unstable_by_key(|blob| blob.digest);
        Ok(census)
    }

    fn read(&mut self, log: &Log, trees: &mut Trees<'_>) -> Result<(), ledger::LogError> {
        let size = log.head()?.size;
        self.logs.push((log.name().to_owned(), size));
        let mut unknown = 0_u64;
        let mut next = 0;
        while next < size {
            let end = size.min((next / BATCH + 1) * BATCH);
            for bytes in log.entries(next..end)? {
                match Entry::decode(&bytes) {
                    Ok(entry) => self.add(log.name(), &entry, trees),
                    Err(_) => unknown += 1,
                }
            }
            next = end;
        }
        if unknown > 0 {
            self.gaps.push(Gap {
                what: format!("{unknown} entries of log {}", log.name()),
                why: "this version of Taintline does not know what they say".to_owned(),
            });
        }
        Ok(())
    }

    fn add(&mut self, log: &str, entry: &Entry, trees: &mut Trees<'_>) {
        let owner = self.owner(log, entry);
        let nested = tree_root(entry).map_or_else(Vec::new, |root| trees.below(root));
        let nested = nested.into_iter().map(|it| (it, BlobKind::Environments));
        for (digest, kind) in blobs_of(entry).into_iter().chain(nested) {
            self.references.push(Reference {
                digest,
                owner,
                kind,
            });
        }
        match &entry.body {
            Body::Write(write) => self.saved.push(Saved {
                owner,
                path: write.path.clone(),
                digest: write.digest,
                summary: write.summary,
            }),
            Body::Load(load) if load.what == Kind::Checkpoint => self.loaded.push(Loaded {
                owner,
                path: load.path.clone(),
                digest: load.digest,
            }),
            Body::Act(Act::Sealed(seal)) => self.signatures.push(seal.signature),
            Body::Act(Act::Approved(approval)) => self.approved.push(approval.of.clone()),
            _ => {}
        }
    }

    /// Whose entry it is, with what it says of its owner.
    fn owner(&mut self, log: &str, entry: &Entry) -> u32 {
        let next = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        let index = *self.by_id.entry(entry.run).or_insert(next);
        if index == next {
            self.owners.push(Owner {
                id: entry.run,
                name: None,
                started_us: entry.event_us,
                last_us: entry.capture_us,
                findings: 0,
                same: None,
                environment_findings: 0,
                has_environment: false,
                accepted: false,
                is_over: false,
                supervisor: None,
                log: log.to_owned(),
            });
        }
        let Some(owner) = self.owners.get_mut(index as usize) else {
            return index;
        };
        owner.last_us = owner.last_us.max(entry.capture_us);
        match &entry.body {
            Body::Act(Act::Launch(launch)) => {
                owner.name = Some(launch.name.to_string());
                owner.same = Some(launch.same);
                owner.supervisor = Some(launch.supervisor.clone());
            }
            Body::Act(Act::End(_) | Act::Interrupted) => owner.is_over = true,
            Body::Act(Act::EnvironmentAccepted) => owner.accepted = true,
            Body::Load(load) => owner.has_environment |= load.what == Kind::Environment,
            Body::Finding(finding) => {
                owner.findings += 1;
                let about_it = finding.rule.technique().starts_with('C');
                owner.environment_findings += u64::from(about_it);
            }
            _ => {}
        }
        index
    }

    /// The references to each stored blob, in one walk over both sorted lists.
    pub(super) fn blobs(&self) -> impl Iterator<Item = (&StoredBlob, &[Reference])> {
        let mut rest = self.references.as_slice();
        self.stored.iter().map(move |blob| {
            let before = rest.partition_point(|it| it.digest < blob.digest);
            rest = rest.get(before..).unwrap_or_default();
            let count = rest.partition_point(|it| it.digest == blob.digest);
            let (these, others) = rest.split_at(count);
            rest = others;
            (blob, these)
        })
    }
}

/// What a blob counts as: by its first reference in the order of the kinds.
pub(super) fn kind_of(references: &[Reference]) -> BlobKind {
    let kinds = references.iter().map(|reference| reference.kind);
    kinds.min().unwrap_or(BlobKind::Strays)
}
