//! joblib's files: one pickle that is interrupted by the raw bytes of arrays.
//!
//! Where a pickle builds a `NumpyArrayWrapper`, joblib's unpickler stops, reads the array from the file, and goes on with
//! the pickle behind it; an array of objects is a pickle of its own there. So the program is followed to the first such
//! wrapper, the array's bytes are cut out, and it is followed again: in the end the machine has run over the program as
//! joblib's does, and every byte between is accounted for. What a wrapper says of itself (type, shape) is the attacker's; if
//! it lies, the program behind it breaks, here as there. So that a file of a thousand arrays is not followed a thousand
//! times, their places are guessed first, and the guess is kept as far as the machine agrees.
//!
//! Compressed files are the same inside. Two older forms are told: arrays in files of their own
//! ([`Oddity::External`]), and the `ZF` header before a zlib stream ([`zfile_payload`]).

mod guess;

use std::collections::HashMap;
use std::io;

use crate::numpy::{Element, text_element};
use crate::pickle::{Call, Deed, Global, Id, Limits, Program, Value, run};
use crate::read_at::bytes_at;
use crate::{ReadAt, Segments, Walked};

/// The most arrays that are cut out.
pub const MAX_ARRAYS: usize = 1 << 16;
/// Bytes of programs that are followed in all; each array that was not guessed takes a new run from the start.
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

/// Whether `bytes` name joblib: nothing else can be one of its files.
pub fn is_named_in(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"joblib").is_some()
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
    let guessed = guess(input, limits)?;
    let mut reader = Reader::new(input, limits, &guessed)?;
    let agreed = reader.agreed(&guessed)?;
    if agreed < guessed.len() {
        reader = Reader::new(input, limits, guessed.get(..agreed).unwrap_or_default())?;
        // The wrappers up to there were seen; the places of the others are found one by one.
        reader.agreed(guessed.get(..agreed).unwrap_or_default())?;
    }
    while reader.advance()? {}
    Ok(reader.finish())
}

/// An array in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cut {
    place: u64,
    size: u64,
    /// A pickle of its own.
    nested: bool,
}

fn guess(input: &dyn ReadAt, limits: &Limits) -> io::Result<Vec<Cut>> {
    let mut guess = guess::Guess::new(input);
    let mut cuts = Vec::new();
    while cuts.len() < MAX_ARRAYS
        && let Some((place, measure)) = guess.next_array()
    {
        let Some(cut) = cut(input, limits, place, &measure)? else {
            break;
        };
        if place + cut.size > input.len() || !guess.skip(cut.size) {
            break;
        }
        cuts.push(cut);
    }
    Ok(cuts)
}

/// The bytes at `place` that a wrapper stands for; `None` if they are in another file.
fn cut(
    input: &dyn ReadAt,
    limits: &Limits,
    place: u64,
    measure: &Measure,
) -> io::Result<Option<Cut>> {
    Ok(match measure {
        Measure::External(_) => None,
        Measure::Objects => Some(Cut {
            place,
            size: Walked::at(input, place, limits)?.size,
            nested: true,
        }),
        Measure::Plain { bytes, padded } => Some(Cut {
            place,
            size: padding(input, place, *padded)?.saturating_add(*bytes),
            nested: false,
        }),
    })
}

struct Reader<'a> {
    input: &'a dyn ReadAt,
    limits: &'a Limits,
    cuts: Vec<Cut>,
    parts: Vec<(u64, u64)>,
    program: Program,
    /// Offset in the program behind the last wrapper that was dealt with.
    seen: usize,
    followed: u64,
    oddities: Vec<Oddity>,
}

impl<'a> Reader<'a> {
    fn new(input: &'a dyn ReadAt, limits: &'a Limits, cuts: &[Cut]) -> io::Result<Self> {
        let mut reader = Self {
            input,
            limits,
            cuts: cuts.to_vec(),
            parts: Vec::new(),
            program: run(&[], limits),
            seen: 0,
            followed: 0,
            oddities: Vec::new(),
        };
        reader.follow()?;
        Ok(reader)
    }

    /// Runs the machine over what is no array.
    fn follow(&mut self) -> io::Result<()> {
        self.parts = between(&self.cuts, self.input.len());
        let segments = Segments::new(self.input, self.parts.iter().copied());
        self.program = Walked::at(&segments, 0, self.limits)?.program;
        self.followed += self.program.end as u64;
        Ok(())
    }

