//! Whether bytes are a pickle.
//!
//! From protocol 2 on a pickle starts with its protocol, but no loader asks for that: any opcode may come first. So bytes
//! without it are given to the pickle machine, and they are a pickle if it gets through them to an end that is the end of
//! the file, or if they would call or change something by a name that can be one; what a program does before it breaks is
//! done.
//! Plain text gets neither far nor to its end: the first words are no opcodes, or take what is not on the stack.

use std::io;

use super::Format;
use crate::ReadAt;
use crate::pickle::{
    Deed, Global, Limits, MAX_NAME, NAMES, Oddity, Program, SHORT_NAME, Value, run,
};
use crate::read_at::{bytes_at, u32_at, u64_at};

/// How much of the input the machine is given, in turn, while it asks for more.
const LOOKS: [u64; 3] = [64 << 10, 1 << 20, 8 << 20];
/// Torch's magic number 0x1950a86a20f9469cfc6c, least byte first.
const TORCH_MAGIC: [u8; 10] = *b"l\xfc\x9cF\xf9 j\xa8P\x19";
/// Opcodes that no text gets through.
const ENOUGH_OPCODES: u64 = 20_000;

pub(super) fn probe(input: &dyn ReadAt, head: &[u8]) -> io::Result<Option<Format>> {
    let declared = matches!(head, [0x80, 0..=5, ..]);
    let limits = Limits {
        opcodes: ENOUGH_OPCODES,
        ..Limits::default()
    };
    for look in LOOKS {
        let size = look.min(input.len());
        let bytes = bytes_at(input, 0, size)?;
        let program = run(&bytes, &limits);
        let more = !program.complete && breaks_by(&program, &Oddity::Truncated);
        if more && size < input.len() && look != LOOKS[2] {
            // What is known of a declared one is not changed by its other end, unless it may be torch's number.
            if declared && program.end > 64 {
                return Ok(Some(Format::Pickle));
            }
            continue;
        }
        let in_doubt = more && size < input.len() && goes_on(&bytes, &program, input.len());
        let rest = bytes.get(program.end..).unwrap_or_default();
        let whole = size == input.len();
        if is_torch_number(&program) {
            return Ok(Some(Format::TorchLegacy));
        }
        let pickle = declared || in_doubt || is_pickle(&program, rest, whole);
        return Ok(pickle.then_some(Format::Pickle));
    }
    Ok(None)
}

fn is_pickle(program: &Program, rest: &[u8], whole: bool) -> bool {
    if changes_a_name(program) {
        return true;
    }
    if !program.complete {
        // A text may have a line longer than any name; no text has so many opcodes.
        let limits = |oddity: &Oddity| {
            matches!(
                oddity,
                Oddity::Limit {
                    what: "opcodes",
                    ..
                }
            )
        };
        return program
            .anomalies
            .iter()
            .any(|anomaly| limits(&anomaly.oddity));
    }
    let blank = rest
        .iter()
        .all(|byte| matches!(byte, 0 | b'\n' | b'\r' | b' '));
    (blank && whole) || matches!(rest, [0x80, 0..=5, ..])
}

/// Whether the value that the machine broke at, for want of bytes, can go on to beyond them: a long text, or one whose length
/// the input has. No name or number is as long.
fn goes_on(bytes: &[u8], program: &Program, length: u64) -> bool {
    let left = length.saturating_sub(program.end as u64);
    let size = |number: Option<u64>| number.is_some_and(|number| number < left);
    let rest = bytes.get(program.end..).unwrap_or_default();
    match rest {
        [b'V', ..] | [b'S', b'\'' | b'"', ..] => true,
        [b'X' | b'B' | b'T' | 0x8b, ..] => size(u32_at(rest, 1).map(u64::from)),
        [0x8d | 0x8e | 0x96, ..] => size(u64_at(rest, 1)),
        _ => false,
    }
}

fn breaks_by(program: &Program, oddity: &Oddity) -> bool {
    let last = program.anomalies.last();
    last.is_some_and(|anomaly| anomaly.oddity == *oddity)
}

/// Whether it would call, build, or put something into what has a name that Python could look up.
fn changes_a_name(program: &Program) -> bool {
    // After very many names the machine keeps no more than the first bytes of each.
    let short = program
        .anomalies
        .iter()
        .any(|anomaly| matches!(anomaly.oddity, Oddity::Limit { what, .. } if what == NAMES));
    program.effects.iter().any(|effect| {
        let target = match effect.deed {
            Deed::Call(id) => match program.value(id) {
                Value::Call(call) => call.callable,
                _ => id,
            },
            Deed::Build { target, .. } | Deed::SetItems(target) | Deed::Extend(target) => target,
            _ => return false,
        };
        match program.value(target) {
            Value::Global(global) => is_nameable(global, short),
            // What was called is judged where it is called.
            _ => false,
        }
    })
}

/// A name that the machine cut is taken without its last part, of which nobody knows what it is; `short` if it cuts early.
fn is_nameable(global: &Global, short: bool) -> bool {
    let limit = if short { SHORT_NAME } else { MAX_NAME };
    let known = |name: &str| {
        let whole = match name.rsplit_once('.') {
            // It is cut where a character ends.
            Some((front, _)) if name.len() > limit - 4 => front,
            _ => name,
        };
        whole.split('.').all(is_identifier)
    };
    known(&global.module) && known(&global.name)
}

fn is_identifier(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with(|first: char| first.is_ascii_digit())
        && part.chars().all(|c| c == '_' || c.is_alphanumeric())
}

fn is_torch_number(program: &Program) -> bool {
    let root = program.root.filter(|_| program.complete);
    let Some(Value::Big(bytes)) = root.map(|root| program.value(root)) else {
        return false;
    };
    let rest = bytes.strip_prefix(&TORCH_MAGIC);
    rest.is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}
