//! joblib's files: one pickle that is interrupted by the raw bytes of arrays.
//!
//! Where a pickle builds a `NumpyArrayWrapper`, joblib's unpickler stops, reads the array from the file, and goes on with
//! the pickle behind it; an array of objects is a pickle of its own there. So the program is followed to the first such
//! wrapper, the array's bytes are cut out, and it is followed again: in the end the machine has run over the program as
//! joblib's does, and every byte between is accounted for. What a wrapper says of itself (type, shape) is the attacker's; if
//! it lies, the program behind it breaks, here as there.
//!
//! Compressed files are the same inside. Two older forms are told: arrays in files of their own
//! ([`Oddity::External`]), and the `ZF` header before a zlib stream ([`zfile_payload`]).

use std::collections::HashMap;
use std::io;

use crate::numpy::{Element, text_element};
use crate::pickle::{Call, Deed, Global, Id, Limits, Program, Value};
use crate::read_at::bytes_at;
use crate::{ReadAt, Segments, Walked};

/// The most arrays that are cut out.
pub const MAX_ARRAYS: usize = 1 << 12;
/// Bytes of programs that are followed in all; each array takes a new run from the start.
pub const MAX_FOLLOWED_BYTES: u64 = 64 << 20;
/// How deep a type's description is followed.
const MAX_DEPTH: u32 = 16;

/// A file as its parts.
#[derive(Debug, Clone)]
pub struct Joblib {
    /// The parts of the file that are the one program, as offset and size; [`Segments`] of them is what runs.
    pub program: Vec<(u64, u64)>,
    /// What it does; offsets count in [`Segments`] of [`Joblib::program`].
    pub effects: Program,
    /// The arrays of plain elements, as offset and size, padding included.
    pub arrays: Vec<(u64, u64)>,
    /// Pickles of arrays of objects, as offset and size.
    pub nested: Vec<(u64, u64)>,
    /// Where the file's bytes behind all this start.
    pub end: u64,
    /// What is odd, or why not all was read.
    pub oddities: Vec<Oddity>,
}

/// Something about a file of joblib that a scanner must know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// An array in a file of its own, whose name the pickle gives.
    #[error("an array is in another file, {0:?}")]
    External(String),
    /// A wrapper whose array cannot be measured.
    #[error("the array at byte {0} has no size that can be told")]
    Unmeasured(u64),
    /// An array that is not all there.
    #[error("the array at byte {0} breaks off")]
    Truncated(u64),
    /// More than [`MAX_ARRAYS`], or more than [`MAX_FOLLOWED_BYTES`] were followed.
    #[error("the file was not followed behind byte {0}")]
    NotFollowed(u64),
}

/// Whether a program builds one of joblib's wrappers: then it is to be read by [`read`].
pub fn is_joblib(program: &Program) -> bool {
    let mut effects = program.effects.iter();
    effects.any(|effect| wrapper(program, effect.deed).is_some())
}

/// Where the zlib stream of a file with joblib's old `ZF` header starts: behind the length in hexadecimal.
pub fn zfile_payload(head: &[u8]) -> Option<u64> {
    const HEADER_BYTES: usize = 21;
    let length = head.strip_prefix(b"ZF0x")?;
    let digits = length.get(..HEADER_BYTES - 4)?.trim_ascii_end();
    let hex = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'L';
    let blank = head.get(HEADER_BYTES) == Some(&b' ');
    digits
        .iter()
        .all(hex)
        .then_some((HEADER_BYTES + usize::from(blank)) as u64)
}

/// Follows the file that `input` is.
pub fn read(input: &dyn ReadAt, limits: &Limits) -> io::Result<Joblib> {
    let mut cuts: Vec<(u64, u64)> = Vec::new();
    let mut joblib = Joblib {
        program: vec![(0, input.len())],
        effects: Walked::at(input, 0, limits)?.program,
        arrays: Vec::new(),
        nested: Vec::new(),
        end: 0,
        oddities: Vec::new(),
    };
    let mut followed = joblib.effects.end as u64;
    let mut seen = 0;
    while let Some((behind, deed)) = next_wrapper(&joblib.effects, seen) {
        seen = behind;
        let segments = Segments::new(input, joblib.program.iter().copied());
        let place = segments.place(behind as u64).unwrap_or(input.len());
        if cuts.len() >= MAX_ARRAYS || followed > MAX_FOLLOWED_BYTES {
            joblib.oddities.push(Oddity::NotFollowed(place));
            break;
        }
        let cut = match measure(&joblib.effects, deed) {
            Some(Measure::External(name)) => {
                joblib.oddities.push(Oddity::External(name));
                continue;
            }
            Some(Measure::Objects) => {
                let walked = Walked::at(input, place, limits)?;
                followed += walked.size;
                joblib.nested.push((place, walked.size));
                walked.size
            }
            Some(Measure::Plain { bytes, padded }) => {
                let size = padding(input, place, padded)?.saturating_add(bytes);
                let left = input.len().saturating_sub(place);
                if size > left {
                    joblib.oddities.push(Oddity::Truncated(place));
                }
                joblib.arrays.push((place, size.min(left)));
                size.min(left)
            }
            None => {
                joblib.oddities.push(Oddity::Unmeasured(place));
                break;
            }
        };
        cuts.push((place, cut));
        joblib.program = between(&cuts, input.len());
        let segments = Segments::new(input, joblib.program.iter().copied());
        joblib.effects = Walked::at(&segments, 0, limits)?.program;
        followed += joblib.effects.end as u64;
    }
    joblib.close(input, &cuts);
    Ok(joblib)
}

