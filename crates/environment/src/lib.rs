//! A Python environment to a tree and findings.
