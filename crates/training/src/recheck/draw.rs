//! Which positions are looked at: fresh ones at each step, half of them spread over the parameters and half over the elements.
//!
//! Spread over elements alone, a bias would be seen once in thousands of steps; over parameters alone, the change of a few rows
//! of a large matrix would be. What a look costs is the number of parameters, hardly that of positions: of a large model a part of the
//! parameters is drawn first, by the same halves, and the positions lie in those. The generator is SplitMix64 from a seed of the operating system's: the job's own generators
//! are never touched. It is no secret: what runs in the process can read it, and `docs/steps.md` says what follows from that.

use std::collections::BTreeSet;

/// Draws positions of one optimizer's parameters.
#[derive(Debug, Clone)]
pub struct Draw {
    state: u64,
    /// Elements up to and with each parameter.
    ends: Vec<u64>,
    /// Parameters that still have their turn.
    turns: Vec<usize>,
}

/// A parameter's number and its positions, both ascending.
pub type Pick = (usize, Vec<u64>);

impl Draw {
    /// A generator from `seed`, for parameters with `sizes` elements.
    pub fn new(seed: u64, sizes: &[u64]) -> Self {
        let mut draw = Self {
            state: seed,
            ends: Vec::new(),
            turns: Vec::new(),
        };
        draw.layout(sizes);
        draw
    }

    /// From now on the parameters have `sizes` elements.
    pub fn layout(&mut self, sizes: &[u64]) {
        let mut end = 0u64;
        self.turns.clear();
        self.ends = sizes
            .iter()
            .map(|size| {
                end = end.saturating_add(*size);
                end
            })
            .collect();
    }

    /// About `count` different positions in at most `most` parameters.
    pub fn picks(&mut self, count: usize, most: usize) -> Vec<Pick> {
        let chosen: Vec<usize> = self.parameters(most.min(count)).into_iter().collect();
        if chosen.is_empty() {
            return Vec::new();
        }
        let mut end = 0u64;
        let ends: Vec<u64> = chosen
            .iter()
            .map(|parameter| {
                let (start, stop) = self.range(*parameter);
                end = end.saturating_add(stop - start);
                end
            })
            .collect();
        let mut drawn = BTreeSet::new();
        for number in 0..count {
            let at = if number % 2 == 0 {
                number / 2 % chosen.len()
            } else {
                let element = self.below(end);
                ends.partition_point(|end| *end <= element)
            };
            if let Some(parameter) = chosen.get(at) {
                let (start, stop) = self.range(*parameter);
                drawn.insert((*parameter, self.below(stop - start)));
            }
        }
        let mut picks: Vec<Pick> = Vec::new();
        for (parameter, position) in drawn {
            match picks.last_mut() {
                Some((last, positions)) if *last == parameter => positions.push(position),
                _ => picks.push((parameter, vec![position])),
            }
        }
        picks
    }

    /// At most `most` parameters that have elements, half of them in turn and half by their size; all of them, if there are no more.
    fn parameters(&mut self, most: usize) -> BTreeSet<usize> {
        let total = self.ends.last().copied().unwrap_or(0);
        let filled = |draw: &Self, parameter: usize| {
            let (start, end) = draw.range(parameter);
            end > start
        };
        if total == 0 || self.ends.len() <= most {
            return (0..self.ends.len())
                .filter(|it| filled(self, *it))
                .collect();
        }
        let mut chosen = BTreeSet::new();
        for number in 0..most {
            let parameter = if number % 2 == 0 {
                self.turn()
            } else {
                let element = self.below(total);
                self.ends.partition_point(|end| *end <= element)
            };
            if filled(self, parameter) {
                chosen.insert(parameter);
            }
        }
        chosen
    }

    /// The next parameter: all of them in a fresh order, before one comes again.
    fn turn(&mut self) -> usize {
        if self.turns.is_empty() {
            let mut turns: Vec<usize> = (0..self.ends.len()).collect();
            for last in (1..turns.len()).rev() {
                let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(0);
                turns.swap(last, other);
            }
            self.turns = turns;
        }
        self.turns.pop().unwrap_or(0)
    }

    fn range(&self, parameter: usize) -> (u64, u64) {
        let before = parameter.checked_sub(1).and_then(|it| self.ends.get(it));
        let end = self.ends.get(parameter).copied().unwrap_or(0);
        (before.copied().unwrap_or(0), end)
    }

    /// Below `end`, evenly but for a share of 2^-64 of it.
    fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_lie_in_their_parameters_and_are_fresh_each_time() {
        let sizes = [5, 0, 1000, 1];
        let mut draw = Draw::new(7, &sizes);
        let (first, second) = (draw.picks(64, 64), draw.picks(64, 64));
        assert_ne!(first, second);
        for (parameter, positions) in first.iter().chain(&second) {
            assert!(positions.iter().all(|at| at < &sizes[*parameter]));
            assert!(positions.is_sorted());
        }
        assert!(
            first
                .iter()
                .map(|(_, positions)| positions.len())
                .sum::<usize>()
                > 30
        );
    }

    #[test]
    fn every_parameter_comes_soon_and_every_element_of_a_large_one() {
        let mut draw = Draw::new(3, &[1, 1_000_000, 1, 50]);
        let mut seen = [0; 4];
        let mut quarters = [0; 4];
        for _ in 0..200 {
            for (parameter, positions) in draw.picks(16, 16) {
                seen[parameter] += 1;
                if parameter == 1 {
                    for at in positions {
                        quarters[usize::try_from(at / 250_000).unwrap()] += 1;
                    }
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
        assert!(quarters.iter().all(|count| *count > 300), "{quarters:?}");
    }

    #[test]
    fn few_parameters_are_drawn_of_many_and_each_has_its_turn() {
        let sizes: Vec<u64> = (0..200).map(|it| 1 + it % 7 * 1000).collect();
        let mut draw = Draw::new(11, &sizes);
        let mut seen = [0; 200];
        // Six of twelve in turn: within 34 steps all of 200 had theirs, within 68 twice.
        for _ in 0..68 {
            let picks = draw.picks(64, 12);
            assert!((4..=12).contains(&picks.len()));
            assert!(picks.iter().map(|(_, at)| at.len()).sum::<usize>() > 30);
            for (parameter, positions) in picks {
                seen[parameter] += 1;
                assert!(positions.iter().all(|at| at < &sizes[parameter]));
            }
        }
        assert!(seen.iter().all(|count| *count > 1), "{seen:?}");
    }

    #[test]
    fn nothing_is_drawn_where_there_is_nothing() {
        assert!(Draw::new(1, &[]).picks(9, 9).is_empty());
        assert!(Draw::new(1, &[0, 0]).picks(9, 9).is_empty());
    }
}
