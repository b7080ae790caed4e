//! A pickle is a program; this machine follows it symbolically and executes none of it.
//!
//! Every value that the program would build stands in an arena under an [`Id`]; what would be imported is a
//! [`Value::Global`], what would be called is a [`Value::Call`] that remembers callable and arguments. There is no way
//! from here to an interpreter. Because memo and lists hold ids, cycles and a million references to one value cost
//! nothing, and nothing is ever walked recursively.
//!
//! The truth is CPython's C unpickler, not the documentation: `I0x1`, text behind a NUL, frames that lie. A loader may also
//! be `pickle.py` (joblib's is a subclass of it), and where that goes on and C does not, the machine goes on and says so:
//! [`Oddity::LoadersDisagree`]. A stream that breaks yields what was built so far, with the offset and kind of the break:
//! what stands before the break would have run.
//!
//! Memory is bounded by [`Limits::bytes`], whatever the program does. Equal scalars are one value, long bytes are known by
//! their place ([`Program::whole`]); when that is not enough, what nobody can reach is let go, then plain values are
//! counted instead of kept ([`Program::elided`]). Imports and calls are kept to the last.

mod arena;
mod collect;
mod compat;
mod containers;
mod decompile;
mod expression;
mod input;
mod listing;
mod machine;
mod memo;
mod objects;
mod opcode;
mod registry;
mod scalars;
pub mod surrogate;
mod text;
mod value;

use std::io;
use std::ops::Range;

pub use arena::Program;
pub use decompile::{Line, decompile};
pub use expression::expression;
pub use listing::{Given, Listing, Step, disassemble};
pub(crate) use objects::{MAX_NAME, NAMES, SHORT_NAME};
pub use opcode::{Argument, OPCODES, Opcode, opcode};
pub use value::{Call, Global, How, Id, Opaque, Value};

use crate::ReadAt;
use input::Input;
use machine::Machine;

/// Follows the program at the start of `bytes`. What stands behind its STOP is not looked at; see [`Program::end`] and
/// [`Programs`].
pub fn run(bytes: &[u8], limits: &Limits) -> Program {
    Machine::new(limits).follow(&mut Input::slice(bytes, 0)).0
}

/// Follows the program that lies at `range` of `input`, which may be larger than memory. All offsets are those of `input`.
///
/// # Errors
/// What the input says when it cannot be read.
pub fn run_at(input: &dyn ReadAt, range: Range<u64>, limits: &Limits) -> io::Result<Program> {
    let mut window = Input::window(input, range.start, range.end);
    let program = Machine::new(limits).follow(&mut window).0;
    window.failure.map_or(Ok(program), Err)
}

/// Programs one behind another, as `pickle.load` on one open file takes them. Ends behind the first that is not complete.
pub struct Programs<'a> {
    input: &'a dyn ReadAt,
    limits: Limits,
    position: u64,
    end: u64,
    over: bool,
    registry: registry::Registry,
}

/// The programs that lie in `range` of `input`, one behind another. [`Limits::opcodes`] holds for all of them together.
pub fn programs<'a>(input: &'a dyn ReadAt, range: Range<u64>, limits: &Limits) -> Programs<'a> {
    Programs {
        input,
        limits: *limits,
        position: range.start,
        end: range.end.min(input.len()),
        over: false,
        registry: registry::Registry::default(),
    }
}

impl Programs<'_> {
    /// Opcodes that may still be followed: those of [`Limits::opcodes`] that no program so far has used.
    pub fn opcodes_left(&self) -> u64 {
        self.limits.opcodes
    }

    /// Offset behind the last STOP that was reached: where the next program begins, if there is one. Bytes from here on are
    /// no part of any program that was given out complete.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Iterator for Programs<'_> {
    type Item = io::Result<Program>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.position >= self.end {
            return None;
        }
        let mut window = Input::window(self.input, self.position, self.end);
        let mut machine = Machine::new(&self.limits);
        machine.registry = std::mem::take(&mut self.registry);
        let (program, registry) = machine.follow(&mut window);
        self.registry = registry;
        self.limits.opcodes = self.limits.opcodes.saturating_sub(program.work);
        if let Some(error) = window.failure {
            self.over = true;
            return Some(Err(error));
        }
        if program.complete {
            self.position = program.end as u64;
        } else {
            self.over = true;
        }
        Some(Ok(program))
    }
}

