//! A run's steps against the same steps computed again: where they part, and what was done there.
//!
//! [`compare`] holds one step against its double; [`sampled`] reads the elements that both looked at; [`plan`] says how many steps must be
//! computed again for a stated chance. Nothing here knows how a replay is made.

pub mod band;
pub mod compare;
pub mod halve;
pub mod plan;
pub mod sampled;
pub mod saved;
