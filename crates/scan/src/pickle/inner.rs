//! Programs within programs: bytes that a call would load, and bytes that merely look like a program.

use std::ops::Range;

use domain::scan::{GapKind, Role, Rule, Weight};
use formats::ReadAt;
use formats::pickle::{Id, Limits, Program, Value, run};

use formats::sniff::{Format, sniff};

use super::judge::{Judge, Nature, Verdict};
use super::names::Name;
use super::{Origin, examine};
use crate::Slice;
use crate::rules::Makes;

/// Fewer bytes are no program that does anything.
const MIN_PROGRAM: usize = 12;
/// Bytes that are looked at to see whether data are a program.
const MAX_PROGRAM: usize = 1 << 20;
/// Programs in data that are looked for in one pickle.
const MAX_PROGRAMS: usize = 64;

impl Judge<'_, '_, '_> {
    /// A call that loads its first argument: literal bytes are examined in turn, anything else is not known.
    pub(super) fn inner(
        &mut self,
        args: &[Id],
        name: &Name,
        offset: usize,
    ) -> (Option<Verdict>, Nature) {
        let Some(id) = args.first() else {
            return (None, Nature::Foreign);
        };
        let member = format!("bytes at {}", self.place(offset).offset.unwrap_or_default());
        // Long bytes are not in memory twice: they are read where they lie.
        if let (Value::Bytes(_), Some(range)) = (self.program.value(*id), self.program.whole(*id)) {
            let window = Slice::new(self.input, range.start, range.end - range.start);
            self.examine_inner(&member, &window);
        } else if let Some(bytes) = constant_bytes(self.program, *id) {
            self.examine_inner(&member, &bytes.as_slice());
        } else if let Some(range) = long_text(self.program, *id) {
            self.examine_long(&member, range);
        } else {
            let why = format!(
                "`{}` loads data that are put together while loading.",
                name.full()
            );
            let verdict = Verdict::new(Rule::LoadsMore, Weight::Dangerous, why);
            return (Some(verdict), Nature::Foreign);
        }
        (None, Nature::Made(Makes::default()))
    }

    /// Bytes that protocols before 3 write as a text of as many characters, too long to have been kept.
    fn examine_long(&mut self, member: &str, range: Range<u64>) {
        let size = range.end - range.start;
        if !self.examiner.hold(size) {
            let what = "bytes that are written as a text are too long";
            return self
                .examiner
                .gap(GapKind::Limit, self.examiner.at(range.start), what);
        }
        if let Some(bytes) = written_bytes(self.input, &range) {
            self.examine_inner(member, &bytes.as_slice());
        } else {
            let what = "bytes that are written as a text cannot be read";
            let place = self.examiner.at(range.start);
            self.examiner.gap(GapKind::NotRead, place, what);
        }
        self.examiner.release(size);
    }

    fn examine_inner(&mut self, member: &str, bytes: &dyn ReadAt) {
        match sniff(bytes) {
            Ok(Format::Pickle) | Err(_) => self.examiner.inside(member, |examiner| {
                examine(examiner, bytes, Origin::TorchLegacy);
            }),
            Ok(_) => self.examiner.member(member, bytes),
        }
    }

    /// Bytes in the data that are a program of their own and do more than hold data. Nothing loads them here.
    pub(super) fn hidden_programs(&mut self) {
        let program = self.program;
        let limits = Limits {
            opcodes: 100_000,
            values: 50_000,
            memo: 50_000,
            records: 10_000,
            ..Limits::default()
        };
        let candidates = program.values().filter_map(|value| match value {
            Value::Bytes(bytes) if is_like_a_program(bytes) => Some(bytes),
            _ => None,
        });
        for bytes in candidates.take(MAX_PROGRAMS) {
            let inner = run(bytes, &limits);
            let unlisted = inner.imports().into_iter().find_map(|global| {
                let name = Name::new(self.rules, &global.module, &global.name);
                self.unlisted(&name, Role::Call, None).map(|_| name.full())
            });
            if let Some(name) = unlisted.filter(|_| inner.complete) {
                let why = format!(
                    "Bytes in the data are a pickle that needs `{name}`. Nothing in this file loads it."
                );
                let place = self.place(0);
                self.examiner
                    .found(Rule::Hidden, Weight::Note, place, "", why);
            }
        }
    }
}

fn is_like_a_program(bytes: &[u8]) -> bool {
    (MIN_PROGRAM..MAX_PROGRAM).contains(&bytes.len()) && matches!(bytes, [0x80, 2..=5, .., b'.'])
}

/// Where the text lies that a call of `_codecs.encode` turns into bytes, if it was too long to be kept.
fn long_text(program: &Program, id: Id) -> Option<Range<u64>> {
    let Value::Call(call) = program.value(id) else {
        return None;
    };
    let callable = program.global(call.callable)?;
    let text = *program.items(call.args)?.first()?;
    let encodes = callable.is("_codecs", "encode") && program.text(text).is_some();
    program.whole(text).filter(|_| encodes)
}

/// The characters of a text as bytes. A line of protocol 0 has some of them as `\uXXXX`.
fn written_bytes(input: &dyn ReadAt, range: &Range<u64>) -> Option<Vec<u8>> {
    let mut opcode = [0];
    input
        .read_at(range.start.checked_sub(1)?, &mut opcode)
        .ok()?;
    let mut raw = vec![0; usize::try_from(range.end - range.start).ok()?];
    input.read_at(range.start, &mut raw).ok()?;
    if opcode != *b"V" {
        let text = String::from_utf8(raw).ok()?;
        return text
            .chars()
            .map(|c| u8::try_from(u32::from(c)).ok())
            .collect();
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_slice();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.strip_prefix(b"u").and_then(|tail| tail.get(..4));
        let code =
            digits.and_then(|digits| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        if let (b'\\', Some(code)) = (first, code) {
            bytes.push(u8::try_from(code).ok()?);
            rest = tail.get(5..)?;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(bytes)
}

/// The bytes that a value will be, if that can be said without executing anything.
fn constant_bytes(program: &Program, id: Id) -> Option<Vec<u8>> {
    match program.value(id) {
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::Call(call) => {
            let callable = program.global(call.callable)?;
            let args = program.items(call.args)?;
            match (callable.module.as_str(), callable.name.as_str()) {
                ("_codecs", "encode") => {
                    let text = *args.first()?;
                    if program.whole(text).is_some() {
                        return None;
                    }
                    let text = program.text(text)?;
                    text.chars()
                        .map(|c| u8::try_from(u32::from(c)).ok())
                        .collect()
                }
                ("builtins" | "__builtin__", "bytes" | "bytearray") if args.is_empty() => {
                    Some(Vec::new())
                }
                ("builtins" | "__builtin__", "bytes" | "bytearray") => {
                    match program.value(*args.first()?) {
                        Value::Bytes(bytes) => Some(bytes.clone()),
                        _ => None,
                    }
                }
                _ => None,
            }
        }
        _ => None,
    }
}
