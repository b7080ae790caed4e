//! A whole checkpoint as plain data and a list of tensors: what `taintline convert` writes.

use std::collections::{HashMap, HashSet};
use std::io;

use serde_json::{Value as Json, json};

use super::structure::{NotPlain, structure};
use super::{Maker, Opened, Walker};
use crate::ReadAt;
use crate::checkpoint::{ByteOrder, NotReadable, Tensor, TensorFault};
use crate::pickle::{Anomaly, Id, Program, Value};
use crate::sniff::Format;
use crate::zip::{self, ZipError};

/// A checkpoint without code: every value has its place in `structure`, every tensor is in `tensors` once.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain {
    /// The data. A tensor stands there as `{"$tensor": name}`, a parameter as `{"$parameter": name}`.
    pub structure: Json,
    /// The tensors under unique names, in the order of the structure.
    pub tensors: Vec<Tensor>,
    /// The order of the bytes of each element.
    pub byte_order: ByteOrder,
}

/// Why a checkpoint is not plain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlainError {
    /// It is not read as a torch checkpoint.
    #[error(transparent)]
    NotReadable(#[from] NotReadable),
    /// The archive means different things to different readers, or lacks something.
    #[error("archive: {0}")]
    Archive(zip::Oddity),
    /// The pickle is odd.
    #[error("pickle, byte {}: {}", .0.offset, .0.oddity)]
    Pickle(Anomaly),
    /// A value is not plain.
    #[error(transparent)]
    NotPlain(#[from] NotPlain),
    /// A tensor cannot be placed.
    #[error("{name}: {fault}")]
    Tensor {
        /// Dotted name.
        name: String,
        /// Why not.
        fault: TensorFault,
    },
}

/// Reads the torch zip that `input` is as plain data. An error of the outer kind is one of reading alone.
pub fn plain(input: &dyn ReadAt) -> io::Result<Result<Plain, PlainError>> {
    let directory = match zip::read(input) {
        Ok(directory) => directory,
        Err(ZipError::Io(error)) => return Err(error),
        Err(error) => return Ok(Err(NotReadable::Archive(error.to_string()).into())),
    };
    if let Some(oddity) = directory.oddities.first() {
        return Ok(Err(PlainError::Archive(oddity.clone())));
    }
    let opened = match Opened::open(input, &directory)? {
        Ok(opened) => opened,
        Err(reason) => return Ok(Err(reason.into())),
    };
    if let Some(anomaly) = opened.program.anomalies.first() {
        return Ok(Err(PlainError::Pickle(anomaly.clone())));
    }
    let mut collect = Collect {
        walker: opened.walker(&directory, Format::TorchZip),
        known: HashMap::new(),
        names: HashSet::new(),
        tensors: Vec::new(),
        fault: None,
    };
    let written = structure(&opened.program, opened.root, &mut |name, id| {
        collect.tensor(&opened.program, name, id)
    });
    if let Some(fault) = collect.fault {
        return Ok(Err(fault));
    }
    Ok(written
        .map(|structure| Plain {
            structure,
            tensors: collect.tensors,
            byte_order: opened.byte_order,
        })
        .map_err(PlainError::from))
}

struct Collect<'a> {
    walker: Walker<'a>,
    /// Tensors that were met already: one object stands in several places.
    known: HashMap<Id, String>,
    names: HashSet<String>,
    tensors: Vec<Tensor>,
    fault: Option<PlainError>,
}

impl Collect<'_> {
    fn tensor(&mut self, program: &Program, name: &str, id: Id) -> Option<Json> {
        let Value::Call(call) = program.value(id) else {
            return None;
        };
        match Maker::of(program.global(call.callable)?) {
            Maker::Tensor => self
                .place(program, name, id)
                .map(|name| json!({ "$tensor": name })),
            Maker::Parameter => {
                let inner = *program.items(call.args)?.first()?;
                self.place(program, name, inner)
                    .map(|name| json!({ "$parameter": name }))
            }
            _ => None,
        }
    }

    fn place(&mut self, program: &Program, name: &str, id: Id) -> Option<String> {
        if let Some(known) = self.known.get(&id) {
            return Some(known.clone());
        }
        let Value::Call(call) = program.value(id) else {
            return None;
        };
        let made = program.global(call.callable).map(Maker::of);
        if made != Some(Maker::Tensor) {
            return None;
        }
        match self.walker.tensor(call) {
            Ok(mut tensor) => {
                tensor.name = self.unique(name);
                let name = tensor.name.clone();
                self.tensors.push(tensor);
                self.known.insert(id, name.clone());
                Some(name)
            }
            Err(fault) => {
                self.fault.get_or_insert(PlainError::Tensor {
                    name: name.to_owned(),
                    fault,
                });
                None
            }
        }
    }

    /// Two paths may read alike: `{"a.b": …}` and `{"a": {"b": …}}`. `__metadata__` is safetensors' own.
    fn unique(&mut self, name: &str) -> String {
        let base = if matches!(name, "" | "__metadata__") {
            "tensor"
        } else {
            name
        };
        let mut unique = base.to_owned();
        let mut number = 1;
        while !self.names.insert(unique.clone()) {
            number += 1;
            unique = format!("{base}#{number}");
        }
        unique
    }
}
