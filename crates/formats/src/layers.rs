//! Paddle's programs and Caffe's nets: the names of their operators and layers, and the Python that a layer names.
//!
//! Both are protocol buffers of numbers around a list of named steps; only the names matter here.

use std::collections::BTreeMap;

use crate::protobuf::{Span, Wire, WireError};

/// The most names that are kept.
pub const MAX_RECORDS: usize = 1024;
/// The longest text that is kept, in bytes.
const MAX_TEXT: usize = 512;

/// Steps by name, each with the offset of the first and what it names besides.
#[derive(Debug, Default)]
pub struct Steps {
    /// Name of the step to its first offset and to the texts of its Python parameters.
    pub steps: BTreeMap<String, (u64, Vec<String>)>,
    /// Where reading ended, if not at the end.
    pub broken: Option<WireError>,
    /// Records beyond the limit.
    pub left_out: u64,
}

/// The operators of a `ProgramDesc`: blocks in 1, operators in 4, their type in 3.
pub fn paddle(wire: &Wire<'_>) -> Steps {
    let mut steps = Steps::default();
    let read = each(wire, wire.whole(), 1, &mut |block, _| {
        each(wire, block, 4, &mut |operator, offset| {
            keep(wire, &mut steps, operator, (3, None), offset)
        })
    });
    steps.broken = read.err();
    steps
}

/// The layers of a `NetParameter`: layers in 100, their type in 2, Python's module and class in 130.
pub fn caffe(wire: &Wire<'_>) -> Steps {
    let mut steps = Steps::default();
    let read = each(wire, wire.whole(), 100, &mut |layer, offset| {
        keep(wire, &mut steps, layer, (2, Some(130)), offset)
    });
    steps.broken = read.err();
    steps
}

fn each(
    wire: &Wire<'_>,
    span: Span,
    number: u32,
    visit: &mut dyn FnMut(Span, u64) -> Result<(), WireError>,
) -> Result<(), WireError> {
    for field in wire.fields(span) {
        let field = field?;
        if let Some(inside) = field.span().filter(|_| field.number == number) {
            visit(inside, field.offset)?;
        }
    }
    Ok(())
}

fn keep(
    wire: &Wire<'_>,
    steps: &mut Steps,
    span: Span,
    (name, python): (u32, Option<u32>),
    offset: u64,
) -> Result<(), WireError> {
    let Some(name) = wire.find(span, name) else {
        return Ok(());
    };
    let name = wire.text(name, MAX_TEXT)?;
    let mut texts = Vec::new();
    if let Some(parameters) = python.and_then(|number| wire.find(span, number)) {
        for field in wire.fields(parameters).take(8) {
            if let Some(text) = field?.span() {
                texts.push(wire.text(text, MAX_TEXT)?);
            }
        }
    }
    let known = steps.steps.get(&name).is_some_and(|known| known.1 == texts);
    if known {
        return Ok(());
    }
    if steps.steps.len() >= MAX_RECORDS {
        steps.left_out += 1;
        return Ok(());
    }
    let entry = steps.steps.entry(name).or_insert((offset, Vec::new()));
    entry.1.extend(texts.into_iter().take(16));
    entry.1.truncate(64);
    Ok(())
}
