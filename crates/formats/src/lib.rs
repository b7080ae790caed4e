//! Bytes to structure, for hostile input: torch zip, pickle, safetensors. Pure.
//!
//! A parser here says what is there; what it means is said by others. Nothing is executed, nothing is imported, no file
//! is opened: bytes come through [`ReadAt`], which the caller implements for whatever it holds. Every length has a limit
//! with a name. Input that breaks off or contradicts itself yields what was understood so far and the oddity with its
//! offset, because the oddity is the evidence. The content decides the format, never a name.
#![forbid(unsafe_code)]

pub mod checkpoint;
mod escape;
pub mod gguf;
pub mod jinja;
pub mod json_text;
pub mod pickle;
pub mod python;
mod read_at;
pub mod safetensors;
pub mod sniff;
pub mod torch;
mod window;
pub mod xml;
pub mod yaml;
pub mod zip;

pub use read_at::ReadAt;
