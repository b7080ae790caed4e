//! The order that torch's own samplers give, computed from what was told before the pass began.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::data::{Order, Pass};

use super::random::Generator;

/// Most samples of a data set whose order is derived: 16 MB of numbers.
pub const LENGTH_MAX: u64 = 4 << 20;
/// What a process tells of its torch: `torch.randperm(16)` of a generator with the seed 1234, as torch 2 has it.
pub const KNOWN: [u32; 16] = [15, 7, 2, 0, 12, 8, 5, 13, 3, 11, 1, 4, 14, 9, 6, 10];

/// Why an order is not derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDerived {
    /// The sampler is none of torch's that are known.
    #[error("its sampler is not one of torch's whose order is known")]
    Sampler,
    /// Torch's permutations are others.
    #[error("this torch permutes otherwise than is known")]
    Algorithm,
    /// The data set is too large.
    #[error("more samples than are permuted here")]
    Length,
    /// What was told is no state of a generator.
    #[error("the state of the generator cannot be read")]
    State,
}

/// The indices in their order; what comes behind the last of them is not known.
///
/// # Errors
///
/// Where the order does not follow from what was told.
pub fn derive(pass: &Pass) -> Result<Vec<u32>, NotDerived> {
    match &pass.order {
        Order::Own { .. } => Err(NotDerived::Sampler),
        Order::Sequential { length } => sequential(*length),
        Order::Random {
            length,
            state,
            given,
        } => {
            knows(pass)?;
            fits(*length)?;
            let bytes = STANDARD.decode(state).map_err(|_| NotDerived::State)?;
            let mut generator = Generator::from_state(&bytes).ok_or(NotDerived::State)?;
            if !given {
                generator = Generator::seeded(generator.next_i64());
            }
            generator.permutation(*length).ok_or(NotDerived::Length)
        }
        Order::Distributed {
            length,
            seed,
            shuffle,
            drop_last,
            replicas,
            rank,
        } => {
            let all = if *shuffle {
                knows(pass)?;
                fits(*length)?;
                Generator::seeded(seed.cast_unsigned())
                    .permutation(*length)
                    .ok_or(NotDerived::Length)?
            } else {
                sequential(*length)?
            };
            share(&all, *drop_last, *replicas, *rank).ok_or(NotDerived::Sampler)
        }
    }
}

/// A generator's state as it is told.
#[must_use]
pub fn state_text(state: &[u8]) -> String {
    STANDARD.encode(state)
}

fn fits(length: u64) -> Result<(), NotDerived> {
    if length > LENGTH_MAX {
        return Err(NotDerived::Length);
    }
    Ok(())
}

fn sequential(length: u64) -> Result<Vec<u32>, NotDerived> {
    fits(length)?;
    Ok((0..u32::try_from(length).map_err(|_| NotDerived::Length)?).collect())
}

/// Whether this torch permutes as it is done here.
fn knows(pass: &Pass) -> Result<(), NotDerived> {
    if pass.known == KNOWN {
        return Ok(());
    }
    Err(NotDerived::Algorithm)
}

/// What one of several processes gets.
fn share(all: &[u32], drop_last: bool, replicas: u64, rank: u64) -> Option<Vec<u32>> {
    let replicas = usize::try_from(replicas).ok().filter(|it| *it > 0)?;
    let rank = usize::try_from(rank).ok().filter(|it| *it < replicas)?;
    let each = if drop_last && !all.len().is_multiple_of(replicas) {
        all.len().checked_sub(replicas)?.div_ceil(replicas)
    } else {
        all.len().div_ceil(replicas)
    };
    // The padding begins at the front again.
    let order = all.iter().copied().cycle();
    let mine = order.skip(rank).step_by(replicas).take(each);
    (!all.is_empty()).then(|| mine.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(order: Order) -> Pass {
        Pass {
            set: 0,
            batch_size: 4,
            order,
            known: KNOWN.to_vec(),
            workers: false,
        }
    }

    fn distributed(length: u64, drop_last: bool, rank: u64) -> Vec<u32> {
        let order = Order::Distributed {
            length,
            seed: 3,
            shuffle: false,
            drop_last,
            replicas: 3,
            rank,
        };
        derive(&pass(order)).unwrap()
    }

    #[test]
    fn each_process_gets_its_share_padded_or_cut() {
        assert_eq!(distributed(7, false, 0), [0, 3, 6]);
        assert_eq!(distributed(7, false, 1), [1, 4, 0]);
        assert_eq!(distributed(7, false, 2), [2, 5, 1]);
        assert_eq!(distributed(7, true, 2), [2, 5]);
        assert_eq!(distributed(1, false, 2), [0]);
    }

    #[test]
    fn what_a_process_tells_of_its_torch_is_what_is_computed_here() {
        let ours = Generator::seeded(1234).permutation(16);
        assert_eq!(ours.as_deref(), Some(&KNOWN[..]));
    }

    #[test]
    fn what_is_not_known_is_not_derived() {
        let own = Order::Own {
            class: "Mine".to_owned(),
        };
        assert_eq!(derive(&pass(own)), Err(NotDerived::Sampler));
        let mut odd = pass(Order::Random {
            length: 5,
            state: String::new(),
            given: true,
        });
        assert_eq!(derive(&odd), Err(NotDerived::State));
        odd.known.clear();
        assert_eq!(derive(&odd), Err(NotDerived::Algorithm));
        let long = Order::Sequential { length: u64::MAX };
        assert_eq!(derive(&pass(long)), Err(NotDerived::Length));
    }
}
