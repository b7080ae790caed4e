//! Jinja2 templates to a tree, as the loaders of chat models read them.
//!
//! The grammar is Jinja2's with the extensions that chat templates are rendered with (loop controls, `generation`, `do`).
//! A parser of another engine would refuse what Jinja2 takes, and what is refused is not examined; so this one is its own,
//! and where it stops it says where. It evaluates nothing.

mod ast;
mod expression;
mod lexer;
mod parser;

pub use ast::{Arguments, Expr, Fault, FaultKind, Kind, Node, Template};

/// Reads a template; what follows a fault is missing from the tree.
pub fn parse(text: &str) -> Template {
    parser::parse(text)
}
