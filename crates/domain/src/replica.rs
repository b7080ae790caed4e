//! Which place in a distributed training a step was made at, as its own process says it.

use serde::{Deserialize, Serialize};

/// Most numbers of [`Replica::parts`].
pub const PARTS_MAX: usize = 64;

/// The place of a process among those that train together, told with each of its steps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Replica {
    /// Equal for the processes of one world, and most likely different for those of another.
    pub world: u32,
    /// Rank in it.
    pub rank: u32,
    /// Processes in it.
    pub size: u32,
    /// All parameters of the optimizer belong to a `DistributedDataParallel` over the whole world, and a number of which of its
    /// parameters they are: what has the same number is equal by construction, not by habit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u32>,
    /// The replicas may part by right: torch's own local SGD.
    #[serde(default, skip_serializing_if = "is_false")]
    pub apart: bool,
    /// How many parameters there are; 0 where their digests were not due.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tensors: u32,
    /// A 32-bit number for each parameter, little endian, base64. Where there are more than [`PARTS_MAX`], one for each of so many
    /// runs of neighbours, as [`part_of`] tells.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parts: String,
}

/// The number among the parts that parameter `index` of `tensors` goes into.
pub fn part_of(index: usize, tensors: usize) -> usize {
    if tensors <= PARTS_MAX {
        index
    } else {
        index.saturating_mul(PARTS_MAX) / tensors
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_part_and_neighbours_share_one() {
        for tensors in [1, 63, 64, 65, 100, 1000] {
            let parts: Vec<_> = (0..tensors).map(|index| part_of(index, tensors)).collect();
            assert!(parts.is_sorted());
            assert!(parts.iter().all(|part| *part < PARTS_MAX));
            assert_eq!(parts.last(), Some(&(tensors.min(PARTS_MAX) - 1)));
        }
    }
}