/// How much a program may do before the machine stops. All counts are of one program, unless [`programs`] says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Opcodes; one that builds a value counts for three.
    pub opcodes: u64,
    /// Values in the arena.
    pub values: usize,
    /// Entries of the memo. Further ones are forgotten.
    pub memo: usize,
    /// Recorded effects. Beyond, only those that are new of their kind are recorded, up to twice as many.
    pub records: usize,
    /// Bytes of names that are put together from texts on the stack; each import copies them.
    pub name_bytes: usize,
    /// Bytes of one text or of one value of bytes that are kept; see [`Program::whole`].
    pub kept: usize,
    /// Values and, separately, marks on the stack. Below that the stack is forgotten, and what is taken from there unknown.
    pub stack: usize,
    /// Bytes of memory for everything together, about.
    pub bytes: usize,
    /// What is done about an opcode that lies across the end of its frame.
    pub frames: Frames,
}

/// How frames are read. No pickler ends a frame within an opcode; loaders part where one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Frames {
    /// Both ways, one after the other; the effects of the second follow those of the first.
    #[default]
    Both,
    /// As `pickle.loads` does: bytes in their order.
    Memory,
    /// As the C unpickler does with a file that cannot be looked into ahead, such as `BytesIO`: the opcode takes its bytes
    /// from behind the frame, and what is left of the frame is lost.
    File,
}

impl Default for Limits {
    /// Enough for a checkpoint of 30,000 tensors, in some 40 MB and some two seconds whatever the program does.
    fn default() -> Self {
        Self {
            opcodes: 200_000_000,
            values: 600_000,
            memo: 1 << 20,
            records: 100_000,
            name_bytes: 4 << 20,
            kept: 64 << 10,
            stack: 1 << 19,
            bytes: 30 << 20,
            frames: Frames::Both,
        }
    }
}

impl Limits {
    /// For a reader that wants every value as it is and bounds the input itself: a program that was written to fill memory
    /// gets some 400 MB.
    pub fn generous() -> Self {
        Self {
            opcodes: 16_000_000,
            values: 2_000_000,
            memo: 2_000_000,
            records: 500_000,
            name_bytes: 16 << 20,
            kept: usize::MAX,
            stack: 8 << 20,
            bytes: 400 << 20,
            frames: Frames::Both,
        }
    }
}

/// Something that the program would do, with the offset of the opcode that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// Offset of the opcode.
    pub offset: usize,
    /// What it does.
    pub deed: Deed,
}

/// The kinds of [`Effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Imports a name: a [`Value::Global`], or [`Opaque::ComputedGlobal`] if the name is made at run time.
    Import(Id),
    /// Calls something: a [`Value::Call`].
    Call(Id),
    /// Sets the state of `target`, by its `__setstate__` or attribute by attribute.
    Build {
        /// What is changed.
        target: Id,
        /// The state.
        state: Id,
    },
    /// Sets items of something that is no dict made here.
    SetItems(Id),
    /// Appends to something that is no list made here, or adds to something that is no set.
    Extend(Id),
    /// Asks the loader for an object by a persistent id.
    Persistent(Id),
    /// Takes an object from the registry of extensions.
    Extension(u32),
}

/// An oddity with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// Offset of the opcode at which it was noticed.
    pub offset: usize,
    /// What it is.
    pub oddity: Oddity,
}

