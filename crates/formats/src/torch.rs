//! A torch checkpoint in ZIP form: the pickle gives names and shapes, the archive the bytes.
//!
//! The archive holds `PREFIX/data.pkl` and one stored member `PREFIX/data/KEY` a storage. The pickle refers to a storage
//! by persistent id and makes tensors of it by calling functions of `torch._utils`. These calls are recognised by name
//! and their arguments read; none is made. A whole module that was pickled is looked into through its state, so that its
//! parameters have the names that its `state_dict()` would give them.

mod plain;
mod structure;

use std::io;

use crate::ReadAt;
use crate::checkpoint::{
    ByteOrder, Checkpoint, Gap, MAX_NAME, Mark, NotReadable, Reading, Scalar, Tensor, TensorFault,
    bytes_scalar, storage_dtype, text_scalar, torch_dtype,
};
use crate::pickle::{self, Call, Global, Id, Program, Value};
use crate::read_at::bytes_at;
use crate::sniff::Format;
use crate::zip::{Directory, Member};

pub use plain::{Plain, PlainError, plain};
pub use structure::NotPlain;

/// The largest pickle that is read, in bytes. That of a model with 10,000 tensors has 2 MB.
pub const MAX_PICKLE_BYTES: u64 = 64 << 20;
/// How deep containers are followed.
pub const MAX_DEPTH: usize = 64;
/// The most values that are visited; a value is visited once for every name that it has.
pub const MAX_VISITS: usize = 4_000_000;
/// Bytes of a value that count as one visit.
const BYTES_A_VISIT: usize = 16;
/// Lists of plain values with more items than this become one [`Scalar::Many`].
pub const LONG_LIST: usize = 16;

pub(crate) fn read(
    input: &dyn ReadAt,
    directory: Directory,
    format: Format,
) -> io::Result<Reading> {
    let opened = match Opened::open(input, &directory)? {
        Ok(opened) => opened,
        Err(reason) => return Ok(Reading::NotReadable(reason)),
    };
    let mut walker = opened.walker(&directory, format);
    walker.walk(opened.root);
    let mut checkpoint = walker.checkpoint;
    directory
        .oddities
        .into_iter()
        .for_each(|oddity| checkpoint.gap(Gap::Archive(oddity)));
    Ok(Reading::Checkpoint(checkpoint))
}

/// A checkpoint of which the pickle was followed.
struct Opened {
    prefix: Vec<u8>,
    byte_order: ByteOrder,
    program: Program,
    root: Id,
}

impl Opened {
    fn open(input: &dyn ReadAt, directory: &Directory) -> io::Result<Result<Self, NotReadable>> {
        let Some(prefix) = prefix(directory) else {
            return Ok(Err(NotReadable::NoPickle));
        };
        let record = |name: &str| directory.find(&[&prefix, name.as_bytes()].concat());
        let Some(member) = record("data.pkl") else {
            return Ok(Err(NotReadable::NoPickle));
        };
        if record("constants.pkl").is_some() {
            return Ok(Err(NotReadable::TorchScript));
        }
        if !member.is_stored() {
            return Ok(Err(NotReadable::PickleCompressed));
        }
        if member.size > MAX_PICKLE_BYTES {
            return Ok(Err(NotReadable::PickleTooLarge(member.size)));
        }
        let bytes = bytes_at(input, member.data_offset, member.size)?;
        let byte_order =
            match record("byteorder").filter(|member| member.is_stored() && member.size == 3) {
                Some(member) if bytes_at(input, member.data_offset, 3)? == b"big" => ByteOrder::Big,
                _ => ByteOrder::Little,
            };
        let program = pickle::run(&bytes, &pickle::Limits::generous());
        Ok(match program.root {
            Some(root) => Ok(Self {
                prefix,
                byte_order,
                program,
                root,
            }),
            None => Err(NotReadable::PickleEmpty),
        })
    }

    fn walker<'a>(&'a self, directory: &'a Directory, format: Format) -> Walker<'a> {
        let mut checkpoint = Checkpoint::new(format, self.byte_order);
        checkpoint.imports = self.program.imports().into_iter().map(short).collect();
        checkpoint.imports.sort_unstable();
        checkpoint.imports.dedup();
        let anomalies = self.program.anomalies.iter().cloned();
        anomalies.for_each(|anomaly| checkpoint.gap(Gap::Pickle(anomaly)));
        Walker {
            program: &self.program,
            storages: storages(directory, &self.prefix),
            visits: 0,
            name: String::new(),
            frames: Vec::new(),
            checkpoint,
        }
    }
}

