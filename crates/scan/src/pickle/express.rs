//! A value as an expression of Python, shortened: for the eyes of people.

use formats::pickle::{How, Id, Opaque, Program, Value};

/// Characters of an expression.
const MAX_LENGTH: usize = 400;
/// How deep calls and containers are shown.
const MAX_DEPTH: usize = 6;
/// Items of a container that are shown.
const MAX_ITEMS: usize = 8;
/// Characters of a text that are shown.
const MAX_TEXT: usize = 160;

/// The expression that `id` is; hostile text.
pub(super) fn express(program: &Program, id: Id) -> String {
    let mut out = String::new();
    write(program, id, 0, &mut out);
    out
}

fn write(program: &Program, id: Id, depth: usize, out: &mut String) {
    if depth > MAX_DEPTH || out.len() > MAX_LENGTH {
        return out.push('…');
    }
    match program.value(id) {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Big(bytes) => out.push_str(&format!("<integer of {} bytes>", bytes.len())),
        Value::Float(number) => out.push_str(&number.to_string()),
        Value::Text(text) => quote(text, out),
        Value::Bytes(bytes) => {
            out.push('b');
            quote(
                &String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes)),
                out,
            );
        }
        Value::List(items) => list(program, items, ("[", "]"), depth, out),
        Value::Tuple(items) => list(program, items, ("(", ")"), depth, out),
        Value::Set(items) => list(program, items, ("{", "}"), depth, out),
        Value::Dict(pairs) => dict(program, pairs, depth, out),
        Value::Global(global) => {
            out.extend(global.to_string().chars().take(MAX_TEXT));
        }
        Value::Call(call) => {
            let method = if call.how == How::New { ".__new__" } else { "" };
            write(program, call.callable, depth + 1, out);
            out.push_str(method);
            if let Value::Tuple(items) = program.value(call.args) {
                list(program, items, ("(", ")"), depth, out);
            } else {
                out.push_str("(*");
                write(program, call.args, depth + 1, out);
                out.push(')');
            }
        }
        Value::Persistent(inner) => {
            out.push_str("persistent(");
            write(program, *inner, depth + 1, out);
            out.push(')');
        }
        Value::Opaque(Opaque::Extension(code)) => out.push_str(&format!("extension({code})")),
        Value::Opaque(_) => out.push_str("<computed>"),
    }
}

fn list(
    program: &Program,
    items: &[Id],
    (open, close): (&str, &str),
    depth: usize,
    out: &mut String,
) {
    out.push_str(open);
    for (index, item) in items.iter().take(MAX_ITEMS).enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(program, *item, depth + 1, out);
    }
    if items.len() > MAX_ITEMS {
        out.push_str(", …");
    }
    out.push_str(close);
}

fn dict(program: &Program, pairs: &[(Id, Id)], depth: usize, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in pairs.iter().take(MAX_ITEMS).enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(program, *key, depth + 1, out);
        out.push_str(": ");
        write(program, *value, depth + 1, out);
    }
    if pairs.len() > MAX_ITEMS {
        out.push_str(", …");
    }
    out.push('}');
}

fn quote(text: &str, out: &mut String) {
    out.push('\'');
    out.extend(text.chars().take(MAX_TEXT));
    if text.chars().nth(MAX_TEXT).is_some() {
        out.push('…');
    }
    out.push('\'');
}
