//! The values that a pickle builds, each under an id in one arena.

/// Names a value of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u32);

impl Id {
    /// The id of the value at `index`, if an id can be that large.
    pub(super) fn at(index: usize) -> Option<Self> {
        u32::try_from(index).ok().map(Self)
    }

    /// Its place among [`crate::pickle::Program::values`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value as the program would leave it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// A larger integer: two's complement, little endian.
    Big(Vec<u8>),
    /// A float.
    Float(f64),
    /// `bytes` or `bytearray`.
    Bytes(Vec<u8>),
    /// A text. UTF-8 cannot hold a lone surrogate; [`crate::pickle::surrogate`] says how one is written here.
    Text(String),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A dict as it was written: a later pair with an equal key replaces an earlier one.
    Dict(Vec<(Id, Id)>),
    /// A set or frozen set.
    Set(Vec<Id>),
    /// Something imported.
    Global(Box<Global>),
    /// The result of a call that was not made.
    Call(Box<Call>),
    /// What the loader gives for a persistent id.
    Persistent(Id),
    /// A value about which nothing is known.
    Opaque(Opaque),
}

/// A name in a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Global {
    /// The module that is imported: in a program of a protocol below 3, names of Python 2 are mapped as the loader maps them.
    /// [`crate::pickle::Program::written`] has it as it stands in the bytes.
    pub module: String,
    /// The name in it. Dots walk through attributes; see [`crate::pickle::Program::literal_dots`].
    pub name: String,
}

impl Global {
    /// Whether it is `name` of `module`.
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

impl std::fmt::Display for Global {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.module, self.name)
    }
}

/// A call that was not made, and all that would be done to its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What would be called; any value, mostly a [`Value::Global`].
    pub callable: Id,
    /// Positional arguments; mostly a [`Value::Tuple`].
    pub args: Id,
    /// Named arguments, of `NEWOBJ_EX` alone.
    pub keywords: Option<Id>,
    /// The opcode that calls.
    pub how: How,
    /// The states that BUILD sets, in order.
    pub states: Vec<Id>,
    /// The pairs that are set as items.
    pub entries: Vec<(Id, Id)>,
    /// The values that are appended or added.
    pub appended: Vec<Id>,
}

/// Which opcode makes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `REDUCE`: calls it.
    Reduce,
    /// `NEWOBJ` or `NEWOBJ_EX`: its `__new__`.
    New,
    /// `OBJ` or `INST`: makes an instance, of an old class without calling.
    Instance,
}

/// Why nothing is known about a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opaque {
    /// From the registry of extensions, by this code.
    Extension(u32),
    /// A buffer that travels beside the pickle.
    OutOfBand,
    /// An import whose name is computed.
    ComputedGlobal,
    /// A value that was built but not kept, because the program was written to fill memory; a [`crate::pickle::Oddity::Limit`]
    /// says so.
    Elided,
}
