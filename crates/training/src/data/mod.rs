//! Batches to findings: the order derived again from the state of the generator, and samples that are others than before.
//!
//! The order of torch's own samplers is a function of what is told before the pass; it is computed here without torch. What
//! samplers of other making do is only held to itself.

pub mod order;
pub mod random;
pub mod samples;
pub mod wire;
