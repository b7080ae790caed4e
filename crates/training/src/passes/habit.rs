//! What a program did from its first steps on, and whether it stopped doing so.
//!
//! A program may do with its gradients, losses and modes what it likes, so only a change is told, only after [`FORM`] steps
//! without one, and only one that honest programs do not make on their way: what looks like clipping, zeroing or freezing by
//! hand, or like batches of another size, is a gap. A habit that never forms is not covered.

use std::collections::{BTreeMap, HashSet, VecDeque};

use domain::{Fingerprint, LossEnd};

use super::gradients::{Change, Difference};

/// Steps that make a habit.
pub const FORM: u32 = 5;
/// Steps that make a habit of what a program does to its gradients itself.
const FORM_CHANGED: u32 = 20;
/// Norms of gradients that a sudden one is compared with.
const NORMS: usize = 16;
/// Odd steps that are remembered until another one explains them.
const WAITING_MAX: usize = 8;
/// How far two estimates of one factor may be apart, relatively.
const SAME: f64 = 1e-3;
/// Steps in which a second odd count must come.
const SOON: u64 = 20;
/// Steps that make a habit of how often is drawn, and sizes of batches that are remembered.
const FORM_DRAWS: u32 = 20;
const SIZES_MAX: usize = 4_096;
/// States of random generators that are remembered.
const STATES_MAX: usize = 1 << 16;

/// What follows from a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// Something that cannot be judged.
    Gap(&'static str),
    /// The habit is broken since step `first`.
    Broken {
        /// Its first step.
        first: u64,
    },
}

/// What becomes of the gradients between the last backward pass and the step, by no call of torch.
#[derive(Debug, Default)]
pub struct Gradients {
    judged: u32,
    state: State,
    norms: VecDeque<f64>,
    waiting: Vec<(u64, f64)>,
    zeroed: Option<(u64, u32)>,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    /// Nothing was changed so far.
    #[default]
    Clean,
    /// All are multiplied with this at each step.
    Factor(f64),
    /// The program does something of its own.
    Open,
}

impl Gradients {
    /// A step was judged; `norm` is that of the gradients as they are used, `all` whether every parameter is affected, and
    /// `usual` whether the step has as many backward passes as the others.
    pub fn hear(
        &mut self,
        step: u64,
        difference: Option<&Difference>,
        all: bool,
        norm: Option<f64>,
        usual: bool,
    ) -> Heard {
        self.judged = self.judged.saturating_add(1);
        let formed = self.judged > FORM;
        match self.state {
            State::Open => Heard::Nothing,
            State::Clean => match difference {
                None => {
                    self.clean(norm);
                    Heard::Nothing
                }
                Some(difference) if formed => self.changed(step, difference, all, norm),
                Some(difference) => self.begun_with(difference, all),
            },
            State::Factor(habit) => self.other_factor(habit, step, difference, all, usual),
        }
    }

    /// Whether the program was never seen to change gradients itself.
    pub fn untouched(&self) -> bool {
        self.state == State::Clean
    }

    fn clean(&mut self, norm: Option<f64>) {
        self.zeroed = None;
        if let Some(norm) = norm.filter(|norm| norm.is_finite()) {
            if self.norms.len() >= NORMS {
                self.norms.pop_front();
            }
            self.norms.push_back(norm);
        }
    }

    fn begun_with(&mut self, difference: &Difference, all: bool) -> Heard {
        if let (Change::Times(times), true, true) = (difference.change, all, self.judged == 1)
            && times != 0.0
        {
            self.state = State::Factor(times);
            return Heard::Gap("all gradients are multiplied with one number at each step");
        }
        self.state = State::Open;
        Heard::Gap(in_words(difference.change))
    }

    /// A program multiplies all gradients with `habit`. By how much may depend on the size of a batch, so that only another
    /// sign, or what is no factor any more, is a break.
    fn other_factor(
        &mut self,
        habit: f64,
        step: u64,
        difference: Option<&Difference>,
        all: bool,
        usual: bool,
    ) -> Heard {
        let broken = match difference.map(|difference| difference.change) {
            None => habit < 0.0,
            Some(Change::Times(times)) if all => times * habit < 0.0,
            Some(Change::Other(_)) => true,
            Some(_) => false,
        };
        if broken && self.judged > FORM_CHANGED && usual {
            return Heard::Broken { first: step };
        }
        let factor = matches!(
            difference.map(|difference| difference.change),
            None | Some(Change::Times(_))
        );
        if broken || !factor {
            self.state = State::Open;
            return Heard::Gap(
                "gradients are changed by the program in ways that differ from step to step",
            );
        }
        Heard::Nothing
    }