/// Torch's reader takes the folder of the first member.
fn prefix(directory: &Directory) -> Option<Vec<u8>> {
    let first = &directory.members.first()?.name;
    let end = first.iter().position(|byte| *byte == b'/')?;
    Some(first[..=end].to_vec())
}

type Storages<'a> = std::collections::HashMap<Vec<u8>, &'a Member>;

/// By key; of duplicates the last one, as torch takes it.
fn storages<'a>(directory: &'a Directory, prefix: &[u8]) -> Storages<'a> {
    let folder = [prefix, b"data/"].concat().to_ascii_lowercase();
    let key = |member: &'a Member| {
        let name = member.name.to_ascii_lowercase();
        name.strip_prefix(folder.as_slice())
            .map(|key| (key.to_vec(), member))
    };
    directory.members.iter().filter_map(key).collect()
}

/// A container that is being walked: which, its next child, and how long the name was before it.
struct Frame {
    id: Id,
    next: usize,
    name: usize,
}

struct Walker<'a> {
    program: &'a Program,
    storages: Storages<'a>,
    visits: usize,
    name: String,
    frames: Vec<Frame>,
    checkpoint: Checkpoint,
}

impl<'a> Walker<'a> {
    fn walk(&mut self, root: Id) {
        self.visit(root);
        while let Some(frame) = self.frames.last_mut() {
            self.name.truncate(frame.name);
            let (id, index) = (frame.id, frame.next);
            frame.next += 1;
            match child(self.program, id, index) {
                None => drop(self.frames.pop()),
                Some((key, value)) => {
                    self.visits += 1;
                    if self.visits > MAX_VISITS {
                        self.checkpoint.limit("values", MAX_VISITS);
                        return;
                    }
                    if self.extend_name(&key) {
                        self.visit(value);
                    }
                }
            }
        }
    }

    /// Adds `key` to the name; false, with a gap, if it is none.
    fn extend_name(&mut self, key: &Key<'_>) -> bool {
        let text = match key {
            Key::Transparent => return true,
            Key::Foreign => {
                self.checkpoint.gap(Gap::Key(self.name.clone()));
                return false;
            }
            Key::Text(text) => std::borrow::Cow::Borrowed(*text),
            Key::Index(index) => index.to_string().into(),
        };
        if self.name.len() + text.len() + 1 > MAX_NAME {
            self.checkpoint.gap(Gap::LongName(self.name.clone()));
            return false;
        }
        if !self.name.is_empty() {
            self.name.push('.');
        }
        self.name.push_str(&text);
        true
    }

