//! Names and texts that follow from Python source by itself, however they are spelt.

use std::cell::Cell;
use std::collections::HashMap;

use formats::python::{Expr, Kind};

/// Calls of each other that following a name may take.
const MAX_DEPTH: usize = 12;
/// Characters of a text that is put together.
const MAX_TEXT: usize = 1 << 16;

/// To what a name was bound, the last time that it was.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound<'m> {
    /// A module, or something out of one.
    Path(&'m str, Option<&'m str>),
    /// The value of an expression.
    Value(&'m Expr),
    /// A function or class of this file.
    Own,
}

/// Names of a file. Scopes are not told apart: a name means whatever it was bound to last, which errs to the side of
/// knowing.
#[derive(Default)]
pub(super) struct Names<'m> {
    pub(super) bound: HashMap<&'m str, Bound<'m>>,
    /// Modules of which everything was imported.
    pub(super) stars: Vec<&'m str>,
    /// Steps that were taken, for one question and for all.
    pub(super) steps: Steps,
}

/// Steps of following names. Names that refer to each other many times over would take forever.
#[derive(Default)]
pub(super) struct Steps {
    question: Cell<u32>,
    all: Cell<u32>,
}

impl Steps {
    const QUESTION: u32 = 20_000;
    const ALL: u32 = 4_000_000;

    /// A new question.
    pub(super) fn begin(&self) {
        self.question.set(0);
    }

    /// Whether a step that costs this much may be taken.
    pub(super) fn take(&self, cost: usize) -> bool {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        self.question.set(self.question.get().saturating_add(cost));
        self.all.set(self.all.get().saturating_add(cost));
        self.question.get() <= Self::QUESTION && !self.are_spent()
    }

    /// Whether names are no longer followed.
    pub(super) fn are_spent(&self) -> bool {
        self.all.get() > Self::ALL
    }
}

/// Builtins that lead somewhere.
const BUILTINS: [&str; 18] = [
    "exec",
    "eval",
    "compile",
    "__import__",
    "getattr",
    "setattr",
    "delattr",
    "open",
    "globals",
    "locals",
    "vars",
    "chr",
    "bytes",
    "bytearray",
    "execfile",
    "input",
    "__pyarmor__",
    "type",
];

impl<'m> Names<'m> {
    /// The full name of what an expression gives, calls written `f()`.
    pub(super) fn path(&self, expr: &'m Expr) -> Option<String> {
        self.steps.begin();
        self.path_at(expr, 0)
    }