    /// Steps were clean, and this one is not.
    fn changed(
        &mut self,
        step: u64,
        difference: &Difference,
        all: bool,
        norm: Option<f64>,
    ) -> Heard {
        match difference.change {
            Change::Other(_) => Heard::Broken { first: step },
            Change::Times(0.0) if all => self.zero(step),
            Change::Times(0.0) | Change::Shrunk | Change::Gone => {
                Heard::Gap(in_words(difference.change))
            }
            Change::Clamped(_) => {
                self.state = State::Open;
                Heard::Gap(in_words(difference.change))
            }
            Change::Times(times) if !(0.0..=1.0).contains(&times) => Heard::Broken { first: step },
            Change::Times(times) => self.smaller(step, times, all, norm),
        }
    }

    fn zero(&mut self, step: u64) -> Heard {
        let (first, count) = self.zeroed.unwrap_or((step, 0));
        self.zeroed = Some((first, count + 1));
        if count >= 2 {
            return Heard::Broken { first };
        }
        Heard::Gap("all gradients were set to zero before a step, as programs do to leave one out")
    }

    /// Smaller by one factor: a clipping by hand that begins to bite only now would look the same, so it is told only where
    /// a clipping is excluded: an earlier norm was greater and stayed, or the same factor comes again.
    fn smaller(&mut self, step: u64, times: f64, all: bool, norm: Option<f64>) -> Heard {
        let before = norm.map(|norm| norm / times);
        let greater = self.norms.iter().copied().fold(0.0, f64::max);
        let enough = self.norms.len() >= FORM as usize;
        let excluded = all && enough && before.is_some_and(|before| before <= greater);
        let again = self
            .waiting
            .iter()
            .find(|(at, other)| *at != step && (other / times - 1.0).abs() <= SAME)
            .map(|(at, _)| *at);
        if let Some(first) = again.or(excluded.then_some(step)) {
            return Heard::Broken { first };
        }
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push((step, times));
            return Heard::Gap(in_words(Change::Shrunk));
        }
        self.state = State::Open;
        Heard::Gap("gradients are made smaller by factors that differ, as a clipping by hand does")
    }
}

fn in_words(change: Change) -> &'static str {
    match change {
        Change::Times(_) => "the program multiplies gradients itself",
        Change::Clamped(_) => "the program cuts gradients off at plus and minus one number",
        Change::Shrunk => "the program makes some gradients smaller, as a clipping by hand does",
        Change::Gone => "the program removes or sets gradients between backward pass and step",
        Change::Other(_) => "the program changes gradients between backward pass and step",
    }
}

/// A value that stays the same.
#[derive(Debug)]
pub struct Constant<T> {
    value: Option<T>,
    held: u32,
    odd: Option<(T, u64, u32)>,
}

impl<T> Default for Constant<T> {
    fn default() -> Self {
        Self {
            value: None,
            held: 0,
            odd: None,
        }
    }
}

