//! Bytes to structure, for hostile input: torch zip, pickle, safetensors. Pure.
//!
//! A parser here says what is there; what it means is said by others. Nothing is executed, nothing is imported, no file
//! is opened: bytes come through [`ReadAt`], which the caller implements for whatever it holds. Every length has a limit
//! with a name. Input that breaks off or contradicts itself yields what was understood so far and the oddity with its
//! offset, because the oddity is the evidence. The content decides the format, never a name.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod compressed;
pub mod coreml;
mod cursor;
mod escape;
pub mod executorch;
pub mod flatbuffers;
pub mod gguf;
pub mod hdf5;
pub mod jinja;
pub mod joblib;
pub mod json_text;
pub mod layers;
mod literal;
pub mod marshal;
pub mod msgpack;
pub mod native;
pub mod numpy;
pub mod onnx;
pub mod paged;
pub mod pickle;
pub mod protobuf;
pub mod protobuf_kind;
pub mod pyjson;
pub mod python;
mod read_at;
pub mod safetensors;
pub mod seven_zip;
pub mod sniff;
pub mod tar;
pub mod tensorflow;
pub mod tflite;
pub mod toml_text;
pub mod torch;
pub mod torch_legacy;
mod walked;
mod window;
pub mod xml;
pub mod yaml;
pub mod zip;

pub use read_at::ReadAt;
pub use walked::Walked;
pub use window::{Segments, Window};
