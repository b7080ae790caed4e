//! How many steps must be computed again, so that tampering with a stated share of them is missed with a stated chance at most.
//!
//! Steps are drawn without putting one back, each alike. Of `N` steps of which `K` were tampered with, `n` drawn ones miss all of them with the chance
//! C(N − K, n) / C(N, n), which is the product of (N − K − i) / (N − i) for i below n.

/// The chance that `drawn` of `steps` miss all `tampered` ones.
#[must_use]
pub fn miss(steps: u64, tampered: u64, drawn: u64) -> f64 {
    if tampered == 0 {
        return 1.0;
    }
    if drawn.saturating_add(tampered) > steps {
        return 0.0;
    }
    // The smaller of the two counts decides how many factors there are: both products are the same number.
    let (few, many) = (drawn.min(tampered), drawn.max(tampered));
    (0..few)
        .map(|at| share(steps - many - at, steps - at))
        .product()
}

/// The fewest of `steps` that must be drawn so that at most `chance` is left to miss tampering with the share `rate` of them; all of them at most.
#[must_use]
pub fn needed(steps: u64, rate: f64, chance: f64) -> u64 {
    fewest(steps, tampered(steps, rate), chance)
}

/// The fewest of `steps` that must be drawn so that at most `chance` is left to miss all `tampered` ones.
#[must_use]
pub fn fewest(steps: u64, tampered: u64, chance: f64) -> u64 {
    let (mut enough, mut few) = (steps, 0);
    if miss(steps, tampered, few) <= chance {
        return 0;
    }
    while enough - few > 1 {
        let middle = few + (enough - few) / 2;
        if miss(steps, tampered, middle) <= chance {
            enough = middle;
        } else {
            few = middle;
        }
    }
    enough
}

/// How many of `steps` the share `rate` is: one at least.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of steps is far below 2^53, and the share lies between 0 and 1"
)]
pub fn tampered(steps: u64, rate: f64) -> u64 {
    ((steps as f64 * rate.clamp(0.0, 1.0)).ceil() as u64).clamp(1, steps.max(1))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of steps is far below 2^53"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Draws `drawn` of `steps` without putting one back, `trials` times: how often none of the first `tampered` was among them.
    fn simulated(steps: u64, tampered: u64, drawn: u64, trials: u32, mut seed: u64) -> f64 {
        let mut next = |below: u64| {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = seed;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let product = u128::from(mixed ^ (mixed >> 31)) * u128::from(below);
            u64::try_from(product >> 64).unwrap()
        };
        let mut missed = 0u32;
        for _ in 0..trials {
            // What is left of both kinds as one after the other is drawn.
            let mut left = steps;
            let none = (0..drawn).all(|_| {
                let hit = next(left) < tampered;
                left -= 1;
                !hit
            });
            missed += u32::from(none);
        }
        f64::from(missed) / f64::from(trials)
    }

    #[test]
    fn the_chance_is_what_a_simulation_of_ten_thousand_trials_has() {
        let trials = 10_000;
        for (number, (steps, rate, chance)) in [
            (10_000, 0.01, 0.05),
            (10_000, 0.001, 0.05),
            (300, 0.01, 0.05),
            (300, 0.05, 0.2),
            (50_000, 0.02, 0.01),
            (64, 0.0, 0.5),
        ]
        .into_iter()
        .enumerate()
        {
            let (drawn, bad) = (needed(steps, rate, chance), tampered(steps, rate));
            let exact = miss(steps, bad, drawn);
            let seen = simulated(steps, bad, drawn, trials, number as u64);
            // Five times what such a share is spread.
            let spread = (exact * (1.0 - exact) / f64::from(trials)).sqrt();
            assert!(
                (seen - exact).abs() <= 5.0 * spread + 1e-9,
                "{steps} {rate}: {seen}, not {exact}"
            );
            assert!(exact <= chance, "{exact}");
            assert!(miss(steps, bad, drawn - 1) > chance, "one fewer would do");
        }
    }

    #[test]
    fn of_very_many_steps_it_is_the_known_figure() {
        // ln 0.05 / ln 0.99 and so on.
        for (rate, drawn) in [(0.05, 59), (0.02, 149), (0.01, 299), (0.005, 598)] {
            let needed = needed(1_000_000_000, rate, 0.05);
            assert!(needed.abs_diff(drawn) <= 1, "{rate}: {needed}");
        }
    }

    #[test]
    fn what_is_all_is_certain_and_what_is_nothing_is_not() {
        assert_eq!(miss(10, 1, 10).to_bits(), 0f64.to_bits());
        assert_eq!(miss(10, 0, 10).to_bits(), 1f64.to_bits());
        assert_eq!(miss(10, 3, 0).to_bits(), 1f64.to_bits());
        assert_eq!(needed(1, 0.01, 0.05), 1);
        assert_eq!(needed(0, 0.01, 0.05), 0);
        assert_eq!(needed(100, 0.01, 1.0), 0);
    }

    proptest! {
        #[test]
        fn it_falls_with_each_step_that_is_drawn(steps in 1u64..500, bad in 1u64..500, drawn in 0u64..500) {
            let (bad, drawn) = (bad.min(steps), drawn.min(steps - 1));
            prop_assert!(miss(steps, bad, drawn + 1) <= miss(steps, bad, drawn));
            prop_assert!((0.0..=1.0).contains(&miss(steps, bad, drawn)));
        }
    }
}