/// What can be wrong with a program. [`Oddity::ends`] says which of them end it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// The bytes end within an opcode, or before STOP.
    #[error("the pickle breaks off")]
    Truncated,
    /// No such opcode.
    #[error("byte {0:#04x} is no opcode")]
    UnknownOpcode(u8),
    /// A value is taken from an empty stack, or from below a mark.
    #[error("a value is taken that is not on the stack")]
    StackUnderflow,
    /// Values up to a mark are taken and there is no mark.
    #[error("no mark is on the stack")]
    NoMark,
    /// A memo entry is read that was never written.
    #[error("memo entry {0} was never written")]
    UnknownMemo(u64),
    /// A number, length or string of protocol 0 is malformed.
    #[error("a number or string is malformed")]
    Malformed,
    /// A key without a value.
    #[error("a dictionary has a key without a value")]
    OddItems,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// Every loader raises an exception here.
    #[error("no loader does this: {0}")]
    Refused(Refusal),
    /// One of [`Limits`] was reached. It ends the program if it is the last anomaly of one that is not complete; else
    /// something was counted and not kept.
    #[error("the pickle has more than {limit} {what}")]
    Limit {
        /// Of what there are too many.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A protocol that no Python knows.
    #[error("protocol {0} does not exist")]
    UnknownProtocol(u8),
    /// A frame is longer than the bytes that follow. The C unpickler refuses that, `pickle.py` reads on.
    #[error("a frame is longer than the file")]
    FramePastEnd,
    /// An opcode lies across the end of its frame: loaders read on at different places. See [`Frames`].
    #[error("a frame ends within an opcode, and loaders read on at different places")]
    FrameStraddle,
    /// The name of an import is not a literal text.
    #[error("the name of an import is computed")]
    ComputedGlobal,
    /// The C unpickler raises an exception here; `pickle.py`, or a subclass of it, goes on.
    #[error("only the unpickler in Python does this: {0}")]
    LoadersDisagree(Refusal),
    /// `pickle.py` raises an exception here; the C unpickler goes on.
    #[error("only the unpickler in C does this: {0}")]
    OnlyC(Refusal),
    /// A text of Python 2 that is not ASCII: what it is depends on the loader's encoding.
    #[error("what a text of Python 2 means depends on the loader")]
    EncodedText,
    /// The program takes an object from the registry of extensions under a code that it did not register itself.
    #[error("extension {0} is not registered by the pickle")]
    Unregistered(u32),
}

impl Oddity {
    /// Whether every loader stops at it.
    pub fn ends(&self) -> bool {
        matches!(
            self,
            Self::Truncated
                | Self::UnknownOpcode(_)
                | Self::StackUnderflow
                | Self::NoMark
                | Self::UnknownMemo(_)
                | Self::Malformed
                | Self::OddItems
                | Self::NotUtf8
                | Self::Refused(_)
        )
    }

    /// Whether CPython's C unpickler, by itself, stops at it.
    pub fn ends_c(&self) -> bool {
        self.ends()
            || matches!(
                self,
                Self::UnknownProtocol(_)
                    | Self::FramePastEnd
                    | Self::LoadersDisagree(_)
                    | Self::Unregistered(_)
            )
    }
}

/// Why a loader raises an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A plain value is called.
    #[error("a plain value is called")]
    NotCallable,
    /// The arguments are no tuple.
    #[error("the arguments of a call are no tuple")]
    Arguments,
    /// The named arguments are no dict.
    #[error("the named arguments of a call are no dict")]
    Keywords,
    /// A list, dict or set as key or as member of a set.
    #[error("a key has no hash")]
    Unhashable,
    /// Items are set in something that takes none, or not these.
    #[error("a plain value takes no such items")]
    NoItems,
    /// Something is appended or added to a value that takes none.
    #[error("a plain value cannot be extended")]
    NoExtension,
    /// The state of a plain value, or one that is no dict, is set.
    #[error("a plain value has no such state")]
    NoState,
    /// Names of an import that are no texts, or empty.
    #[error("the name of an import is no text")]
    NotAName,
    /// A name or persistent id of protocol 0 is not ASCII.
    #[error("a name is not ASCII")]
    NotAscii,
    /// The code of an extension is not positive, or is registered as no name.
    #[error("the code of an extension is none")]
    ExtensionCode,
    /// A memo entry has a negative number or one that no machine can count to.
    #[error("a memo entry has an impossible number")]
    MemoIndex,
    /// A number that only one loader reads.
    #[error("a number is written as only one of them reads it")]
    Number,
    /// A value that is no buffer is made read-only.
    #[error("a value that is no buffer is made read-only")]
    NoBuffer,
    /// The last line of the file has no end.
    #[error("the last line has no end")]
    OpenLine,
    /// A length that no machine can hold.
    #[error("a length is beyond all memory")]
    Length,
    /// A frame begins within another.
    #[error("a frame holds another")]
    Frame,
}