    fn path_at(&self, expr: &'m Expr, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH || !self.steps.take(1) {
            return None;
        }
        let deeper = depth + 1;
        let path = match &expr.kind {
            Kind::Name(name) => self.name(name, deeper)?,
            Kind::Attribute(base, name) => format!("{}.{name}", self.path_at(base, deeper)?),
            Kind::Item(base, key) => {
                let base = self.path_at(base, deeper)?;
                let key = self.text_at(key, deeper)?;
                match base.as_str() {
                    "sys.modules" => key,
                    "builtins.globals()" | "builtins.locals()" | "builtins.vars()" => {
                        self.name(&key, deeper).unwrap_or(format!("builtins.{key}"))
                    }
                    _ => format!("{}.{key}", base.strip_suffix(".__dict__").unwrap_or(&base)),
                }
            }
            Kind::Call(called, arguments) => self.called(called, arguments, deeper)?,
            Kind::Either(items) => items.iter().find_map(|item| self.path_at(item, deeper))?,
            _ => return None,
        };
        // `builtins.os` and the like come of a dict that holds everything.
        let path = path.replace(".__dict__.", ".");
        (path.len() < 400).then_some(path)
    }

    fn name(&self, name: &str, depth: usize) -> Option<String> {
        match self.bound.get(name) {
            Some(Bound::Path(module, Some(name))) => Some(format!("{module}.{name}")),
            Some(Bound::Path(module, None)) => Some((*module).to_owned()),
            Some(Bound::Value(value)) => {
                let refers = matches!(&value.kind, Kind::Name(same) if same == name);
                if refers {
                    None
                } else {
                    self.path_at(value, depth)
                }
            }
            Some(Bound::Own) => None,
            None if name == "__builtins__" => Some("builtins".to_owned()),
            None if BUILTINS.contains(&name) => Some(format!("builtins.{name}")),
            None => self.stars.iter().find_map(|module| {
                let path = format!("{module}.{name}");
                super::effects::effect(&path).map(|_| path)
            }),
        }
    }

    fn called(
        &self,
        called: &'m Expr,
        arguments: &'m [(Option<String>, Expr)],
        depth: usize,
    ) -> Option<String> {
        let path = self.path_at(called, depth)?;
        let argument = |index: usize| arguments.get(index).map(|(_, value)| value);
        let text = |index: usize| argument(index).and_then(|value| self.text_at(value, depth));
        let known = match path.as_str() {
            "builtins.__import__" | "importlib.import_module" | "importlib.__import__" => text(0),
            "pydoc.locate"
            | "pkgutil.resolve_name"
            | "hydra.utils.get_method"
            | "hydra.utils.get_class" => text(0).map(|path| path.replace(':', ".")),
            "builtins.getattr" => {
                let base = argument(0).and_then(|base| self.path_at(base, depth));
                base.zip(text(1))
                    .map(|(base, name)| format!("{base}.{name}"))
            }
            "builtins.vars" => argument(0).and_then(|base| self.path_at(base, depth)),
            "functools.partial" => argument(0).and_then(|base| self.path_at(base, depth)),
            _ => None,
        };
        if let Some(known) = known {
            return Some(known);
        }
        // `attrgetter('system')(os)`.
        if let Kind::Call(getter, names) = &called.kind {
            let getter = self.path_at(getter, depth)?;
            if getter.ends_with("operator.attrgetter") {
                let name = names
                    .first()
                    .and_then(|(_, name)| self.text_at(name, depth))?;
                let base = argument(0).and_then(|base| self.path_at(base, depth))?;
                return Some(format!("{base}.{name}"));
            }
        }
        Some(format!("{path}()"))
    }

    /// The text that an expression gives, if it follows from the file.
    pub(super) fn text(&self, expr: &'m Expr) -> Option<String> {
        self.steps.begin();
        self.text_at(expr, 0)
    }

    fn text_at(&self, expr: &'m Expr, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH || !self.steps.take(1) {
            return None;
        }
        let deeper = depth + 1;
        let text = match &expr.kind {
            Kind::Text(text) => text.clone(),
            Kind::Bytes(bytes) => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Kind::Name(name) => match self.bound.get(name.as_str())? {
                Bound::Value(value) => self.text_at(value, deeper)?,
                _ => return None,
            },
            Kind::Binary("+", left, right) => {
                self.text_at(left, deeper)? + &self.text_at(right, deeper)?
            }
            Kind::Format(parts) => {
                let parts: Option<Vec<String>> = parts
                    .iter()
                    .map(|part| self.text_at(part, deeper))
                    .collect();
                parts?.concat()
            }
            Kind::Slice(base, [None, None, Some(step)]) => {
                let text = self.text_at(base, deeper)?;
                let backwards = matches!(step.kind, Kind::Int(-1));
                backwards.then(|| text.chars().rev().collect())?
            }
            Kind::Call(called, arguments) => self.text_of_call(called, arguments, deeper)?,
            Kind::Either(items) => items.iter().find_map(|item| self.text_at(item, deeper))?,
            _ => return None,
        };
        let affordable = self.steps.take(text.len() / 64);
        (affordable && text.len() <= MAX_TEXT).then_some(text)
    }

    fn text_of_call(
        &self,
        called: &'m Expr,
        arguments: &'m [(Option<String>, Expr)],
        depth: usize,
    ) -> Option<String> {
        let first = arguments.first().map(|(_, value)| value);
        let text = |index: usize| {
            let argument = arguments.get(index);
            argument.and_then(|(_, value)| self.text_at(value, depth))
        };
        if let Some(path) = self.path_at(called, depth) {
            let decoded = match path.as_str() {
                "builtins.chr" => match first?.kind {
                    Kind::Int(code) => char::from_u32(u32::try_from(code).ok()?)?.to_string(),
                    _ => return None,
                },
                "builtins.bytes" | "builtins.bytearray" => match &first?.kind {
                    Kind::List(items) => codes(items)?,
                    _ => text(0)?,
                },
                "builtins.bytes.fromhex" | "binascii.unhexlify" | "binascii.a2b_hex" => {
                    hex(&text(0)?)?
                }
                path if path.starts_with("base64.") && path.ends_with("decode") => {
                    base64(&text(0)?)?
                }
                "binascii.a2b_base64" => base64(&text(0)?)?,
                "codecs.decode" if text(1).is_some_and(|name| name.starts_with("rot")) => {
                    rot13(&text(0)?)
                }
                _ => return None,
            };
            return Some(decoded);
        }
        let Kind::Attribute(base, method) = &called.kind else {
            return None;
        };
        if method == "join" {
            let between = self.text_at(base, depth)?;
            return match &first?.kind {
                Kind::List(items) => {
                    let items: Option<Vec<String>> =
                        items.iter().map(|item| self.text_at(item, depth)).collect();
                    Some(items?.join(&between))
                }
                // `''.join(chr(c) for c in [104, 105])`, `''.join(map(chr, […]))`.
                Kind::Comprehension { over, item, .. } => self.mapped(item, over),
                Kind::Call(_, arguments) => match &arguments.get(1)?.1.kind {
                    Kind::List(items) => codes(items),
                    _ => None,
                },
                _ => None,
            };
        }
        let base = self.text_at(base, depth)?;
        Some(match method.as_str() {
            "decode" | "encode" | "strip" => base,
            "lower" => base.to_lowercase(),
            "upper" => base.to_uppercase(),
            "replace" => base.replace(&text(0)?, &text(1)?),
            _ => return None,
        })
    }

    fn mapped(&self, item: &'m Expr, over: &'m Expr) -> Option<String> {
        let Kind::Call(called, _) = &item.kind else {
            return None;
        };
        match (&over.kind, self.path(called)?.as_str()) {
            (Kind::List(items), "builtins.chr") => codes(items),
            _ => None,
        }
    }
}

