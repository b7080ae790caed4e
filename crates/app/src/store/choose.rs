//! Which blobs may go: a pure judgement over the census.
//!
//! A blob goes only if every run that needs it goes. A run goes only if the rules that were given say so and nothing
//! precious hangs on it. What is precious is a list of reasons, each a function below; who wants those gone too says so.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use domain::vouch::ApprovalOf;
use domain::{Digest, PathText, RunId};

use super::census::{Census, Loaded, Owner, Reference, Saved, kind_of};
use super::kind::BlobKind;

/// The rules that were given. Of the three that name runs, each takes some out of those that go.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Runs whose last entry is older than so many seconds.
    pub older_than_s: Option<u64>,
    /// All but so many of the newest runs.
    pub keep: Option<u64>,
    /// The oldest, until all blobs together have at most so many bytes.
    pub budget: Option<u64>,
    /// Only these kinds; all but strays when none is named.
    pub kinds: Vec<BlobKind>,
    /// Also what is precious.
    pub force: bool,
}

/// A blob that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) kind: BlobKind,
}

/// What may go, and what stays although the rules name it.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) blobs: Vec<Doomed>,
    pub(super) runs: u64,
    /// What goes altogether.
    pub(super) going: Vec<RunId>,
    /// Runs that the rules name and that stay, by reason.
    pub(super) spared: BTreeMap<&'static str, u64>,
}

/// Chooses. `sealed` are the files that somebody vouched for; `now_us` is when.
pub(super) fn choose(
    census: &Census,
    rules: &Rules,
    sealed: &HashSet<Digest>,
    now_us: i64,
) -> Choice {
    let precious = Precious::of(census, sealed);
    let mut choice = Choice::default();
    let mut candidates = Vec::new();
    for index in named(census, rules, now_us) {
        match precious.reason(census, index, rules.force) {
            Some(reason) => *choice.spared.entry(reason).or_default() += 1,
            None => candidates.push(index),
        }
    }
    let compared = precious.compared_with;
    let going = match rules.budget {
        Some(budget) => within(census, rules, &compared, &candidates, budget),
        None => candidates.into_iter().collect(),
    };
    choice.blobs = doomed(census, rules, &compared, &going);
    if rules.kinds.is_empty() {
        let owners = going
            .iter()
            .filter_map(|owner| census.owners.get(*owner as usize));
        choice.going = owners.map(|owner| owner.id).collect();
    }
    let digests: HashSet<Digest> = choice.blobs.iter().map(|blob| blob.digest).collect();
    let needed = census.references.iter();
    let owners: BTreeSet<u32> = needed
        .filter(|reference| digests.contains(&reference.digest))
        .map(|reference| reference.owner)
        .collect();
    choice.runs = owners.len() as u64;
    choice
}

/// The owners that the rules name, oldest first.
fn named(census: &Census, rules: &Rules, now_us: i64) -> Vec<u32> {
    let mut all: Vec<(u32, &Owner)> = (0_u32..).zip(&census.owners).collect();
    all.sort_by_key(|(_, owner)| (owner.started_us, owner.id));
    if let Some(seconds) = rules.older_than_s {
        let us = i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        let limit = now_us.saturating_sub(us);
        all.retain(|(_, owner)| owner.last_us < limit);
    }
    if let Some(keep) = rules.keep {
        let runs = census.owners.iter().filter(|owner| owner.name.is_some());
        let mut starts: Vec<i64> = runs.map(|owner| owner.started_us).collect();
        starts.sort_unstable_by(|left, right| right.cmp(left));
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        // Scans between the runs that stay stay with them.
        let oldest_kept = keep.checked_sub(1).map(|last| starts.get(last).copied());
        match oldest_kept {
            None => {}
            Some(None) => all.clear(),
            Some(Some(oldest)) => all.retain(|(_, owner)| owner.started_us < oldest),
        }
    }
    all.into_iter().map(|(index, _)| index).collect()
}