    /// How many of the guessed arrays the machine finds, one behind the other.
    fn agreed(&mut self, guessed: &[Cut]) -> io::Result<usize> {
        let segments = Segments::new(self.input, self.parts.iter().copied());
        let mut agreed = 0;
        let mut seen = 0;
        while agreed < guessed.len()
            && let Some((behind, deed)) = next_wrapper(&self.program, seen)
        {
            let last = segments.place((behind - 1) as u64);
            let place = last.map_or(self.input.len(), |last| last + 1);
            let Some(measure) = measure(&self.program, deed) else {
                break;
            };
            // A pickle within was followed for the guess already.
            let same = match (&measure, guessed.get(agreed)) {
                (Measure::Objects, Some(cut)) => cut.nested && cut.place == place,
                (Measure::Plain { .. }, Some(guess)) => {
                    cut(self.input, self.limits, place, &measure)? == Some(*guess)
                }
                _ => false,
            };
            if !same {
                break;
            }
            seen = behind;
            agreed += 1;
        }
        self.seen = seen;
        Ok(agreed)
    }

    /// Deals with the next wrapper; false when there is none or the file is not followed further.
    fn advance(&mut self) -> io::Result<bool> {
        let Some((behind, deed)) = next_wrapper(&self.program, self.seen) else {
            return Ok(false);
        };
        let segments = Segments::new(self.input, self.parts.iter().copied());
        let place = segments.place(behind as u64).unwrap_or(self.input.len());
        if self.cuts.len() >= MAX_ARRAYS || self.followed > MAX_FOLLOWED_BYTES {
            self.oddities.push(Oddity::NotFollowed(place));
            return Ok(false);
        }
        self.seen = behind;
        let Some(measure) = measure(&self.program, deed) else {
            self.oddities.push(Oddity::Unmeasured(place));
            return Ok(false);
        };
        if let Measure::External(name) = measure {
            self.oddities.push(Oddity::External(name));
            return Ok(true);
        }
        let Some(mut cut) = cut(self.input, self.limits, place, &measure)? else {
            return Ok(true);
        };
        let left = self.input.len().saturating_sub(place);
        if cut.size > left {
            self.oddities.push(Oddity::Truncated(place));
            cut.size = left;
        }
        self.cuts.push(cut);
        self.follow()?;
        Ok(true)
    }

    fn finish(self) -> Joblib {
        let of = |nested: bool| {
            let cuts = self.cuts.iter().filter(|cut| cut.nested == nested);
            cuts.map(|cut| (cut.place, cut.size)).collect()
        };
        let mut joblib = Joblib {
            arrays: of(false),
            nested: of(true),
            program: self.parts,
            effects: self.program,
            end: 0,
            oddities: self.oddities,
        };
        joblib.close(self.input, &self.cuts);
        joblib
    }
}

impl Joblib {
    /// Ends the last part where the program ends.
    fn close(&mut self, input: &dyn ReadAt, cuts: &[Cut]) {
        let end = self.effects.end as u64;
        let segments = Segments::new(input, self.program.iter().copied());
        let last = end.checked_sub(1).and_then(|last| segments.place(last));
        let behind_cuts = cuts.last().map_or(0, |cut| cut.place + cut.size);
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
fn between(cuts: &[Cut], length: u64) -> Vec<(u64, u64)> {
    let mut parts = Vec::with_capacity(cuts.len() + 1);
    let mut position = 0;
    for cut in cuts {
        parts.push((position, cut.place.saturating_sub(position)));
        position = cut.place.saturating_add(cut.size);
    }
    parts.push((position, length.saturating_sub(position)));
    parts
}

/// The first wrapper that is built at or behind offset `from`, and the offset behind its BUILD.
fn next_wrapper(program: &Program, from: usize) -> Option<(usize, Deed)> {
    let effects = &program.effects;
    let first = effects.partition_point(|effect| effect.offset < from);
    let mut later = effects.iter().skip(first);
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
    is_wrapper(class).then_some((class, state))
}

/// Whether a class is one of joblib's wrappers, in joblib itself or where another package carries it along.
fn is_wrapper(class: &Global) -> bool {
    class.module.split('.').any(|part| part == "joblib")
        && matches!(
            class.name.as_str(),
            "NumpyArrayWrapper" | "NDArrayWrapper" | "ZNDArrayWrapper"
        )
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
