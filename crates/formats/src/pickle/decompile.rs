//! A whole program as lines that look like Python, one for each thing that it would do, with its offset.
//!
//! What is made by a line has the name `v` and its id, and later lines say the name; plain values are written out where they
//! are used. Oddities stand among the lines as comments, at their places. Nothing is left out but what does not fit a line.

use super::arena::Program;
use super::expression::Writer;
use super::value::{Id, Value};
use super::{Anomaly, Deed};

/// Characters of a line, about.
const WIDTH: usize = 400;

/// A line of a decompiled program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Offset of the opcode that does it.
    pub offset: usize,
    /// What it does. Printable ASCII and `…`.
    pub text: String,
}

/// The lines of a program. Each is made when it is asked for, so a long program costs what is read of it.
pub fn decompile(program: &Program) -> impl Iterator<Item = Line> {
    let mut anomalies = program.anomalies.iter().peekable();
    let mut effects = program.effects.iter().enumerate().peekable();
    // The STOP is the byte before the end.
    let mut last = Some(program.end.saturating_sub(1));
    std::iter::from_fn(move || {
        let anomaly_first = match (anomalies.peek(), effects.peek()) {
            (Some(anomaly), Some((_, effect))) => anomaly.offset <= effect.offset,
            (Some(_), None) => true,
            _ => false,
        };
        if anomaly_first {
            return anomalies.next().map(comment);
        }
        if let Some((index, effect)) = effects.next() {
            return Some(Line {
                offset: effect.offset,
                text: line(program, index, effect.deed),
            });
        }
        let offset = last.take()?;
        let text = ending(program)?;
        Some(Line { offset, text })
    })
}

fn comment(anomaly: &Anomaly) -> Line {
    Line {
        offset: anomaly.offset,
        text: format!("# {}", anomaly.oddity),
    }
}

/// A writer for which everything that has a line of its own has its name already.
fn writer<'a>(program: &'a Program, ids: &[Id]) -> Writer<'a> {
    let mut writer = Writer::new(program, WIDTH);
    let mut open = ids.to_vec();
    let mut left = 4096usize;
    let mut seen = std::collections::HashSet::new();
    while let Some(id) = open.pop() {
        left = left.saturating_sub(1);
        if left == 0 || !seen.insert(id) {
            continue;
        }
        let value = program.value(id);
        match value {
            Value::Call(_) | Value::Persistent(_) => drop(writer.named.insert(id, true)),
            Value::Dict(_) | Value::List(_) | Value::Set(_) | Value::Tuple(_) => {
                super::collect::children(value, |child| {
                    if open.len() < 4096 {
                        open.push(child);
                    }
                });
            }
            _ => {}
        }
    }
    writer
}

fn line(program: &Program, index: usize, deed: Deed) -> String {
    let put = program.put(index);
    match deed {
        Deed::Import(id) => import(program, id),
        Deed::Call(id) => {
            let Value::Call(call) = program.value(id) else {
                return String::new();
            };
            let mut ids = vec![call.callable, call.args];
            ids.extend(call.keywords);
            let mut writer = writer(program, &ids);
            writer.name(id);
            writer.push(" = ");
            writer.made(call, 0);
            writer.text
        }
        Deed::Build { target, state } => {
            let mut writer = writer(program, &[target, state]);
            writer.value(target, 0);
            writer.state(state, 0);
            writer.text
        }
        Deed::SetItems(target) => change(program, target, ".update(", put),
        Deed::Extend(target) => change(program, target, ".extend(", put),
        Deed::Persistent(id) => {
            let ids: Vec<Id> = match program.value(id) {
                Value::Persistent(name) => vec![*name],
                _ => Vec::new(),
            };
            let mut writer = writer(program, &ids);
            writer.name(id);
            writer.push(" = ");
            writer.body(id, 0);
            writer.text
        }
        Deed::Extension(code) => format!("<extension {code}>"),
    }
}

fn import(program: &Program, id: Id) -> String {
    let mut writer = writer(program, &[]);
    writer.push("import ");
    writer.body(id, 0);
    if let (Some(written), Some(real)) = (program.written(id), program.global(id))
        && written != real
    {
        let name = format!("{written}");
        let literal = super::expression::literal(name.chars().map(u32::from), 100);
        writer.push("  # written ");
        writer.push(&literal);
    }
    writer.text
}

/// Items that are put into something; of a call's result, all that ever are stand in the call.
fn change(program: &Program, target: Id, verb: &str, put: Option<Id>) -> String {
    let mut ids = vec![target];
    ids.extend(put);
    let mut writer = writer(program, &ids);
    writer.value(target, 0);
    writer.push(verb);
    match (put, program.value(target)) {
        (Some(put), _) => writer.value(put, 0),
        (None, Value::Call(call)) if verb == ".update(" => writer.pairs_of(call),
        (None, Value::Call(call)) => writer.items_of(call),
        _ => writer.push("…"),
    }
    writer.push(")");
    writer.text
}

fn ending(program: &Program) -> Option<String> {
    let root = program.root.filter(|_| program.complete)?;
    let mut writer = writer(program, &[root]);
    writer.push("return ");
    writer.value(root, 0);
    Some(writer.text)
}