/// As many of the oldest as it takes to come down to the budget; found by halving, because more runs never free less.
fn within(
    census: &Census,
    rules: &Rules,
    compared: &HashSet<u32>,
    candidates: &[u32],
    budget: u64,
) -> HashSet<u32> {
    let total: u64 = census.stored.iter().map(|blob| blob.bytes).sum();
    let first = |count: usize| -> HashSet<u32> { candidates.iter().take(count).copied().collect() };
    let left = |count: usize| {
        let blobs = doomed(census, rules, compared, &first(count));
        total.saturating_sub(blobs.iter().map(|blob| blob.bytes).sum())
    };
    let (mut low, mut high) = (0, candidates.len());
    while low < high {
        let middle = low.midpoint(high);
        if left(middle) <= budget {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    first(low)
}

fn doomed(
    census: &Census,
    rules: &Rules,
    compared: &HashSet<u32>,
    going: &HashSet<u32>,
) -> Vec<Doomed> {
    let may_go = |kind: BlobKind| {
        kind.may_go()
            && if rules.kinds.is_empty() {
                kind.goes_unasked()
            } else {
                rules.kinds.contains(&kind)
            }
    };
    let needed = if rules.force {
        HashSet::new()
    } else {
        ancestors(census, going)
    };
    let is_compared = |reference: &Reference| {
        reference.kind == BlobKind::Environments && compared.contains(&reference.owner)
    };
    let goes = |reference: &Reference| {
        going.contains(&reference.owner)
            && may_go(reference.kind)
            && (rules.force || !is_compared(reference))
    };
    let blobs = census.blobs().filter(|(blob, references)| {
        let unneeded = if references.is_empty() {
            may_go(BlobKind::Strays)
        } else {
            references.iter().all(goes)
        };
        unneeded && !blob.in_hand && !needed.contains(&blob.digest)
    });
    blobs
        .map(|(blob, references)| Doomed {
            digest: blob.digest,
            bytes: blob.bytes,
            kind: kind_of(references),
        })
        .collect()
}

/// What stays whatever its age.
struct Precious {
    /// Runs that wrote a file that somebody sealed.
    sealed: HashSet<u32>,
    /// Runs that somebody approved of, or of bytes that they saved or refer to.
    approved: HashSet<u32>,
    /// Of each command the run whose environment the next one is compared with: its trees stay, not all of it.
    compared_with: HashSet<u32>,
}

impl Precious {
    fn of(census: &Census, sealed: &HashSet<Digest>) -> Self {
        let is_sealed = |digest: Option<Digest>| digest.is_some_and(|it| sealed.contains(&it));
        let writers = census.saved.iter().filter(|saved| is_sealed(saved.digest));
        Self {
            sealed: writers.map(|saved| saved.owner).collect(),
            approved: approved(census),
            compared_with: compared_with(census),
        }
    }

    /// Why this one stays although a rule names it.
    fn reason(&self, census: &Census, index: u32, force: bool) -> Option<&'static str> {
        let owner = census.owners.get(index as usize)?;
        if owner.is_running() {
            return Some("still running, or on another host and without an end");
        }
        if force {
            return None;
        }
        if self.sealed.contains(&index) {
            return Some("wrote a file that is sealed");
        }
        if self.approved.contains(&index) {
            return Some("approved of");
        }
        if owner.findings > 0 {
            return Some("something was found in it");
        }
        None
    }
}

fn approved(census: &Census) -> HashSet<u32> {
    let mut runs = HashSet::new();
    let mut bytes = HashSet::new();
    for of in &census.approved {
        match of {
            ApprovalOf::Run { run } => {
                runs.insert(*run);
            }
            ApprovalOf::Bytes { digest } => {
                bytes.insert(*digest);
            }
            // The files of a sealed model are among what is sealed.
            ApprovalOf::Sealed { .. } => {}
        }
    }
    let owners = (0_u32..).zip(&census.owners);
    let named = owners.filter(|(_, owner)| runs.contains(&owner.id));
    let is_approved = |digest: Option<Digest>| digest.is_some_and(|it| bytes.contains(&it));
    let saved = census
        .saved
        .iter()
        .filter(|saved| is_approved(saved.digest));
    let references = census.references.iter();
    let referring = references.filter(|reference| bytes.contains(&reference.digest));
    let all = named.map(|(index, _)| index);
    let all = all.chain(saved.map(|saved| saved.owner));
    all.chain(referring.map(|reference| reference.owner))
        .collect()
}

fn compared_with(census: &Census) -> HashSet<u32> {
    let mut newest: BTreeMap<Digest, (i64, u32)> = BTreeMap::new();
    for (index, owner) in (0_u32..).zip(&census.owners) {
        if let Some(same) = owner
            .same
            .filter(|_| owner.has_environment && owner.is_good())
        {
            let best = newest.entry(same).or_insert((i64::MIN, index));
            *best = (*best).max((owner.started_us, index));
        }
    }
    newest.into_values().map(|(_, index)| index).collect()
}

/// Summaries of the checkpoints that the runs which stay came from, and those in turn: without them what changed in
/// between could not be told any more.
fn ancestors(census: &Census, going: &HashSet<u32>) -> HashSet<Digest> {
    let mut by_digest: HashMap<Digest, Vec<&Saved>> = HashMap::new();
    let mut by_path: HashMap<&PathText, Vec<&Saved>> = HashMap::new();
    for saved in &census.saved {
        by_path.entry(&saved.path).or_default().push(saved);
        if let Some(digest) = saved.digest {
            by_digest.entry(digest).or_default().push(saved);
        }
    }
    let mut by_owner: HashMap<u32, Vec<&Loaded>> = HashMap::new();
    for loaded in &census.loaded {
        by_owner.entry(loaded.owner).or_default().push(loaded);
    }
    let stay = by_owner.keys().filter(|owner| !going.contains(owner));
    let mut waiting: Vec<u32> = stay.copied().collect();
    let mut seen: HashSet<u32> = waiting.iter().copied().collect();
    let mut summaries = HashSet::new();
    while let Some(owner) = waiting.pop() {
        for loaded in by_owner.get(&owner).into_iter().flatten() {
            let same_bytes = loaded.digest.and_then(|digest| by_digest.get(&digest));
            let same_path = by_path.get(&loaded.path);
            for saved in same_bytes.into_iter().chain(same_path).flatten() {
                summaries.extend(saved.summary);
                if seen.insert(saved.owner) {
                    waiting.push(saved.owner);
                }
            }
        }
    }
    summaries
}
