//! Python source to a tree that tells what is called and when it runs.
//!
//! The grammar is read leniently: a line that is not understood is noted and the next one is read, because newer Pythons
//! read more than this does. Nothing is evaluated. A full parser of the language was weighed and left: what counts here
//! is bounded memory on hostile input, and names, calls and literals in their places.

mod ast;
mod expression;
mod lexer;
mod parser;

pub use ast::{Expr, Kind, Module, Statement, StatementKind};

/// Reads a file.
pub fn parse(text: &str) -> Module {
    let mut module = parser::parse(text);
    module.encoding = encoding(text);
    module
}

/// The encoding that one of the first two lines declares (PEP 263).
fn encoding(text: &str) -> Option<String> {
    for line in text.lines().take(2) {
        let Some(comment) = line.trim_start().strip_prefix('#') else {
            continue;
        };
        let Some((_, behind)) = comment.split_once("coding") else {
            continue;
        };
        let Some(named) = behind.strip_prefix([':', '=']) else {
            continue;
        };
        let named = named.trim_start_matches([' ', '\t']);
        let end = named.find(|c: char| !c.is_alphanumeric() && !"-_.".contains(c));
        let name = &named[..end.unwrap_or(named.len())];
        if !name.is_empty() {
            return Some(name.to_ascii_lowercase().replace('_', "-"));
        }
    }
    None
}
