//! Replicas of one model held against each other, step by step.
//!
//! Which ranks are replicas is learnt and not assumed: ranks whose weights were equal at the first steps that they told, while the weights
//! moved, are replicas from then on; what `DistributedDataParallel` holds whole is so from its first step. Ranks that never agreed (shards,
//! stages, parts of a tensor, local SGD) are not judged. Equal means equal in every bit, as a reduction hands the same bytes to all.
//!
//! Pure: the caller says what was told and by whom, and knows names and words.

mod round;
mod shared;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use domain::Fingerprint;
use domain::replica::{PARTS_MAX, part_of};
use xxhash_rust::xxh3::xxh3_64;

pub use round::{Parted, Told, What};
pub use shared::Shared;

use round::Round;
use shared::Streak;

/// Steps that some ranks told and others did not yet.
const WAITING_MAX: usize = 64;
/// Steps at which ranks must have agreed, each with other weights than the last.
const HABIT: u32 = 2;
/// Steps after which ranks that did not agree are not replicas.
const PATIENCE: u32 = 16;

/// A number of 32 bits for each of `buffers`, or for each run of neighbours, base64.
pub fn parts_of<'a>(buffers: impl ExactSizeIterator<Item = &'a [u8]>) -> String {
    let tensors = buffers.len();
    let mut parts = vec![0u64; tensors.min(PARTS_MAX)];
    for (index, buffer) in buffers.enumerate() {
        if let Some(part) = parts.get_mut(part_of(index, tensors)) {
            *part = part.rotate_left(7) ^ xxh3_64(buffer);
        }
    }
    let bytes: Vec<u8> = parts
        .into_iter()
        .flat_map(|part| (part ^ (part >> 32)).to_le_bytes().into_iter().take(4))
        .collect();
    STANDARD_NO_PAD.encode(bytes)
}

/// How often the numbers began anew, and the step: an optimizer whose state is taken away counts from 1 again.
type Number = (u32, u64);

/// What came of a step that all ranks told, or as many as there will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Replicas are not equal.
    Parted(Parted),
    /// They are given the same batches, and were given different ones.
    SameBatches(Shared),
    /// They draw the same random numbers, and drew different ones.
    SameRandom(Shared),
    /// The ranks did not agree at so many steps that they are taken for no replicas; said once.
    NoReplicas,
    /// They may part by right; said once.
    MayPart,
}

/// What is known of who is whose replica.
#[derive(Debug, Clone, Default)]
struct Habit {
    /// For each rank the lowest one with equal values at the last step that counted.
    classes: Vec<u32>,
    values: Vec<u128>,
    count: u32,
    steps: u32,
    formed: bool,
    given_up: bool,
}

/// The steps of one optimizer in one world.
#[derive(Debug)]
pub struct Replicas {
    size: u32,
    /// For each rank how often its numbers began anew, and the last one.
    last: BTreeMap<u32, Number>,
    waiting: BTreeMap<Number, Round>,
    /// The last step that was judged: what comes for earlier ones is too late.
    judged: Option<Number>,
    weights: Habit,
    state: Habit,
    batches: Streak,
    random: Streak,
    agreed_at: Option<u64>,
    said_apart: bool,
}

impl Replicas {
    /// Of a world of `size` ranks.
    pub fn new(size: u32) -> Self {
        Self {
            size,
            last: BTreeMap::new(),
            waiting: BTreeMap::new(),
            judged: None,
            weights: Habit::default(),
            state: Habit::default(),
            batches: Streak::default(),
            random: Streak::default(),
            agreed_at: None,
            said_apart: false,
        }
    }

    /// `rank` told `step`: what is known now.
    pub fn tell(&mut self, rank: u32, step: u64, told: Told) -> Vec<Verdict> {
        if rank >= self.size {
            return Vec::new();
        }
        let again = match self.last.get(&rank) {
            Some((again, last)) => again.saturating_add(u32::from(step <= *last)),
            None => 0,
        };
        let step = (again, step);
        self.last.insert(rank, step);
        if self.judged.is_some_and(|judged| step <= judged) {
            return Vec::new();
        }
        let round = self.waiting.entry(step).or_default();
        round.told.insert(rank, told);
        let whole = round.told.len() as u64 == u64::from(self.size);
        let mut verdicts = Vec::new();
        if whole {
            // What is older and still not whole will not be: ranks tell in order.
            while let Some(first) = self.waiting.first_entry() {
                if *first.key() > step {
                    break;
                }
                let (step, round) = first.remove_entry();
                self.judge(step, &round, &mut verdicts);
            }
        } else if self.waiting.len() > WAITING_MAX
            && let Some((step, round)) = self.waiting.pop_first()
        {
            self.judge(step, &round, &mut verdicts);
        }
        verdicts
    }

