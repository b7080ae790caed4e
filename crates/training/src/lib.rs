//! Tensors and checkpoints to fingerprints, sketches and lineage findings. Pure.
