//! What the sensor inside the training process needs from native code: the socket, and numbers over tensors' memory.
//!
//! Python decides when something happened; this library says it to the supervisor ([`link`]) and reads the tensors at
//! memory speed ([`digest`], [`recorder`], [`sampler`]). Of torch it knows what a plain tensor is ([`parameters`]); else tensors come as
//! address and length. It starts no thread,
//! never waits, and stops no one: when something cannot be said, it is counted and dropped. Rejected: a sending thread,
//! because a fork would lose it and a training process is full of forks.
//!
//! It is the only crate beside `host::sys` with `unsafe`, because an address from Python is all there is.

mod clock;
mod digest;
mod held;
mod link;
mod message;
mod parameters;
mod queue;
mod reading;
mod recorder;
mod sample;
mod sampler;

use pyo3::prelude::*;

/// The module `taintline._native`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PROTOCOL", domain::sensor::PROTOCOL)?;
    module.add_class::<clock::Clock>()?;
    module.add_class::<held::Held>()?;
    module.add_class::<link::Link>()?;
    module.add_class::<recorder::Recorder>()?;
    module.add_class::<sampler::Sampler>()?;
    module.add_function(wrap_pyfunction!(digest::fingerprint, module)?)?;
    module.add_function(wrap_pyfunction!(digest::sum_of_squares, module)?)?;
    module.add_function(wrap_pyfunction!(message::path_text, module)?)?;
    module.add_function(wrap_pyfunction!(sample::compose_sample, module)?)?;
    Ok(())
}
