//! What a checkpoint or model file would do if it were loaded, told without loading it.
//!
//! `formats` says what stands in a file; here it is judged. The judgement asks what a call *does* and whether a
//! checkpoint needs it, never whether its name is on a list of bad ones: what nobody vouches for is told as unknown, and a
//! part that could not be read is told as a gap. Nothing is executed, no file is opened, no clock is asked, and what is
//! installed on this machine plays no role: the same bytes get the same answer everywhere.
#![forbid(unsafe_code)]

mod archive;
mod calls;
mod config;
mod dispatch;
mod examiner;
mod full;
mod gguf;
mod hdf5;
mod keras;
mod lite;
#[cfg(test)]
mod model_tests;
pub mod models;
mod native;
mod numpy;
mod onnx;
pub mod others;
mod paths;
pub mod pickle;
mod python_source;
pub mod rules;
mod safetensors;
pub mod sets;
mod skops;
mod targets;
mod template;
mod tensorflow;
mod text;
mod texts;
mod torch;
mod torchscript;
mod xml;
mod yaml;

pub use examiner::{Examiner, Options, digest, examine, explain};
pub use full::Bytes;
pub use rules::{Project, Rules};
