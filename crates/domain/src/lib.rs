//! The nouns of Taintline. Pure: no file, clock, environment or thread is touched here.
//!
//! Everything in the product is a **Blob**, a **Write**, a **Load**, a **Step** or an **Act**, or is computed from them.
//! A run is a root over these. Each noun is one module; [`entry`] is how they are written into the ledger.
#![forbid(unsafe_code)]

mod digest;
mod fingerprint;
mod path_text;
mod tree;

pub use digest::{Digest, DigestSyntax, Hasher};
pub use fingerprint::{Fingerprint, FingerprintSyntax};
pub use path_text::PathText;
pub use tree::{Node, Tree, TreeSyntax};
