//! TensorFlow Lite: operators, buffers and metadata of a FlatBuffer with the mark `TFL3`.
//!
//! <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs>

use std::collections::BTreeSet;

use crate::ReadAt;
use crate::flatbuffers::{Flat, Table};
use crate::paged::PageError;

/// The most operator codes, graphs, operators and buffers that are looked at, each.
pub const MAX_RECORDS: u64 = 1 << 17;
/// The number of operators that the schema has today; larger ones are of a later version.
const CUSTOM: u32 = 32;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Model {
    /// Version of the schema.
    pub version: u32,
    /// Names of operators that an application has to bring.
    pub custom: BTreeSet<String>,
    /// Bytes of buffers.
    pub raw_bytes: u64,
    /// Where the last buffer that the model refers to ends.
    pub end: u64,
    /// Names of metadata.
    pub metadata: Vec<String>,
    /// Indices that lead out of their table: what and where.
    pub outside: Vec<(&'static str, u64)>,
    /// Where reading ended, if not at the end.
    pub broken: Option<PageError>,
    /// Records beyond [`MAX_RECORDS`].
    pub left_out: u64,
}

/// Whether `head`, the first bytes of a file, has the mark.
pub fn recognise(head: &[u8]) -> bool {
    head.get(4..8) == Some(b"TFL3")
}

/// Reads `input`.
pub fn read(input: &dyn ReadAt) -> Model {
    let flat = Flat::new(input, 0);
    let mut model = Model::default();
    if let Err(error) = fill(&flat, &mut model) {
        model.broken = Some(error);
    }
    model
}

fn fill(flat: &Flat<'_>, model: &mut Model) -> Result<(), PageError> {
    let root = flat.root()?;
    model.version = flat.u32(root, 0)?;
    let codes = flat.tables(root, 1, MAX_RECORDS)?;
    for code in &codes {
        let builtin = flat.u32(*code, 3)?.max(u32::from(flat.u8(*code, 0)?));
        let name = flat.text(*code, 1)?;
        if builtin == CUSTOM || !name.is_empty() {
            model.custom.insert(name);
        }
    }
    let buffers = flat.tables(root, 4, MAX_RECORDS)?;
    for buffer in &buffers {
        bytes_of(flat, *buffer, model)?;
    }
    for graph in flat.tables(root, 2, MAX_RECORDS)? {
        check_graph(flat, graph, (codes.len(), buffers.len()), model)?;
    }
    for entry in flat.tables(root, 6, 256)? {
        model.metadata.push(flat.text(entry, 0)?);
    }
    let counts = [1, 2, 4].map(|field| flat.vector(root, field, 4));
    for vector in counts {
        model.left_out += vector?.count.saturating_sub(MAX_RECORDS);
    }
    Ok(())
}

/// Bytes within the FlatBuffer or, in files of more than two gigabytes, behind it.
fn bytes_of(flat: &Flat<'_>, buffer: Table, model: &mut Model) -> Result<(), PageError> {
    let data = flat.vector(buffer, 0, 1)?;
    let (offset, size) = (flat.u64(buffer, 1)?, flat.u64(buffer, 2)?);
    model.raw_bytes += data.count;
    model.end = model.end.max(data.start + data.count);
    if offset > 1 {
        let end = offset
            .checked_add(size)
            .filter(|end| *end <= flat.pages().len());
        match end {
            Some(end) => {
                model.raw_bytes += size;
                model.end = model.end.max(end);
            }
            None => outside(model, "a buffer", buffer),
        }
    }
    Ok(())
}

fn outside(model: &mut Model, what: &'static str, table: Table) {
    const MOST: usize = 64;
    if model.outside.len() < MOST {
        model.outside.push((what, table.offset()));
    }
}

fn check_graph(
    flat: &Flat<'_>,
    graph: Table,
    (codes, buffers): (usize, usize),
    model: &mut Model,
) -> Result<(), PageError> {
    let tensors = flat.tables(graph, 0, MAX_RECORDS)?;
    for tensor in &tensors {
        if flat.u32(*tensor, 2)? as usize >= buffers.max(1) {
            outside(model, "the buffer of a tensor", *tensor);
        }
    }
    for operator in flat.tables(graph, 3, MAX_RECORDS)? {
        if flat.u32(operator, 0)? as usize >= codes {
            outside(model, "the code of an operator", operator);
        }
        for field in [1, 2] {
            let indices = flat.vector(operator, field, 4)?;
            for index in 0..indices.count.min(4096) {
                let tensor = flat.pages().u32(indices.start + 4 * index)?;
                // -1 is an input that is left out.
                if tensor != u32::MAX && tensor as usize >= tensors.len() {
                    outside(model, "a tensor of an operator", operator);
                }
            }
        }
    }
    Ok(())
}
