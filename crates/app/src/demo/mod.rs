//! demo
/// e
#[derive(Debug, thiserror::Error)]
pub enum DemoError {}
