//! Where what a message says is found, and what a comparison asks of it.

use formats::jinja::{Expr, Kind};

use super::known;
use super::value::{Constant, Marks, Value};

/// What a key or attribute of a message, or of a part of it, holds.
pub(super) fn from_message(given: &Value, key: Option<&str>, base: &Expr) -> Value {
    let mut marks = given.marks.tests();
    let mut origin = None;
    if given.marks.has(Marks::MESSAGE)
        || given.marks.has(Marks::CONTENT)
        || given.marks.has(Marks::PART)
    {
        if key.is_none_or(known::is_text_key) {
            marks = marks.with(Marks::CONTENT);
            origin = given.origin.clone().or_else(|| place_of(base));
        } else if key.is_some_and(|key| key == "messages" || key == "message") {
            marks = marks.with(Marks::MESSAGE);
        }
        if key.is_none() && given.marks.has(Marks::MESSAGE) {
            marks = marks.with(Marks::MESSAGE);
        }
    }
    if given.marks.has(Marks::DATE) {
        marks = marks.with(Marks::DATE);
    }
    Value {
        origin,
        ..Value::unknown(marks)
    }
}

pub(super) fn origin_of(expr: &Expr, given: &Value) -> Option<String> {
    let content = given.marks.has(Marks::CONTENT) || given.marks.has(Marks::PART);
    given.origin.clone().or_else(|| {
        let _ = expr;
        content.then(String::new)
    })
}

/// What a comparison with `other` asks of what a message says. Asking a dict for the keys of parts asks nothing.
pub(super) fn what_is_asked(other: &Value, of_dict: bool) -> Marks {
    if other.marks.has(Marks::CONTENT) {
        return Marks::default();
    }
    let mut asked = Marks::default();
    for constant in &other.constants {
        let texts: Vec<Constant> = match constant {
            Constant::List(items) | Constant::Dict(items) => items.clone(),
            other => vec![other.clone()],
        };
        for text in texts {
            asked = asked.with(match &text {
                Constant::Int(number) if *number <= 1 => Marks::default(),
                Constant::Text(text) if text.trim().is_empty() => Marks::default(),
                Constant::Text(text) if of_dict && known::is_part_key(text) => Marks::IF_SAID,
                text if text.words() > 0 => Marks::IF_WORDS,
                _ => Marks::IF_SAID,
            });
        }
    }
    if other.built {
        asked = asked.with(Marks::IF_SAID);
    }
    asked
}

/// The expression of a message or of something in it, in one spelling.
pub(super) fn place_of(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Name(name) => Some(name.clone()),
        Kind::Attribute(base, name) => Some(format!("{}.{name}", place_of(base)?)),
        Kind::Item(base, index) => {
            let base = place_of(base)?;
            match &index.kind {
                Kind::Text(name) => Some(format!("{base}.{name}")),
                Kind::Int(index) => Some(format!("{base}[{index}]")),
                Kind::Sign('-', inner) => match &inner.kind {
                    Kind::Int(index) => Some(format!("{base}[-{index}]")),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}
