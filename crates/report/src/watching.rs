//! What is shown of a host: what can be seen on it. Plain data, as in [`crate::view`].

use domain::watched::Sense;
use serde::Serialize;

/// `taintline watch --explain --json`.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainView {
    /// `taintline.watch-explain/1`.
    pub schema: &'static str,
    /// What can be seen with the rights of whoever asks, and what not.
    pub senses: Vec<Sense>,
    /// What nobody sees by these means, whatever the rights.
    pub never: Vec<String>,
    /// Whether a daemon listens on this host, and where.
    pub daemon: Option<String>,
    /// The kernel.
    pub kernel: String,
}
