//! What happens between two updates: whether the gradients of a step are those of its backward pass, and what became of habits.
//!
//! [`gradients`] judges one step by torch's own semantics: what a call of torch was given and what it left. What no call of
//! torch explains may still be the program's own, so it is held against what the same program did from its first steps on:
//! [`habit`]. Neither knows a run, a process or a clock.
//!
//! # Tolerances
//!
//! As in [`recheck`](crate::recheck): the elements are exact, and each operation of torch may lose one unit in the last place of
//! the type that it writes. Between two calls nothing may change, so there the elements must be equal.

pub mod gradients;
pub mod habit;
pub mod wire;
