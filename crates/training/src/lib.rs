//! Tensors and checkpoints to fingerprints, sketches and lineage findings. Pure.
//!
//! No file, clock, thread or environment is touched here: bytes come in as slices, judgements go out as values. The
//! fingerprint part is linked into the training process, so this crate keeps to four small dependencies; which file a
//! tensor came from, and in which format, is known to `formats` and joined in `app`.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod compare;
pub mod data;
mod element;
mod encoding;
pub mod fingerprint;
pub mod hang;
pub mod lineage;
pub mod passes;
pub mod recheck;
pub mod replay;
pub mod replicas;
pub mod reported;
pub mod sketch;
pub mod spec;
pub mod stalls;
pub mod weights;

pub use element::ElementKind;
pub use encoding::SummarySyntax;
