//! Batches to findings: the order derived again from the state of the generator, and samples that are others than before.
//!
//! The order of torch's own samplers is a function of what is told before the pass; it is computed here without torch. What
//! samplers of other making do is only held to itself.

pub mod order;
pub mod random;
pub mod samples;
pub mod wire;

/// 32 bits that tell one row from another.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "32 bits are kept")]
pub fn fold(bytes: &[u8]) -> u32 {
    xxhash_rust::xxh3::xxh3_64(bytes) as u32
}
