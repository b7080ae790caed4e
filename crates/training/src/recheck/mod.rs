//! Whether a step did what its optimizer says: w, g, state and hyperparameters in, expected w' and state' out, compared.
//!
//! [`wire`] reads what the sensor sampled, [`update`] evaluates torch's rules anew on [`bounds`], [`judge`] compares and
//! looks for the one change of an input that would explain what differs, [`between`] holds what stood there before a step
//! against what stood there behind the one before. No torch, no clock and no memory of earlier steps is needed here; who
//! told the values, and whether they are believed, is the caller's.
//!
//! # Tolerances
//!
//! None is chosen; they follow from the arithmetic. The inputs are the very elements, so they are exact. Each operation of
//! torch rounds once, correctly or faithfully, to the type of the tensor that it writes, or not at all where a kernel fuses
//! it with the next or computes wider; so after each the result lies within one unit in the last place of the narrow type
//! of what bounds on its operands give ([`bounds::Arithmetic`]). A scalar (`lr`, `1 - beta1`) is computed in binary64 and
//! then rounded to the tensor's type or a wider one. A rate that is a tensor is computed with in that tensor's precision. Subnormals
//! may be flushed. As bounds hold for any subset of these roundings they hold for the loops over single tensors, for
//! `foreach` and for the fused kernels, with and without multiply-add. For the sum of a chain this is loose by a factor of two to
//! four, which costs nothing: a single-precision update of 10⁻³ of its weight is still known to 10⁻³. In half
//! precision a small update drowns in the rounding of its weight, there as here; then the state decides, and
//! [`judge::Verdict::decisive`] says how many positions could have shown a wrong one.

pub mod between;
pub mod bounds;
mod cause;
pub mod draw;
pub mod habit;
pub mod judge;
pub mod learn;
pub mod outside;
pub mod pack;
pub mod update;
pub mod wire;
