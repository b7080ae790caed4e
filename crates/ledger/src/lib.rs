//! What happened, provably: Merkle log, tiles, tree heads, blob store, audit.
