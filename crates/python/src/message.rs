//! Python's dictionaries to messages of the protocol.
//!
//! The sensor uses no `json` of Python, because the job may have a file of that name. Paths come as bytes and are
//! written as [`domain::PathText`]. What does not have the shape of a [`Message`] is refused here rather than by the
//! supervisor.

use domain::PathText;
use domain::sensor::Message;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};
use serde_json::Value;

/// Deepest nesting of a message; the protocol needs four.
const DEPTH_MAX: u32 = 8;

/// The JSON text of `body`; `ValueError` if it is no message.
pub(crate) fn encode(body: &Bound<'_, PyAny>) -> PyResult<String> {
    let message: Message = serde_json::from_value(value(body, 0)?).map_err(no_message)?;
    serde_json::to_string(&message).map_err(no_message)
}

/// The bytes of a path as the protocol writes them.
#[pyfunction]
pub(crate) fn path_text(path: &[u8]) -> String {
    PathText::from_bytes(path).as_str().to_owned()
}

fn value(object: &Bound<'_, PyAny>, depth: u32) -> PyResult<Value> {
    if depth > DEPTH_MAX {
        return Err(no_message("nested too deeply"));
    }
    if object.is_none() {
        Ok(Value::Null)
    } else if let Ok(path) = object.cast::<PyBytes>() {
        Ok(Value::String(path_text(path.as_bytes())))
    } else if let Ok(text) = object.cast::<PyString>() {
        Ok(Value::String(text.to_string_lossy().into_owned()))
    } else if let Ok(truth) = object.cast::<PyBool>() {
        Ok(Value::Bool(truth.is_true()))
    } else if object.is_instance_of::<PyInt>() {
        Ok(Value::Number(object.extract::<i64>()?.into()))
    } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        object
            .try_iter()?
            .map(|item| value(&item?, depth + 1))
            .collect::<PyResult<_>>()
            .map(Value::Array)
    } else if let Ok(dictionary) = object.cast::<PyDict>() {
        let mut map = serde_json::Map::new();
        for (key, item) in dictionary {
            map.insert(key.extract()?, value(&item, depth + 1)?);
        }
        Ok(Value::Object(map))
    } else {
        Err(no_message(format!(
            "{} has no place in a message",
            object.get_type()
        )))
    }
}

fn no_message(reason: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("no message of the protocol: {reason}"))
}
