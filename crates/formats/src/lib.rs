//! Bytes to structure, for hostile input: torch zip, pickle, safetensors. Pure.
