//! What a pickle does is told, by mechanism. Samples are built here from opcodes, are never run, and do no harm if they are.

mod assemble;
mod benign;
mod calls;
mod changes;
mod indirection;
mod nested;
mod properties;
mod verdict;
