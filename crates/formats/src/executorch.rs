//! ExecuTorch programs: operators and delegates of a FlatBuffer with a mark like `ET12`.
//!
//! <https://github.com/pytorch/executorch/blob/main/schema/program.fbs>

use std::collections::BTreeSet;

use crate::ReadAt;
use crate::flatbuffers::Flat;
use crate::paged::PageError;

/// The most plans, operators and delegates that are looked at, each.
pub const MAX_RECORDS: u64 = 1 << 16;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Program {
    /// Names of operators.
    pub operators: BTreeSet<String>,
    /// Names of the back ends that parts of it are compiled for.
    pub delegates: BTreeSet<String>,
    /// Where reading ended, if not at the end.
    pub broken: Option<PageError>,
}

/// Whether `head`, the first bytes of a file, has the mark.
pub fn recognise(head: &[u8]) -> bool {
    matches!(head.get(4..8), Some([b'E', b'T', b'0'..=b'9', b'0'..=b'9']))
}

/// Reads `input`.
pub fn read(input: &dyn ReadAt) -> Program {
    let flat = Flat::new(input, 0);
    let mut program = Program::default();
    if let Err(error) = fill(&flat, &mut program) {
        program.broken = Some(error);
    }
    program
}

fn fill(flat: &Flat<'_>, program: &mut Program) -> Result<(), PageError> {
    let root = flat.root()?;
    for plan in flat.tables(root, 1, MAX_RECORDS)? {
        for operator in flat.tables(plan, 6, MAX_RECORDS)? {
            program.operators.insert(flat.text(operator, 0)?);
        }
        for delegate in flat.tables(plan, 7, MAX_RECORDS)? {
            program.delegates.insert(flat.text(delegate, 0)?);
        }
    }
    Ok(())
}
