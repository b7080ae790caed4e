//! The ranks of each world, held against each other as they tell their steps.
//!
//! The judgement is `training::replicas`; here is who speaks for which rank, in which of several worlds of a job, and what happens when a
//! rank is started again. What ranks say of themselves is a claim: a process speaks for one rank of a world, and one that
//! takes another's place is not believed while that one lives.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use domain::{Fingerprint, Rule, StepRecord};
use training::replicas::{Parted, Replicas, Shared, Told, Verdict, What};

use super::event::Connection;
use super::once::About;
use super::recorder::Recorder;

/// Worlds of a run, and optimizers of all of them.
const WORLDS_MAX: usize = 256;
const OPTIMIZERS_MAX: usize = 1_000;
/// Ranks of one world.
const RANKS_MAX: u32 = 4_096;
/// Letters of what a rank tells of its tensors.
const PARTS_TEXT_MAX: usize = 512;

/// The processes that train together.
#[derive(Default)]
struct World {
    /// Who speaks for a rank.
    ranks: BTreeMap<u32, Connection>,
    optimizers: BTreeMap<u32, Replicas>,
    /// Steps with which a finding was made: what comes again is counted there.
    told: BTreeMap<(u32, &'static str), Connection>,
    said: BTreeSet<(u32, &'static str)>,
}

/// Key and size of a world.
type Which = (u32, u32);

/// All worlds of a run.
#[derive(Default)]
pub(super) struct Worlds {
    worlds: BTreeMap<Which, World>,
    optimizers: usize,
}

impl Recorder<'_> {
    /// A step was told: it is held against those of the other ranks, when all have told it.
    pub(super) fn heard_rank(&mut self, connection: Connection, step: &StepRecord) {
        let Some(place) = step.replica.as_deref() else {
            return;
        };
        let which = (place.world, place.size);
        let odd = place.size > RANKS_MAX
            || place.rank >= place.size
            || place.parts.len() > PARTS_TEXT_MAX
            || self.worlds.worlds.len() >= WORLDS_MAX && !self.worlds.worlds.contains_key(&which);
        if odd || !self.stands(connection, which, place.rank) {
            let why = "its place among the ranks is impossible, taken by another process, or one of too many";
            return self.gap_once(connection, "comparison with other ranks", why);
        }
        let worlds = &mut self.worlds;
        let Some(world) = worlds.worlds.get_mut(&which) else {
            return;
        };
        if !world.optimizers.contains_key(&step.optimizer) {
            if worlds.optimizers >= OPTIMIZERS_MAX {
                let why = "there are more optimizers than are remembered";
                return self.gap_once(connection, "comparison with other ranks", why);
            }
            worlds.optimizers += 1;
        }
        let replicas = world
            .optimizers
            .entry(step.optimizer)
            .or_insert_with(|| Replicas::new(place.size));
        let verdicts = replicas.tell(place.rank, step.step, told(step, place));
        for verdict in verdicts {
            self.ranks_verdict(which, step.optimizer, Some(step), verdict);
        }
    }

    /// Who speaks for each rank of a world.
    pub(super) fn ranks_of(&self, which: Which) -> Vec<(u32, Connection)> {
        let world = self.worlds.worlds.get(&which);
        let ranks = world.into_iter().flat_map(|it| &it.ranks);
        ranks
            .map(|(rank, connection)| (*rank, *connection))
            .collect()
    }

    /// Whether `connection` speaks for the rank from now on.
    fn stands(&mut self, connection: Connection, which: Which, rank: u32) -> bool {
        let world = self.worlds.worlds.entry(which).or_default();
        match world.ranks.get(&rank) {
            Some(known) if *known == connection => return true,
            Some(known) => {
                let alive = self.members.get(known).is_some_and(|it| !it.left);
                if alive {
                    return false;
                }
                // It was started again, and the others with it: who is whose replica is learnt anew.
                self.worlds.optimizers = self
                    .worlds
                    .optimizers
                    .saturating_sub(world.optimizers.len());
                *world = World::default();
            }
            None if world.ranks.values().any(|it| *it == connection) => return false,
            None => {}
        }
        world.ranks.insert(rank, connection);
        true
    }

    /// No rank tells anything more.
    pub(super) fn finish_ranks(&mut self) {
        let mut verdicts = Vec::new();
        for (which, world) in &mut self.worlds.worlds {
            for (optimizer, replicas) in &mut world.optimizers {
                let found = replicas.finish().into_iter();
                verdicts.extend(found.map(|verdict| (*which, *optimizer, verdict)));
            }
        }
        for (which, optimizer, verdict) in verdicts {
            self.ranks_verdict(which, optimizer, None, verdict);
        }
    }

    fn ranks_verdict(
        &mut self,
        which: Which,
        optimizer: u32,
        step: Option<&StepRecord>,
        verdict: Verdict,
    ) {
        match verdict {
            Verdict::Parted(parted) => self.tell_parted(which, optimizer, step, &parted),
            Verdict::SameBatches(shared) => self.tell_shared(which, optimizer, step, shared),
            Verdict::SameRandom(shared) => {
                let what = format!(
                    "that ranks {} and {} draw the same random numbers from step {} on",
                    shared.ranks.0, shared.ranks.1, shared.since
                );
                let why = "they drew different ones before; a program may seed all ranks alike, so nothing follows";
                self.ranks_gap(which, optimizer, "random", &what, why);
            }
            Verdict::NoReplicas => {
                let what = format!("comparison of ranks of {}, optimizer {optimizer}", which.1);
                let why = "their weights never agreed at two of the first steps: shards, stages, averaging now and then, or jobs of their own";
                self.ranks_gap(which, optimizer, "never", &what, why);
            }
            Verdict::MayPart => {
                let what = format!("comparison of ranks of {}, optimizer {optimizer}", which.1);
                let why = "torch's post_localSGD_hook stands in the place of the reduction: replicas part by right";
                self.ranks_gap(which, optimizer, "apart", &what, why);
            }
        }
    }

    fn ranks_gap(
        &mut self,
        which: Which,
        optimizer: u32,
        cause: &'static str,
        what: &str,
        why: &str,
    ) {
        let world = self.worlds.worlds.get_mut(&which);
        if world.is_some_and(|world| world.said.insert((optimizer, cause))) {
            self.gap(what, why);
        }
    }

    fn tell_parted(
        &mut self,
        which: Which,
        optimizer: u32,
        step: Option<&StepRecord>,
        parted: &Parted,
    ) {
        let cause = match parted.what {
            What::Parameters => "parameters",
            What::State => "state",
        };
        let names = self.names_of(which, optimizer, parted);
        let ranks = parted.minority();
        self.tell_of_ranks(which, (optimizer, cause), &ranks, step, parted.step, || {
            words::parted(parted, which.1, &names)
        });
    }

    fn tell_shared(
        &mut self,
        which: Which,
        optimizer: u32,
        step: Option<&StepRecord>,
        shared: Shared,
    ) {
        let ranks = [shared.ranks.0, shared.ranks.1];
        self.tell_of_ranks(
            which,
            (optimizer, "batches"),
            &ranks,
            step,
            shared.step,
            || words::shared(shared),
        );
    }

    /// Tells a finding with the connection of the first of `ranks`, and counts what comes again there.
    fn tell_of_ranks(
        &mut self,
        which: Which,
        (optimizer, cause): (u32, &'static str),
        ranks: &[u32],
        step: Option<&StepRecord>,
        number: u64,
        finding: impl FnOnce() -> domain::Finding,
    ) {
        let Some(world) = self.worlds.worlds.get_mut(&which) else {
            return;
        };
        let of = ranks.iter().find_map(|rank| world.ranks.get(rank));
        let Some(first) = of.copied() else { return };
        let connection = *world.told.entry((optimizer, cause)).or_insert(first);
        let rule = if cause == "batches" {
            Rule::RanksShareBatches
        } else {
            Rule::ReplicasDiffer
        };
        let about = About {
            rule,
            cause,
            optimizer,
        };
        // The step's record is the evidence: of the rank itself where it is at hand.
        let kept = self.members.get(&connection).and_then(|member| {
            let steps = member.steps.iter().rev();
            let mut same = steps.filter(|it| it.step == number && it.optimizer == optimizer);
            same.next().cloned()
        });
        // Its segment may be written already: then the number is all that is left to say.
        let bare = StepRecord::bare(number, optimizer);
        let step = kept.as_ref().or(step).unwrap_or(&bare);
        self.tell_once(connection, about, step, |_, _| Some(finding()));
    }

    /// What the model calls the parameters that differ, as far as any rank told.
    fn names_of(&self, which: Which, optimizer: u32, parted: &Parted) -> Vec<String> {
        let connections: Vec<_> = self
            .worlds
            .worlds
            .get(&which)
            .into_iter()
            .flat_map(|world| world.ranks.values().copied())
            .collect();
        let name = |index: &usize| {
            let number = u32::try_from(*index).ok()?;
            connections
                .iter()
                .find_map(|it| self.rechecks.name_of(*it, optimizer, number))
        };
        let tensors = parted.tensors.0.iter();
        tensors
            .map(|index| name(index).unwrap_or_else(|| format!("parameter {index}")))
            .collect()
    }
}

fn told(step: &StepRecord, place: &domain::Replica) -> Told {
    let bits = step.batches.iter().map(|it| it.bits());
    let whole: Vec<[u8; 16]> = bits.map(u128::to_le_bytes).collect();
    let batches = training::fingerprint::of_buffers(whole.iter().map(|it| &it[..]));
    Told {
        parameters: step.parameters,
        state: step.optimizer_state,
        batches: (!step.batches.is_empty()).then(|| Fingerprint::bits(batches)),
        random: step.rng.torch,
        parts: (place.tensors, place.parts.clone()),
        held: place.held,
        apart: place.apart,
    }
}
