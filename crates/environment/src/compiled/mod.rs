//! Byte code that the interpreter would use instead of compiling a source, and whether it is that source's.
//!
//! A `.pyc` beside an untouched source runs whatever is in it as long as its header names the source's time and size, and
//! no RECORD knows it. So each is paired with its source ([`pairs`]), its header is judged as the import system would
//! ([`Header`]), and its body is compared by meaning with what the source compiles to ([`meaning`], [`differences`]). How the
//! source gets compiled is the caller's: this module is pure but for looking at names that it was given.

mod differ;
mod header;
mod marshal;
mod pairs;
#[cfg(test)]
mod tests;

pub use differ::differences;
pub use header::{HEADER_BYTES, Header, SourceState, Tie, Unused};
pub use marshal::{Dialect, Facts, MAX_CODE_BYTES, MarshalError, facts, meaning};
pub use pairs::{Level, Naming, Pair, Sourceless, Usable, pairs};