impl<T: Clone> Constant<T> {
    /// The value of a habit that formed.
    pub fn formed(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.held >= FORM)
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A step had `value`; answers the habit and the first step that differs, once `needed` steps in a row had the same
    /// other value.
    pub fn hear(
        &mut self,
        step: u64,
        value: &T,
        needed: u32,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<(T, u64)> {
        let habit = self.value.get_or_insert_with(|| value.clone());
        if same(habit, value) {
            self.held = self.held.saturating_add(1);
            self.odd = None;
            return None;
        }
        if self.held < FORM {
            *habit = value.clone();
            self.held = 1;
            self.odd = None;
            return None;
        }
        let again = self.odd.take().filter(|(other, _, _)| same(other, value));
        let (_, first, count) = again.unwrap_or_else(|| (value.clone(), step, 0));
        self.odd = Some((value.clone(), first, count + 1));
        (count + 1 >= needed).then(|| (habit.clone(), first))
    }
}

/// How many random numbers the forward passes draw, by the bytes of their batches: dropout that is in part switched off draws fewer.
#[derive(Debug, Default)]
pub struct Draws {
    /// How many, and at how many steps.
    usual: BTreeMap<u64, (u32, u32)>,
    odd: Option<(u64, u32)>,
    open: bool,
}

impl Draws {
    /// A step's first forward pass was given so many bytes and drew so often; answers how often it did before, and the first step that
    /// drew less often, once it is the third in a row.
    pub fn hear(&mut self, step: u64, bytes: u64, drawn: u32) -> Option<(u32, u64)> {
        if self.open {
            return None;
        }
        let Some((usual, times)) = self.usual.get_mut(&bytes) else {
            self.open = self.usual.len() >= SIZES_MAX;
            self.usual.insert(bytes, (drawn, 1));
            return None;
        };
        if *usual == drawn {
            *times = times.saturating_add(1);
            self.odd = None;
        } else if *times < FORM_DRAWS {
            // It depends on more than the size: layers that are left out by chance, or samples that are drawn.
            self.open = true;
        } else if drawn > *usual {
            // More of the model is trained with dropout.
            (*usual, *times) = (drawn, 1);
            self.odd = None;
        } else {
            let (first, count) = self.odd.unwrap_or((step, 0));
            self.odd = Some((first, count + 1));
            return (count >= 2).then_some((*usual, first));
        }
        None
    }
}

/// How many forward and backward passes a step has.
#[derive(Debug, Default)]
pub struct Counts {
    habit: Constant<(u32, u32)>,
    odd: Option<((u32, u32), u64)>,
}

impl Counts {
    /// Whether this is what every step has, or nothing is known yet.
    pub fn usual(&self, counts: (u32, u32)) -> bool {
        self.habit.formed().is_none_or(|usual| *usual == counts)
    }

    /// What every step has.
    pub fn habit(&self) -> Option<(u32, u32)> {
        self.habit.formed().copied()
    }

    /// A step had so many. Only as many forward passes as ever, with another number of backward passes, are odd, and only
    /// when it comes twice: one loss that is no number is left out by honest programs as well.
    pub fn hear(&mut self, step: u64, (forwards, backwards): (u32, u32)) -> Heard {
        let counts = (forwards, backwards);
        let formed = self.habit.formed().copied();
        // Whatever goes on for long is a new habit.
        if self
            .habit
            .hear(step, &counts, FORM * 4, PartialEq::eq)
            .is_some()
        {
            self.habit.reset();
        }
        match formed {
            Some((usual, as_many))
                if usual == as_many && forwards == usual && backwards != usual =>
            {
                match self.odd {
                    Some((other, first))
                        if other == counts && step.saturating_sub(first) <= SOON =>
                    {
                        Heard::Broken { first }
                    }
                    _ => {
                        self.odd = Some((counts, step));
                        Heard::Nothing
                    }
                }
            }
            _ => Heard::Nothing,
        }
    }
}

/// Where backward passes start.
#[derive(Debug, Default)]
pub struct Ends {
    habit: Constant<Vec<LossEnd>>,
}

impl Ends {
    /// Begins anew.
    pub fn reset(&mut self) {
        self.habit.reset();
    }

    /// The passes of a step started from `ends`; answers the habit, the factor by which all of it changed and since when.
    pub fn hear(&mut self, step: u64, ends: &[LossEnd]) -> Option<(Vec<LossEnd>, f64, u64)> {
        let value = ends.to_vec();
        let (habit, first) = self.habit.hear(step, &value, 2, |left, right| {
            ratio(left, right).is_some_and(near_one)
        })?;
        let Some(times) = ratio(&habit, ends) else {
            // Another loss: nothing is known of it.
            self.habit.reset();
            return None;
        };
        Some((habit, times, first))
    }
}

fn near_one(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= SAME
}

/// The one factor between two ways of starting; `None` if they differ otherwise.
fn ratio(from: &[LossEnd], to: &[LossEnd]) -> Option<f64> {
    if from.len() != to.len() || from.iter().zip(to).any(|(from, to)| from.base != to.base) {
        return None;
    }
    let mut ratios = from
        .iter()
        .zip(to)
        .map(|(from, to)| to.factor.0 / from.factor.0);
    let first = ratios.next()?;
    (first.is_finite() && ratios.all(|ratio| near_one(ratio / first))).then_some(first)
}

/// The states of torch's generator that steps begin with.
#[derive(Debug, Default)]
pub struct Reuse {
    last: Option<(Fingerprint, u64)>,
    seen: HashSet<Fingerprint>,
    clean: u32,
    again: Option<(u64, u32)>,
    open: bool,
}

impl Reuse {
    /// A training forward pass that draws began with this state.
    pub fn hear(&mut self, step: u64, state: &Fingerprint) -> Heard {
        let before = self.last.replace((*state, step));
        if self.open || before.is_none() {
            self.remember(state);
            return Heard::Nothing;
        }
        if let Some((_, at)) = before.filter(|(before, _)| before == state) {
            if self.clean < FORM {
                self.open = true;
                return Heard::Gap(
                    "each step begins with the same random numbers, from the first on",
                );
            }
            let (first, count) = self.again.unwrap_or((at, 0));
            self.again = Some((first, count + 1));
            return if count >= 1 {
                Heard::Broken { first }
            } else {
                Heard::Nothing
            };
        }
        self.again = None;
        self.clean = self.clean.saturating_add(1);
        if self.remember(state) {
            return Heard::Gap(
                "a step began with the random numbers of an earlier one, as programs do that seed again at an evaluation or an epoch",
            );
        }
        Heard::Nothing
    }

