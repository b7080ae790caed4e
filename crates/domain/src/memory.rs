//! What stands in the memory of a process: functions at their names, hooks, what lies between the job and its interpreter.
//!
//! These are facts as the process under suspicion tells them. They say what is where and a digest of its code; whether
//! that is as it should be is not theirs to say. The digest of code is the sensor's own (`python/taintline/_memory_code.py`):
//! 32 hexadecimal digits over what the interpreter would do, the same for a file's source and for what runs.

use serde::{Deserialize, Serialize};

use crate::PathText;

/// A Python function, by its code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CodePlace {
    /// The path that the code says it was compiled from; `<string>` and the like for none.
    pub file: PathText,
    /// Its first line, from 1.
    pub line: u32,
    /// Its name, qualified where the interpreter knows it so (3.11 and later).
    pub name: String,
    /// The module that the function says it belongs to.
    pub module: String,
    /// Digest of the code.
    pub digest: String,
}

/// Something that stands at a name and is not simply the function written there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The name: `AdamW.step`.
    pub place: String,
    /// What kind of thing it is: `function`, `class helper.AdamW`, `functools.partial`.
    pub object: String,
    /// The code that a call of it would reach, outermost first.
    pub chain: Vec<CodePlace>,
    /// File of the module that a function or class says it belongs to; empty when that is not known.
    pub home: PathText,
    /// Whether something else was seen at that place before.
    pub later: bool,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum MemoryFact {
    /// What stands in a module and its classes, as far as it is new.
    Namespace(Namespace),
    /// A hook, or what shadows a method of an object.
    Hook(HookFact),
    /// A finder, a trace function, a mode of torch.
    Machinery {
        /// What: `sys.meta_path`.
        what: String,
        /// The object's class.
        object: String,
        /// Its code.
        chain: Vec<CodePlace>,
    },
    /// A module that came from no file, or from another than it says.
    Module {
        /// Its name.
        name: String,
        /// Its class.
        object: String,
        /// `__file__`, empty without one.
        file: PathText,
        /// The origin in its specification, empty without one.
        origin: PathText,
    },
    /// Something was set on a function in place.
    Set(SetFact),
}

/// What stands in a module and its classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The module.
    pub module: String,
    /// `__file__`, empty without one.
    pub file: PathText,
    /// Class of its loader.
    pub loader: Option<String>,
    /// The code that executes what the loader loads, where that is not the interpreter's own.
    #[serde(default)]
    pub maker: Vec<CodePlace>,
    /// Functions that say of themselves that they were written here: place, line, digest.
    pub functions: Vec<(String, u32, String)>,
    /// Functions and classes that stand at the same time at their own home: place, module and place of that home.
    pub imported: Vec<(String, String, String)>,
    /// Anything else.
    pub standing: Vec<Standing>,
}

/// A hook, or what shadows a method of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HookFact {
    /// `forward hook`, `optimizer step pre hook`, `method step`.
    pub kind: String,
    /// On what.
    pub on: String,
    /// The object's class.
    pub object: String,
    /// Its code.
    pub chain: Vec<CodePlace>,
    /// The checkpoint that brought it; empty when that has no path.
    pub carried: Option<PathText>,
}

/// Something was set on a function in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFact {
    /// Module of the function.
    pub module: String,
    /// File of that module; empty without one.
    pub home: PathText,
    /// Its qualified name.
    pub place: String,
    /// `__code__`, `__defaults__` or `__kwdefaults__`.
    pub name: String,
    /// File of the code that did it.
    pub file: PathText,
    /// Its line.
    pub line: u32,
    /// Its name.
    pub by: String,
}