    /// Counts a visit of a value that is copied or marked by its length, as so many visits: a program can refer to one long
    /// value as often as it likes. False, with a gap, when that was too much.
    fn charge(&mut self, id: Id) -> bool {
        let length = match self.program.value(id) {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) | Value::Big(bytes) => bytes.len(),
            Value::Global(global) => global.module.len() + global.name.len(),
            _ => 0,
        };
        self.visits += length / BYTES_A_VISIT;
        let fits = self.visits <= MAX_VISITS;
        if !fits {
            self.checkpoint.limit("values", MAX_VISITS);
        }
        fits
    }

    fn visit(&mut self, id: Id) {
        if !self.charge(id) {
            return;
        }
        match self.program.value(id) {
            Value::List(items) | Value::Tuple(items) | Value::Set(items)
                if items.len() > LONG_LIST =>
            {
                match self.long_list(items) {
                    Some(scalar) => self.scalar(scalar),
                    None => self.enter(id),
                }
            }
            Value::List(_) | Value::Tuple(_) | Value::Set(_) | Value::Dict(_) => self.enter(id),
            Value::Call(call) => self.visit_call(id, call),
            Value::Global(global) => self.scalar(text_scalar(&short(global))),
            Value::Persistent(_) | Value::Opaque(_) => self.object("an unknown object"),
            plain => {
                if let Some(scalar) = plain_scalar(plain) {
                    self.scalar(scalar);
                }
            }
        }
    }

    fn visit_call(&mut self, id: Id, call: &'a Call) {
        let Some(global) = self.program.global(call.callable) else {
            return self.object("a computed class");
        };
        match Maker::of(global) {
            Maker::Tensor => match self.tensor(call) {
                Ok(tensor) => self.checkpoint.tensor(tensor),
                Err(fault) => self.checkpoint.gap(Gap::Tensor {
                    name: self.name.clone(),
                    fault,
                }),
            },
            Maker::Parameter => match self.program.items(call.args).and_then(<[Id]>::first) {
                Some(inner) if self.is_tensor_call(*inner) => self.visit(*inner),
                _ => self.fault(TensorFault::Arguments),
            },
            Maker::OtherTensor => self.fault(TensorFault::Kind(short(global))),
            Maker::Container => {
                self.enter(id);
            }
            Maker::Wrapper => match self.program.items(call.args) {
                Some([inner]) if !matches!(self.program.value(*inner), Value::Call(_)) => {
                    self.visit(*inner);
                }
                _ => self.object(&short(global)),
            },
            Maker::Encode if !self.charge_arguments(call) => {}
            Maker::Encode => match self.latin_bytes(call) {
                Some(bytes) => self.scalar(bytes_scalar(&bytes)),
                None => self.object(&short(global)),
            },
            Maker::Unknown if child(self.program, id, 0).is_some() => self.enter(id),
            Maker::Unknown => self.object(&short(global)),
        }
    }

    fn charge_arguments(&mut self, call: &'a Call) -> bool {
        let arguments = self.program.items(call.args).unwrap_or_default();
        arguments.iter().all(|argument| self.charge(*argument))
    }

    fn latin_bytes(&self, call: &Call) -> Option<Vec<u8>> {
        let [text, encoding] = self.program.items(call.args)? else {
            return None;
        };
        self.program
            .text(*encoding)
            .filter(|name| matches!(*name, "latin1" | "latin-1"))?;
        self.program
            .text(*text)?
            .chars()
            .map(|character| u8::try_from(character).ok())
            .collect()
    }

    /// A parameter wraps a tensor and nothing else; this keeps nested wrappers from recursing.
    fn is_tensor_call(&self, id: Id) -> bool {
        let Value::Call(call) = self.program.value(id) else {
            return false;
        };
        self.program
            .global(call.callable)
            .is_some_and(|global| Maker::of(global) == Maker::Tensor)
    }

    fn enter(&mut self, id: Id) {
        if self.frames.len() >= MAX_DEPTH {
            self.checkpoint.gap(Gap::TooDeep(self.name.clone()));
        } else {
            self.frames.push(Frame {
                id,
                next: 0,
                name: self.name.len(),
            });
        }
    }

    fn scalar(&mut self, scalar: Scalar) {
        self.checkpoint.scalar(self.name.clone(), scalar);
    }

    fn object(&mut self, class: &str) {
        let class = class.chars().take(MAX_NAME).collect();
        self.checkpoint.gap(Gap::Object {
            name: self.name.clone(),
            class,
        });
    }

    fn fault(&mut self, fault: TensorFault) {
        self.checkpoint.gap(Gap::Tensor {
            name: self.name.clone(),
            fault,
        });
    }

    /// One mark for a long list of plain values; `None` if something in it is not plain.
    fn long_list(&mut self, items: &[Id]) -> Option<Scalar> {
        self.visits += items.len();
        if self.visits > MAX_VISITS {
            return None;
        }
        let mut mark = Mark::new();
        for item in items {
            if !self.charge(*item) {
                return None;
            }
            match plain_scalar(self.program.value(*item))? {
                Scalar::None => mark.add(b"n"),
                Scalar::Bool(value) => mark.add(&[b'b', u8::from(value)]),
                Scalar::Int(value) => {
                    mark.add(b"i");
                    mark.add(&value.to_le_bytes());
                }
                Scalar::Float(value) => {
                    mark.add(b"f");
                    mark.add(&value.to_bits().to_le_bytes());
                }
                Scalar::Text(text) => {
                    mark.add(b"t");
                    mark.add(&(text.len() as u64).to_le_bytes());
                    mark.add(text.as_bytes());
                }
                Scalar::Many { count, mark: inner } => {
                    mark.add(b"m");
                    mark.add(&count.to_le_bytes());
                    mark.add(&inner.to_le_bytes());
                }
            }
        }
        Some(Scalar::Many {
            count: items.len() as u64,
            mark: mark.value(),
        })
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)`, v3 with the element type at 6,
    /// `_rebuild_qtensor` with the quantiser at 4.
    fn tensor(&self, call: &Call) -> Result<Tensor, TensorFault> {
        let args = self
            .program
            .items(call.args)
            .ok_or(TensorFault::Arguments)?;
        let [storage, offset, size, stride, rest @ ..] = args else {
            return Err(TensorFault::Arguments);
        };
        let (storage_type, key) = self.storage(*storage)?;
        let name = rest
            .get(2)
            .and_then(|id| self.program.global(*id))
            .filter(|global| global.module == "torch");
        let declared = name.map(|global| global.name.as_str());
        let (dtype, element_size) = match declared {
            Some(name) => torch_dtype(name)
                .ok_or_else(|| TensorFault::Dtype(name.chars().take(MAX_NAME).collect()))?,
            None => storage_dtype(&storage_type.name)
                .ok_or_else(|| TensorFault::Dtype(short(storage_type)))?,
        };
        let offset = self.unsigned(*offset).ok_or(TensorFault::Arguments)?;
        let shape = self.sizes(*size).ok_or(TensorFault::Arguments)?;
        let stride = self
            .sizes(*stride)
            .filter(|stride| stride.len() == shape.len())
            .ok_or(TensorFault::Arguments)?;
        let missing = || TensorFault::NoStorage(key.to_owned());
        let member = self
            .storages
            .get(&key.as_bytes().to_ascii_lowercase())
            .ok_or_else(missing)?;
        if !member.is_stored() {
            return Err(TensorFault::Compressed(key.to_owned()));
        }
        let outside = || TensorFault::OutOfBounds(key.to_owned());
        let span = span(&shape, &stride).ok_or_else(outside)?;
        let bytes = span.checked_mul(element_size).ok_or_else(outside)?;
        let start = offset.checked_mul(element_size).ok_or_else(outside)?;
        if start.checked_add(bytes).is_none_or(|end| end > member.size) {
            return Err(outside());
        }
        Ok(Tensor {
            name: self.name.clone(),
            dtype,
            element_size,
            shape,
            stride,
            storage: key.to_owned(),
            storage_offset: member.data_offset,
            storage_bytes: member.size,
            offset: member.data_offset + start,
            bytes,
        })
    }

    /// The persistent id `("storage", type, key, location, elements)`.
    fn storage(&self, id: Id) -> Result<(&'a Global, &'a str), TensorFault> {
        let program = self.program;
        let Value::Persistent(id) = program.value(id) else {
            return Err(TensorFault::Arguments);
        };
        let Some([kind, storage_type, key, ..]) = program.items(*id) else {
            return Err(TensorFault::Arguments);
        };
        let parts = (
            program.text(*kind),
            program.global(*storage_type),
            program.text(*key),
        );
        match parts {
            (Some("storage"), Some(storage_type), Some(key)) if key.len() <= MAX_NAME => {
                Ok((storage_type, key))
            }
            _ => Err(TensorFault::Arguments),
        }
    }

    fn unsigned(&self, id: Id) -> Option<u64> {
        match self.program.value(id) {
            Value::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A tuple of sizes, plain or as `torch.Size`; at most 64 dimensions, as torch has it.
    fn sizes(&self, id: Id) -> Option<Vec<u64>> {
        let id = match self.program.value(id) {
            Value::Call(call) => *self.program.items(call.args)?.first()?,
            _ => id,
        };
        let items = self.program.items(id).filter(|items| items.len() <= 64)?;
        items.iter().map(|item| self.unsigned(*item)).collect()
    }
}

/// Elements from the first to the last that a tensor of this shape touches.
fn span(shape: &[u64], stride: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .zip(stride)
        .try_fold(1u64, |span, (size, stride)| {
            span.checked_add((size - 1).checked_mul(*stride)?)
        })
}

/// What is known about a callable by its name.
#[derive(PartialEq, Eq)]
enum Maker {
    /// A dense tensor over a storage.
    Tensor,
    /// A parameter around a tensor.
    Parameter,
    /// A tensor that is not dense or not made of a storage.
    OtherTensor,
    /// A dict or list by another name; its items count.
    Container,
    /// Bytes, as protocols before 3 write them: a text of which each character is a byte.
    Encode,
    /// Gives its only argument, or something that it stands for.
    Wrapper,
    /// Anything else.
    Unknown,
}

impl Maker {
    fn of(global: &Global) -> Self {
        match (global.module.as_str(), global.name.as_str()) {
            (
                "torch._utils",
                "_rebuild_tensor_v2" | "_rebuild_tensor_v3" | "_rebuild_tensor"
                | "_rebuild_qtensor",
            ) => Self::Tensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::Parameter
            }
            ("torch._utils", name) if name.starts_with("_rebuild") => Self::OtherTensor,
            ("torch._tensor", "_rebuild_from_type_v2") => Self::OtherTensor,
            ("collections", "OrderedDict" | "defaultdict" | "deque" | "Counter") => Self::Container,
            ("_codecs", "encode") => Self::Encode,
            ("torch", "Size" | "device")
            | (
                "builtins" | "__builtin__",
                "set" | "frozenset" | "list" | "tuple" | "complex" | "bytearray",
            )
            | ("pathlib", "PosixPath" | "PurePosixPath" | "Path")
            | ("pathlib._local", "PosixPath" | "PurePosixPath") => Self::Wrapper,
            _ => Self::Unknown,
        }
    }
}

enum Key<'a> {
    Text(&'a str),
    Index(i64),
    /// Adds nothing to the name.
    Transparent,
    Foreign,
}

/// The child at `index` of a container, with its key.
fn child(program: &Program, id: Id, index: usize) -> Option<(Key<'_>, Id)> {
    match program.value(id) {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            items.get(index).map(|item| (position(index), *item))
        }
        Value::Dict(pairs) => pairs.get(index).map(|pair| keyed(program, *pair)),
        Value::Call(call) => {
            let entries = call.entries.len();
            let appended = call.appended.len();
            if let Some(pair) = call.entries.get(index) {
                Some(keyed(program, *pair))
            } else if let Some(item) = call.appended.get(index - entries) {
                Some((position(index - entries), *item))
            } else if is_ordered_dict(program, call) {
                // Its state is `_metadata`: version numbers of modules, no values of the training.
                None
            } else {
                call.states
                    .get(index - entries - appended)
                    .map(|state| (Key::Transparent, *state))
            }
        }
        _ => None,
    }
}

fn is_ordered_dict(program: &Program, call: &Call) -> bool {
    program
        .global(call.callable)
        .is_some_and(|global| global.is("collections", "OrderedDict"))
}

fn position(index: usize) -> Key<'static> {
    i64::try_from(index).map_or(Key::Foreign, Key::Index)
}

fn keyed(program: &Program, (key, value): (Id, Id)) -> (Key<'_>, Id) {
    let key = match program.value(key) {
        // The three dicts of a pickled module; `state_dict()` leaves them out of the names.
        Value::Text(text) if matches!(text.as_str(), "_parameters" | "_buffers" | "_modules") => {
            Key::Transparent
        }
        Value::Text(text) => Key::Text(text),
        Value::Int(index) => Key::Index(*index),
        _ => Key::Foreign,
    };
    (key, value)
}

/// A global's name, cut to [`MAX_NAME`] characters: each gap has one, and the file decides how many gaps there are.
fn short(global: &Global) -> String {
    let half = MAX_NAME / 2;
    format!("{:.half$}.{:.half$}", global.module, global.name)
}

fn plain_scalar(value: &Value) -> Option<Scalar> {
    Some(match value {
        Value::None => Scalar::None,
        Value::Bool(value) => Scalar::Bool(*value),
        Value::Int(value) => Scalar::Int(*value),
        Value::Float(value) => Scalar::Float(*value),
        Value::Text(text) => text_scalar(text),
        Value::Big(bytes) | Value::Bytes(bytes) => bytes_scalar(bytes),
        _ => return None,
    })
}
