//! How things are shown: plain text, JSON, SARIF, annotations. All hostile text is made safe here, and only here.
//!
//! The engines and use-cases hand over data ([`view`]); the renderers are leaves. Nothing looks at rendered text again.
#![forbid(unsafe_code)]

pub mod bisect;
pub mod blame;
pub mod environment;
pub mod history;
pub mod plain;
pub mod replay;
mod sanitise;
pub mod scan;
mod space;
pub mod stamp;
pub mod statement;
pub mod time;
pub mod view;
pub mod vouch;
pub mod watching;
pub mod witness;

pub use sanitise::{sanitise, shorten};

/// A view as one line of JSON.
pub fn json<T: serde::Serialize>(view: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(view)
}
