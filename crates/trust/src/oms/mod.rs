//! OpenSSF Model Signing v1.0: the bundle around a signature, and the statement inside.
//!
//! Written so that the reference tool verifies it, and read more strictly than the reference reads: see `docs/seal.md`.

mod bundle;
mod claimed;
mod predicate;

pub use bundle::{Bundle, BundleError, Method, stamped};
pub use claimed::claimed_digests;
pub use predicate::{
    Algorithm, DEFAULT_IGNORED, HashType, PREDICATE, Resource, Serialized, Signed, SignedError,
    encode,
};

/// The key in the subject's digests that names the seal's tree, so that a seal that is taken away is missed.
pub const TREE_KEY: &str = "taintline-tree-v1";