    /// No rank tells anything more: those that told the same steps are held against each other.
    pub fn finish(&mut self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (step, round) in std::mem::take(&mut self.waiting) {
            self.judge(step, &round, &mut verdicts);
        }
        verdicts
    }

    fn judge(&mut self, number: Number, round: &Round, verdicts: &mut Vec<Verdict>) {
        self.judged = Some(number);
        let step = number.1;
        if round.told.values().any(|told| told.apart) {
            self.weights.given_up |= !self.weights.formed;
            if !std::mem::replace(&mut self.said_apart, true) {
                verdicts.push(Verdict::MayPart);
            }
            return;
        }
        let whole = round.told.len() as u64 == u64::from(self.size);
        let weights = round.values(|told| told.parameters.map(Fingerprint::bits));
        if whole && weights.len() == round.told.len() {
            let before = self.weights.given_up;
            self.weights.learn(&weights);
            if self.weights.given_up && !before {
                verdicts.push(Verdict::NoReplicas);
            }
        }
        // An optimizer that shares its parameters out among the ranks has others on each.
        let mut held = round.told.values().map(|told| told.held);
        let first = held.next().flatten();
        let must = whole && first.is_some() && held.all(|it| it == first);
        let parted = self.parted(step, round, &weights, must);
        if parted.is_none() {
            self.state(step, round, whole, verdicts);
        }
        verdicts.extend(parted.map(Verdict::Parted));
        if whole {
            let streaks = [
                (&mut self.batches, round.values(|told| told.batches)),
                (
                    &mut self.random,
                    round.values(|told| told.random.map(Fingerprint::bits)),
                ),
            ];
            let [batches, random] = streaks.map(|(streak, values)| streak.follow(step, &values));
            verdicts.extend(batches.map(Verdict::SameBatches));
            verdicts.extend(random.map(Verdict::SameRandom));
        }
    }

    fn parted(
        &mut self,
        step: u64,
        round: &Round,
        weights: &BTreeMap<u32, u128>,
        must: bool,
    ) -> Option<Parted> {
        if weights.len() < 2 {
            return None;
        }
        let one = vec![0; usize::try_from(self.size).ok()?];
        let habit = self.weights.formed.then_some(&self.weights.classes);
        let classes = if must { Some(&one) } else { habit };
        let Some(parted) =
            classes.and_then(|classes| round.parted(step, What::Parameters, weights, classes))
        else {
            self.agreed_at = classes.map(|_| step).or(self.agreed_at);
            return None;
        };
        Some(Parted {
            agreed: self.agreed_at,
            ..parted
        })
    }

    /// The optimizer's state binds only where it was equal by habit: some optimizers keep a part of it on each rank.
    fn state(&mut self, step: u64, round: &Round, whole: bool, verdicts: &mut Vec<Verdict>) {
        let state = round.values(|told| told.state.map(Fingerprint::bits));
        if state.len() < 2 || !self.weights.formed {
            return;
        }
        if self.state.formed
            && let Some(parted) = round.parted(step, What::State, &state, &self.state.classes)
        {
            verdicts.push(Verdict::Parted(parted));
        } else if whole && state.len() == round.told.len() {
            self.state.learn(&state);
        }
    }
}

impl Habit {
    /// Takes in a step at which every rank told a value.
    fn learn(&mut self, values: &BTreeMap<u32, u128>) {
        if self.formed || self.given_up {
            return;
        }
        let classes = round::classes(values);
        let values: Vec<u128> = values.values().copied().collect();
        self.steps += 1;
        let shared = classes
            .iter()
            .zip(0u32..)
            .any(|(lowest, rank)| *lowest != rank);
        if !shared || self.count > 0 && classes != self.classes {
            self.count = u32::from(shared);
        } else if self.count == 0
            || values
                .iter()
                .zip(&self.values)
                .all(|(now, then)| now != then)
        {
            // Weights that did not move are equal without being kept equal.
            self.count += 1;
        }
        (self.classes, self.values) = (classes, values);
        self.formed = self.count >= HABIT;
        self.given_up = !self.formed && self.steps >= PATIENCE;
    }
}

#[cfg(test)]
mod tests;