impl Joblib {
    /// Ends the last part where the program ends.
    fn close(&mut self, input: &dyn ReadAt, cuts: &[(u64, u64)]) {
        let end = self.effects.end as u64;
        let segments = Segments::new(input, self.program.iter().copied());
        let last = end.checked_sub(1).and_then(|last| segments.place(last));
        let behind_cuts = cuts.last().map_or(0, |(start, size)| start + size);
        self.end = last.map_or(0, |last| last + 1).max(behind_cuts);
        let mut left = end;
        self.program.retain_mut(|(_, size)| {
            *size = (*size).min(left);
            left -= *size;
            *size > 0
        });
    }
}

/// What is left of the input without the cuts, which are in their order and apart.
fn between(cuts: &[(u64, u64)], length: u64) -> Vec<(u64, u64)> {
    let mut parts = Vec::with_capacity(cuts.len() + 1);
    let mut position = 0;
    for (start, size) in cuts {
        parts.push((position, start.saturating_sub(position)));
        position = start.saturating_add(*size);
    }
    parts.push((position, length.saturating_sub(position)));
    parts
}

/// The first wrapper that is built at or behind offset `from`, and the offset behind its BUILD.
fn next_wrapper(program: &Program, from: usize) -> Option<(usize, Deed)> {
    let effects = program.effects.iter();
    let mut later = effects.filter(|effect| effect.offset >= from);
    later.find_map(|effect| {
        wrapper(program, effect.deed)?;
        Some((effect.offset + 1, effect.deed))
    })
}

/// The class of the wrapper that a deed builds, with its state.
fn wrapper(program: &Program, deed: Deed) -> Option<(&Global, Id)> {
    let Deed::Build { target, state } = deed else {
        return None;
    };
    let Value::Call(call) = program.value(target) else {
        return None;
    };
    let class = class_of(program, call)?;
    let ours = class.module.split('.').any(|part| part == "joblib")
        && matches!(
            class.name.as_str(),
            "NumpyArrayWrapper" | "NDArrayWrapper" | "ZNDArrayWrapper"
        );
    ours.then_some((class, state))
}

/// What a call makes an instance of. `copyreg._reconstructor(class, …)` is how protocols 0 and 1 say it.
fn class_of<'a>(program: &'a Program, call: &Call) -> Option<&'a Global> {
    let callable = program.global(call.callable)?;
    if callable.name != "_reconstructor" {
        return Some(callable);
    }
    let class = program.items(call.args)?.first()?;
    program.global(*class)
}

/// How much a wrapper stands for.
enum Measure {
    Plain { bytes: u64, padded: bool },
    Objects,
    External(String),
}

fn measure(program: &Program, deed: Deed) -> Option<Measure> {
    let (_, state) = wrapper(program, deed)?;
    let Value::Dict(pairs) = program.value(state) else {
        return None;
    };
    let fields: HashMap<&str, Id> = pairs
        .iter()
        .filter_map(|(key, value)| Some((program.text(*key)?, *value)))
        .collect();
    if let Some(name) = fields.get("filename").and_then(|id| program.text(*id)) {
        return Some(Measure::External(name.to_owned()));
    }
    let element = dtype(program, *fields.get("dtype")?, 0);
    let size = match element {
        Element::Plain(size) => size,
        Element::Object => return Some(Measure::Objects),
        Element::Unknown => return None,
    };
    let bytes = program
        .items(*fields.get("shape")?)?
        .iter()
        .try_fold(size, |bytes, size| match program.value(*size) {
            Value::Int(size) => bytes.checked_mul(u64::try_from(*size).ok()?),
            _ => None,
        })?;
    let alignment = fields.get("numpy_array_alignment_bytes");
    let padded = alignment.is_some_and(|id| !matches!(program.value(*id), Value::None));
    Some(Measure::Plain { bytes, padded })
}

/// What one element of `numpy.dtype(kind, …)` is, with the fields that its state adds.
fn dtype(program: &Program, id: Id, depth: u32) -> Element {
    let Value::Call(call) = program.value(id) else {
        return Element::Unknown;
    };
    if depth > MAX_DEPTH || !program.global(call.callable).is_some_and(is_dtype) {
        return Element::Unknown;
    }
    let kind = program.items(call.args).and_then(<[Id]>::first);
    let Some(kind) = kind.and_then(|id| program.text(*id)) else {
        return Element::Unknown;
    };
    let element = text_element(kind);
    let fields = call.states.iter().filter_map(|state| program.items(*state));
    // (version, order, subarray, names, fields, size, …); a subarray is (type, shape), a field (type, offset).
    let inner = fields
        .flat_map(|state| [state.get(2), state.get(4)])
        .flatten();
    let objects = inner.into_iter().any(|id| match program.value(*id) {
        Value::Tuple(parts) => holds_objects(program, parts.first(), depth),
        Value::Dict(pairs) => pairs.iter().any(|(_, value)| {
            let parts = program.items(*value);
            holds_objects(program, parts.and_then(<[Id]>::first), depth)
        }),
        _ => false,
    });
    if objects { Element::Object } else { element }
}

fn holds_objects(program: &Program, id: Option<&Id>, depth: u32) -> bool {
    id.is_some_and(|id| dtype(program, *id, depth + 1) == Element::Object)
}

/// `numpy.dtype`, or one of the classes of `numpy.dtypes` that newer versions write.
fn is_dtype(global: &Global) -> bool {
    let numpy = global.module == "numpy" || global.module.starts_with("numpy.");
    numpy && (global.name == "dtype" || global.name.ends_with("DType"))
}

/// Bytes of padding before the elements: one that says how many follow it.
fn padding(input: &dyn ReadAt, place: u64, padded: bool) -> io::Result<u64> {
    if !padded || place >= input.len() {
        return Ok(0);
    }
    let length = bytes_at(input, place, 1)?;
    Ok(1 + length.first().map_or(0, |length| u64::from(*length)))
}
