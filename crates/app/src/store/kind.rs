//! What a blob is: told by the place in the entry that refers to it, never by its bytes.

use std::fmt;
use std::str::FromStr;

use domain::entry::{Act, Kind};
use domain::{Body, Digest, Entry};

/// What a blob is for whoever referred to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// The texts of a seal: never pruned.
    Seals,
    /// Time stamps, with what they are over, and approvals: never pruned.
    Vouchers,
    /// The lists of what was pruned and of what was kept: never pruned.
    Lists,
    /// Segments of steps.
    Steps,
    /// Summaries of checkpoints.
    Summaries,
    /// Command lines and variables.
    Launches,
    /// The code of a run, and its scripts.
    Code,
    /// Trees of environments, of modules and mapped files, and their lists of packages.
    Environments,
    /// What loading a file would do.
    Examinations,
    /// Verdicts that a scan kept.
    Verdicts,
    /// What a finding rests on.
    Evidence,
    /// Other files that were stored.
    Files,
    /// What no entry refers to.
    Strays,
}

impl BlobKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Seals,
        Self::Vouchers,
        Self::Lists,
        Self::Steps,
        Self::Summaries,
        Self::Launches,
        Self::Code,
        Self::Environments,
        Self::Examinations,
        Self::Verdicts,
        Self::Evidence,
        Self::Files,
        Self::Strays,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seals => "seals",
            Self::Vouchers => "vouchers",
            Self::Lists => "lists",
            Self::Steps => "steps",
            Self::Summaries => "summaries",
            Self::Launches => "launches",
            Self::Code => "code",
            Self::Environments => "environments",
            Self::Examinations => "examinations",
            Self::Verdicts => "verdicts",
            Self::Evidence => "evidence",
            Self::Files => "files",
            Self::Strays => "strays",
        }
    }

    /// Whether it may be pruned when nothing is said. Strays may be what a log that somebody took away referred to.
    pub(super) fn goes_unasked(self) -> bool {
        self.may_go() && self != Self::Strays
    }

    /// Whether it may ever be pruned.
    pub(super) fn may_go(self) -> bool {
        !matches!(self, Self::Seals | Self::Vouchers | Self::Lists)
    }
}

impl fmt::Display for BlobKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Not a kind of blob that can be pruned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kinds are {}", prunable())]
pub struct NoSuchKind;

fn prunable() -> String {
    let names = BlobKind::ALL.iter().filter(|kind| kind.may_go());
    let names: Vec<_> = names.map(|kind| kind.name()).collect();
    names.join(", ")
}

impl FromStr for BlobKind {
    type Err = NoSuchKind;

    fn from_str(text: &str) -> Result<Self, NoSuchKind> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.may_go() && kind.name() == text)
            .ok_or(NoSuchKind)
    }
}

/// The blobs that an entry refers to itself, each with what it is; trees within trees are not among them.
pub(crate) fn blobs_of(entry: &Entry) -> Vec<(Digest, BlobKind)> {
    let all = |digests: Vec<Digest>, kind| digests.into_iter().map(move |digest| (digest, kind));
    match &entry.body {
        Body::Load(load) => {
            let (content, summary) = match load.what {
                Kind::Environment | Kind::Compiled | Kind::Modules | Kind::Mapped => {
                    (BlobKind::Environments, BlobKind::Environments)
                }
                Kind::Memory => (BlobKind::Evidence, BlobKind::Evidence),
                Kind::Code | Kind::Script => (BlobKind::Code, BlobKind::Code),
                Kind::Config | Kind::Data => (BlobKind::Files, BlobKind::Files),
                Kind::Checkpoint => (BlobKind::Files, BlobKind::Summaries),
            };
            let content = load.digest.filter(|_| load.stored).map(|it| (it, content));
            let summary = load.summary.map(|digest| (digest, summary));
            let examined = load.examined.map(|digest| (digest, BlobKind::Examinations));
            content.into_iter().chain(summary).chain(examined).collect()
        }
        body => {
            let kind = match body {
                Body::Act(Act::Sealed(_) | Act::KeyRotated(_)) => BlobKind::Seals,
                Body::Act(Act::Stamped(_) | Act::Approved(_) | Act::SpecSigned(_)) => {
                    BlobKind::Vouchers
                }
                Body::Act(Act::Pruned(_) | Act::CheckpointKept(_)) => BlobKind::Lists,
                Body::Act(Act::WaysIn { .. } | Act::EnvironmentChecked(_)) => {
                    BlobKind::Environments
                }
                Body::Finding(_)
                | Body::Gap(_)
                | Body::Load(_)
                | Body::Act(Act::Replayed(_) | Act::Bisected(_) | Act::Audited(_)) => {
                    BlobKind::Evidence
                }
                Body::Act(_) => BlobKind::Launches,
                Body::Write(_) => BlobKind::Summaries,
                Body::Steps(_) => BlobKind::Steps,
                Body::Examined(_) => BlobKind::Verdicts,
            };
            all(entry.blobs(), kind).collect()
        }
    }
}

/// Whether a blob of this load is a tree that names further trees.
pub(crate) fn tree_root(entry: &Entry) -> Option<Digest> {
    let load = match &entry.body {
        Body::Load(load) => load,
        Body::Act(Act::EnvironmentChecked(check)) => return Some(check.tree),
        _ => return None,
    };
    let is_tree = matches!(
        load.what,
        Kind::Environment | Kind::Compiled | Kind::Modules | Kind::Mapped
    );
    load.digest.filter(|_| is_tree && load.stored)
}
