//! The declared run: what a good run declared and did, and where another run parts from it.
//!
//! A spec is data that a person can read, change and sign. Here is what it may say ([`model`]), how a learning rate becomes
//! a formula ([`schedule`]), the table of its steps ([`table`]) and the comparison of a step with it ([`check`]). Where the
//! file lies, who signed it and what is told of a difference is known to `app`. Weights are never judged: equal
//! declarations may round otherwise on another machine.

pub mod check;
pub mod model;
pub mod schedule;
pub mod table;

pub use check::{Checker, Difference, Told};
pub use model::{Spec, Unsound};
pub use schedule::{Piece, fit};
pub use table::{Line, Table};
