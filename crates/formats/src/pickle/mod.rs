//! A pickle is a program; this machine follows it symbolically and executes none of it.
//!
//! Every value that the program would build stands in an arena under an [`Id`]; what would be imported is a
//! [`Value::Global`], what would be called is a [`Value::Call`] that remembers callable and arguments. There is no way
//! from here to an interpreter. Because memo and lists hold ids, cycles and a million references to one value cost
//! nothing, and nothing is ever dropped or walked recursively.
//!
//! The machine follows CPython's C unpickler where that is more lenient than the documentation (`I0x1`, bytes behind a
//! frame, text of protocol 0 in UTF-8), because that is what a loader runs. A stream that breaks yields what was built
//! so far, with the offset and kind of the break: what stands before the break would have run.

mod machine;
mod text;
mod value;

pub use machine::run;
pub use value::{Call, Global, How, Id, Opaque, Value};

/// How much a program may do before the machine stops. All counts are of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Opcodes.
    pub opcodes: u64,
    /// Values in the arena.
    pub values: usize,
    /// Entries of the memo.
    pub memo: usize,
    /// Recorded effects and, separately, recorded anomalies.
    pub records: usize,
    /// Bytes of names that are put together from texts on the stack; each import copies them.
    pub name_bytes: usize,
}

impl Default for Limits {
    /// Enough for a checkpoint of 50,000 tensors; a program that was written to fill memory gets some 300 MB.
    fn default() -> Self {
        Self {
            opcodes: 8_000_000,
            values: 2_000_000,
            memo: 2_000_000,
            records: 500_000,
            name_bytes: 16 << 20,
        }
    }
}

/// What a pickle is, once it has been followed to its end or break.
#[derive(Debug, Clone)]
pub struct Program {
    values: Vec<Value>,
    /// The result; of a broken program the value that stood on top of the stack.
    pub root: Option<Id>,
    /// Whether the program reached STOP.
    pub complete: bool,
    /// Where it ended: the offset behind STOP, or that of the opcode that broke it.
    pub end: usize,
    /// The protocol that it declares first.
    pub protocol: Option<u8>,
    /// What it would do beside building plain values, in order.
    pub effects: Vec<Effect>,
    /// What is odd about it, in order.
    pub anomalies: Vec<Anomaly>,
}

impl Program {
    /// The value with this id.
    pub fn value(&self, id: Id) -> &Value {
        self.values.get(id.index()).unwrap_or(&Value::None)
    }

    /// All values, in the order in which the program built them.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// The global that `id` is, if it is one.
    pub fn global(&self, id: Id) -> Option<&Global> {
        match self.value(id) {
            Value::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The text that `id` is, if it is one.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of the tuple or list that `id` is, if it is one.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Every name that it would import, sorted, once each.
    pub fn imports(&self) -> Vec<&Global> {
        let mut imports: Vec<&Global> = self
            .values
            .iter()
            .filter_map(|value| match value {
                Value::Global(global) => Some(&**global),
                _ => None,
            })
            .collect();
        imports.sort_unstable();
        imports.dedup();
        imports
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

/// What can be wrong with a program. All but the last four end it.
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
    /// One of [`Limits`] was reached.
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
    /// A frame is longer than the bytes that follow.
    #[error("a frame is longer than the file")]
    FramePastEnd,
    /// The name of an import is not a literal text.
    #[error("the name of an import is computed")]
    ComputedGlobal,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
}
