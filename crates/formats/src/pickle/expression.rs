//! Values and calls as source that looks like Python: what a person reads to see what a pickle would do.
//!
//! The text is bounded by a budget, so that a value that holds itself a million times is one line. What is met twice has a
//! name (`v12`, by its id), given where it is met first. It is for reading alone: nothing is decided on it, and it escapes
//! every character that is not plain ASCII, because what it shows was written by somebody else.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::arena::Program;
use super::surrogate::codes;
use super::value::{Call, Global, How, Id, Opaque, Value};

/// How deep values are written out.
const MAX_DEPTH: usize = 24;
/// Characters of one text that are written out.
const MAX_TEXT: usize = 240;
/// Values that are looked at to find out which are met twice.
const MAX_LOOK: usize = 4096;

/// The value `id` in at most about `budget` characters.
pub fn expression(program: &Program, id: Id, budget: usize) -> String {
    let mut writer = Writer::new(program, budget);
    writer.find_shared(id);
    writer.value(id, 0);
    writer.text
}

/// Writes values until the budget is spent.
pub(super) struct Writer<'a> {
    program: &'a Program,
    budget: usize,
    pub(super) text: String,
    /// Values that have a name, and whether it was given.
    pub(super) named: HashMap<Id, bool>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(program: &'a Program, budget: usize) -> Self {
        Self {
            program,
            budget,
            text: String::new(),
            named: HashMap::new(),
        }
    }

    fn full(&self) -> bool {
        self.text.len() >= self.budget
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Finds what is met more than once from `root` on.
    fn find_shared(&mut self, root: Id) {
        let (mut open, mut seen) = (vec![root], HashSet::new());
        while let Some(id) = open.pop() {
            if seen.len() > MAX_LOOK {
                return;
            }
            let value = self.program.value(id);
            let compound = match value {
                Value::Tuple(items) => !items.is_empty(),
                Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::Call(_) => true,
                _ => false,
            };
            if !compound && !matches!(value, Value::Persistent(_)) {
                continue;
            }
            if seen.insert(id) {
                let mut few = MAX_LOOK;
                super::collect::children(value, |child| {
                    if few > 0 {
                        few -= 1;
                        open.push(child);
                    }
                });
            } else if compound {
                self.named.insert(id, false);
            }
        }
    }

    /// Writes a value, or its name if that was given before.
    pub(super) fn value(&mut self, id: Id, depth: usize) {
        if self.full() || depth > MAX_DEPTH {
            return self.push("…");
        }
        let walrus = match self.named.get_mut(&id) {
            Some(true) => return self.name(id),
            Some(given) => {
                *given = true;
                true
            }
            None => false,
        };
        if walrus {
            self.push("(");
            self.name(id);
            self.push(" := ");
        }
        self.body(id, depth);
        if walrus {
            self.push(")");
        }
    }

    pub(super) fn name(&mut self, id: Id) {
        let _ = write!(self.text, "v{}", id.index());
    }

    /// Writes what a value is.
    pub(super) fn body(&mut self, id: Id, depth: usize) {
        let program = self.program;
        match program.value(id) {
            Value::None => self.push("None"),
            Value::Bool(value) => self.push(if *value { "True" } else { "False" }),
            Value::Int(value) => self.push(&value.to_string()),
            Value::Big(bytes) => self.big(bytes),
            Value::Float(value) => self.float(*value),
            Value::Text(text) => {
                self.push(&literal(codes(text), MAX_TEXT));
                self.more(id, codes(text).count());
            }
            Value::Bytes(bytes) => {
                let mutable = program.is_bytearray(id);
                let head = literal(bytes.iter().copied().map(u32::from), MAX_TEXT);
                self.push(if mutable { "bytearray(b" } else { "b" });
                self.push(&head);
                self.more(id, bytes.len());
                self.push(if mutable { ")" } else { "" });
            }
            Value::List(items) => self.items(id, "[", items, "]", depth),
            Value::Tuple(items) => {
                let close = if items.len() == 1 { ",)" } else { ")" };
                self.items(id, "(", items, close, depth);
            }
            Value::Set(items) if program.is_frozen(id) => {
                self.items(id, "frozenset({", items, "})", depth);
            }
            Value::Set(items) if items.is_empty() => self.push("set()"),
            Value::Set(items) => self.items(id, "{", items, "}", depth),
            Value::Dict(pairs) => self.pairs(id, pairs, depth),
            Value::Global(global) => self.global(global),
            Value::Call(call) => self.call(id, call, depth),
            Value::Persistent(name) => self.persistent(*name, depth),
            Value::Opaque(Opaque::Extension(code)) => {
                let _ = write!(self.text, "<extension {code}>");
            }
            Value::Opaque(Opaque::OutOfBand) => self.push("<buffer>"),
            Value::Opaque(Opaque::ComputedGlobal) => self.push("<computed import>"),
            Value::Opaque(Opaque::Elided) => self.push("<not kept>"),
        }
    }

    /// How much of a text or bytes is not written out, if it is not all.
    fn more(&mut self, id: Id, kept: usize) {
        let whole = self.program.whole(id);
        let size = whole.map_or(kept as u64, |range| range.end - range.start);
        if size > kept.min(MAX_TEXT) as u64 {
            let _ = write!(self.text, "…<{size}>");
        }
    }

    fn big(&mut self, bytes: &[u8]) {
        const SHOWN: usize = 16;
        let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let _ = write!(
            self.text,
            "<{}integer of {} bits, 0x",
            if negative { "negative " } else { "" },
            bytes.len() * 8
        );
        for byte in bytes.iter().rev().take(SHOWN) {
            let _ = write!(self.text, "{byte:02x}");
        }
        self.push(if bytes.len() > SHOWN { "…>" } else { ">" });
    }

    fn float(&mut self, value: f64) {
        if value.is_finite() {
            let _ = write!(self.text, "{value:?}");
        } else {
            let name = if value.is_nan() {
                "nan"
            } else if value > 0.0 {
                "inf"
            } else {
                "-inf"
            };
            let _ = write!(self.text, "float('{name}')");
        }
    }

    fn items(&mut self, id: Id, open: &str, items: &[Id], close: &str, depth: usize) {
        self.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            if self.full() {
                let _ = write!(self.text, "… {} more", items.len() - index);
                break;
            }
            self.value(*item, depth + 1);
        }
        self.not_kept(id);
        self.push(close);
    }

    fn pairs(&mut self, id: Id, pairs: &[(Id, Id)], depth: usize) {
        self.push("{");
        for (index, (key, value)) in pairs.iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            if self.full() {
                let _ = write!(self.text, "… {} more", pairs.len() - index);
                break;
            }
            self.value(*key, depth + 1);
            self.push(": ");
            self.value(*value, depth + 1);
        }
        self.not_kept(id);
        self.push("}");
    }

    fn not_kept(&mut self, id: Id) {
        let count = self.program.elided(id);
        if count > 0 {
            let _ = write!(self.text, " … {count} not kept");
        }
    }

    fn global(&mut self, global: &Global) {
        let is_name = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && part
                    .chars()
                    .all(|it| it.is_ascii_alphanumeric() || it == '_')
        };
        let plain = |text: &str| text.len() <= MAX_TEXT && text.split('.').all(is_name);
        if plain(&global.module) && plain(&global.name) {
            let _ = write!(self.text, "{}.{}", global.module, global.name);
        } else {
            let module = literal(codes(&global.module), MAX_TEXT);
            let name = literal(codes(&global.name), MAX_TEXT);
            let _ = write!(self.text, "getattr(import_module({module}), {name})");
        }
    }

    /// A call, and all that is done to its result.
    fn call(&mut self, id: Id, call: &Call, depth: usize) {
        self.made(call, depth);
        for state in &call.states {
            if self.full() {
                return self.push("…");
            }
            self.state(*state, depth);
        }
        if !call.entries.is_empty() {
            self.push(".update(");
            self.pairs(id, &call.entries, depth);
            self.push(")");
        }
        if !call.appended.is_empty() {
            self.push(".extend(");
            self.items(id, "[", &call.appended, "]", depth);
            self.push(")");
        }
    }

    /// The call alone.
    pub(super) fn made(&mut self, call: &Call, depth: usize) {
        self.value(call.callable, depth + 1);
        if call.how == How::New {
            self.push(".__new__");
        }
        self.push("(");
        let mut written = call.how == How::New;
        if written {
            self.value(call.callable, depth + 1);
        }
        if let Value::Tuple(items) = self.program.value(call.args) {
            for (index, item) in items.iter().enumerate() {
                self.push(if written { ", " } else { "" });
                written = true;
                if self.full() {
                    let _ = write!(self.text, "… {} more", items.len() - index);
                    break;
                }
                self.value(*item, depth + 1);
            }
            self.not_kept(call.args);
        } else {
            self.push(if written { ", *" } else { "*" });
            written = true;
            self.value(call.args, depth + 1);
        }
        if let Some(keywords) = call.keywords {
            self.push(if written { ", **" } else { "**" });
            self.value(keywords, depth + 1);
        }
        self.push(")");
    }

    pub(super) fn pairs_of(&mut self, call: &Call) {
        self.pairs(call.callable, &call.entries, 0);
    }

    pub(super) fn items_of(&mut self, call: &Call) {
        self.items(call.callable, "[", &call.appended, "]", 0);
    }

    /// What BUILD does with a state.
    pub(super) fn state(&mut self, state: Id, depth: usize) {
        let attributes = match self.program.value(state) {
            Value::Dict(_) => true,
            Value::Tuple(items) => items.len() == 2,
            _ => false,
        };
        // Which of the two, the class decides, and no class is looked at here.
        self.push(if attributes {
            ".__dict__.update("
        } else {
            ".__setstate__("
        });
        self.value(state, depth + 1);
        self.push(")");
    }

    fn persistent(&mut self, name: Id, depth: usize) {
        if let Some([kind, class, key, _, count, ..]) = self.program.items(name)
            && self.program.text(*kind) == Some("storage")
            && let (Some(class), Some(key), Value::Int(count)) = (
                self.program.global(*class),
                self.program.text(*key),
                self.program.value(*count),
            )
        {
            let key = literal(codes(key), MAX_TEXT);
            let _ = write!(self.text, "<storage {key} ");
            self.global(class);
            let _ = write!(self.text, " [{count}]>");
            return;
        }
        self.push("persistent_load(");
        self.value(name, depth + 1);
        self.push(")");
    }
}

/// A literal as Python's `ascii` writes it, of at most `most` characters.
pub(super) fn literal(codes: impl Iterator<Item = u32>, most: usize) -> String {
    let codes: Vec<u32> = codes.take(most).collect();
    let quote = if codes.contains(&u32::from('\'')) && !codes.contains(&u32::from('"')) {
        '"'
    } else {
        '\''
    };
    let mut text = String::with_capacity(codes.len() + 2);
    text.push(quote);
    for code in codes {
        let _ = match char::from_u32(code) {
            Some('\n') => text.write_str("\\n"),
            Some('\r') => text.write_str("\\r"),
            Some('\t') => text.write_str("\\t"),
            Some('\\') => text.write_str("\\\\"),
            Some(plain) if plain == quote => write!(text, "\\{plain}"),
            Some(plain @ ' '..='~') => text.write_char(plain),
            _ if code < 0x100 => write!(text, "\\x{code:02x}"),
            _ if code < 0x1_0000 => write!(text, "\\u{code:04x}"),
            _ => write!(text, "\\U{code:08x}"),
        };
    }
    text.push(quote);
    text
}