    /// Whether it was there before.
    fn remember(&mut self, state: &Fingerprint) -> bool {
        if self.seen.len() < STATES_MAX {
            !self.seen.insert(*state)
        } else {
            self.seen.contains(state)
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Number;

    use super::super::gradients::Place;
    use super::*;

    fn difference(change: Change) -> Difference {
        Difference {
            place: Place::Between,
            change,
            became: None,
            tensors: vec![0],
            first: None,
        }
    }

    /// What comes of a change at step 8, after seven clean ones whose norms are 1.
    fn late(change: Change, norm: f64) -> Heard {
        let mut habit = Gradients::default();
        for step in 1..8 {
            assert_eq!(
                habit.hear(step, None, false, Some(1.0), true),
                Heard::Nothing
            );
        }
        habit.hear(8, Some(&difference(change)), true, Some(norm), true)
    }

    #[test]
    fn fewer_draws_from_batches_of_one_size_are_told_at_the_third_step() {
        let mut draws = Draws::default();
        for step in 1..=40 {
            assert_eq!(draws.hear(step, 64 + step % 2, 12), None);
        }
        assert_eq!(draws.hear(41, 64, 8), None);
        assert_eq!(draws.hear(42, 65, 8), None);
        assert_eq!(draws.hear(43, 99, 3), None, "another size");
        assert_eq!(draws.hear(44, 64, 8), Some((12, 41)));
    }

    #[test]
    fn draws_that_vary_or_grow_are_no_break() {
        let mut varied = Draws::default();
        let mut grown = Draws::default();
        for step in 1..=100 {
            assert_eq!(varied.hear(step, 64, 12 - u32::from(step % 9 == 0)), None);
            assert_eq!(grown.hear(step, 64, if step < 50 { 3 } else { 12 }), None);
        }
        // The new habit is one.
        let told: Vec<_> = (101..104)
            .filter_map(|step| grown.hear(step, 64, 3))
            .collect();
        assert_eq!(told, [(12, 101)]);
    }

    #[test]
    fn what_no_honest_program_begins_late_is_found_at_its_first_step() {
        for (change, norm) in [
            (Change::Times(-1.0), 1.0),
            (Change::Times(3.0), 3.0),
            (Change::Times(0.5), 0.4),
            (Change::Other(Some((-1.0, 1.0))), 1.0),
        ] {
            assert_eq!(late(change, norm), Heard::Broken { first: 8 }, "{change:?}");
        }
    }

    #[test]
    fn what_honest_programs_begin_late_is_a_gap() {
        // A clipping by hand bites when a norm is greater than those before.
        for (change, norm) in [
            (Change::Times(0.5), 1.0),
            (Change::Clamped(0.1), 0.5),
            (Change::Shrunk, 0.5),
            (Change::Gone, 0.5),
            (Change::Times(0.0), 0.0),
        ] {
            assert!(matches!(late(change, norm), Heard::Gap(_)), "{change:?}");
        }
    }

    #[test]
    fn a_factor_that_comes_again_is_no_clipping() {
        let mut habit = Gradients::default();
        for step in 1..8 {
            habit.hear(step, None, false, None, true);
        }
        let half = difference(Change::Times(0.5));
        assert!(matches!(
            habit.hear(8, Some(&half), true, None, true),
            Heard::Gap(_)
        ));
        assert_eq!(
            habit.hear(9, Some(&half), true, None, true),
            Heard::Broken { first: 8 }
        );
    }

    #[test]
    fn what_a_program_does_from_the_start_is_not_covered_and_a_constant_factor_is_held_to() {
        let mut habit = Gradients::default();
        let noise = difference(Change::Other(None));
        assert!(matches!(
            habit.hear(1, Some(&noise), true, None, true),
            Heard::Gap(_)
        ));
        assert_eq!(
            habit.hear(30, Some(&noise), true, None, true),
            Heard::Nothing
        );
        let mut habit = Gradients::default();
        let quarter = difference(Change::Times(0.25));
        for step in 1..=21 {
            habit.hear(step, Some(&quarter), true, None, true);
        }
        let flipped = difference(Change::Times(-0.25));
        assert_eq!(
            habit.hear(22, Some(&flipped), true, None, true),
            Heard::Broken { first: 22 }
        );
        // The last micro-batches of an epoch are fewer.
        let third = difference(Change::Times(1.0 / 3.0));
        assert_eq!(
            habit.hear(23, Some(&third), true, None, false),
            Heard::Nothing
        );
    }

    #[test]
    fn a_constant_is_broken_after_so_many_steps_in_a_row() {
        let mut constant = Constant::default();
        for step in 1..=5 {
            assert_eq!(constant.hear(step, &1, 2, PartialEq::eq), None);
        }
        assert_eq!(constant.hear(6, &2, 2, PartialEq::eq), None);
        assert_eq!(constant.hear(7, &1, 2, PartialEq::eq), None);
        assert_eq!(constant.hear(8, &2, 2, PartialEq::eq), None);
        assert_eq!(constant.hear(9, &2, 2, PartialEq::eq), Some((1, 8)));
    }

    #[test]
    fn only_a_backward_pass_that_is_missing_again_is_miscounted() {
        let mut counts = Counts::default();
        for step in 1..10 {
            assert_eq!(counts.hear(step, (4, 4)), Heard::Nothing);
        }
        // The end of an epoch; an evaluation with gradients; a loss that was no number.
        for (step, odd) in [(10, (2, 2)), (11, (9, 4)), (12, (4, 3))] {
            assert_eq!(counts.hear(step, odd), Heard::Nothing);
        }
        assert_eq!(counts.hear(13, (4, 4)), Heard::Nothing);
        assert_eq!(counts.hear(14, (4, 3)), Heard::Broken { first: 12 });
    }

    #[test]
    fn a_loss_that_is_another_multiple_for_good_is_told_and_another_loss_is_not() {
        let end = |base: &str, factor| {
            vec![LossEnd {
                base: base.to_owned(),
                factor: Number(factor),
            }]
        };
        let mut ends = Ends::default();
        for step in 1..=6 {
            assert_eq!(ends.hear(step, &end("Mean", 0.25)), None);
        }
        assert_eq!(ends.hear(7, &end("Mean", 0.75)), None);
        let (_, times, first) = ends.hear(8, &end("Mean", 0.75)).unwrap();
        assert_eq!((times.round(), first), (3.0, 7));
        for step in 9..20 {
            assert_eq!(ends.hear(step, &end("Other", 1.0)), None);
        }
    }

    #[test]
    fn the_same_state_again_and_again_is_reuse_and_a_seed_now_and_then_is_not() {
        let state = |number: u64| Fingerprint::from_bits(u128::from(number));
        let mut reuse = Reuse::default();
        for step in 0..9 {
            assert_eq!(reuse.hear(step, &state(step)), Heard::Nothing);
        }
        assert!(matches!(reuse.hear(9, &state(3)), Heard::Gap(_)));
        assert_eq!(reuse.hear(10, &state(3)), Heard::Nothing);
        assert_eq!(reuse.hear(11, &state(3)), Heard::Broken { first: 9 });
        let mut habit = Reuse::default();
        habit.hear(1, &state(1));
        assert!(matches!(habit.hear(2, &state(1)), Heard::Gap(_)));
        for step in 3..20 {
            assert_eq!(habit.hear(step, &state(1)), Heard::Nothing);
        }
    }
}