fn codes(items: &[Expr]) -> Option<String> {
    let code = |item: &Expr| match item.kind {
        Kind::Int(code) => char::from_u32(u32::try_from(code).ok()?),
        _ => None,
    };
    items.iter().map(code).collect()
}

fn hex(text: &str) -> Option<String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs
        .map(|pair| char::from_u32(pair.iter().fold(0, |code, digit| code * 16 + digit)))
        .collect()
}

fn base64(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut bits, mut count) = (0_u32, 0);
    for found in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match found {
            b'A'..=b'Z' => found - b'A',
            b'a'..=b'z' => found - b'a' + 26,
            b'0'..=b'9' => found - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(char::from_u32(bits >> count & 0xff)?);
        }
    }
    Some(out)
}

fn rot13(text: &str) -> String {
    let turn = |c: char, base: u8| {
        let place = (u32::from(c) - u32::from(base) + 13) % 26 + u32::from(base);
        char::from_u32(place).unwrap_or(c)
    };
    text.chars()
        .map(|c| match c {
            'a'..='z' => turn(c, b'a'),
            'A'..='Z' => turn(c, b'A'),
            _ => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_undone() {
        assert_eq!(base64("aW1wb3J0IG9z").as_deref(), Some("import os"));
        assert_eq!(base64("b3M=").as_deref(), Some("os"));
        assert_eq!(hex("6f 73").as_deref(), Some("os"));
        assert_eq!(rot13("vzcbeg bf"), "import os");
        assert_eq!(base64("*"), None);
    }
}
