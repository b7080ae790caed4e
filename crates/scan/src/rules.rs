//! The allow model: which names checkpoints legitimately need, and in which role.

/// The rules that a judgement is made by.
#[derive(Debug, Default)]
pub struct Rules {}

impl Rules {
    /// The rules that ship with this program.
    pub fn builtin() -> Self {
        Self::default()
    }
}
