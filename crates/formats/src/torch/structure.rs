//! A torch checkpoint as plain data: what is not a tensor becomes JSON, tensors become references by name.
//!
//! This is for content that was judged harmless before: containers, numbers, texts, bytes and the few value types that
//! torch itself writes. Anything else is refused with its place, because leaving it out would change what the checkpoint
//! says. What JSON cannot say is an object with one key that starts with `$`; a text key of the file that starts with `$`
//! forces the long form `{"$dict": [[key, value], …]}`, so that the two can never be mixed up.

use serde_json::{Map, Value as Json, json};

use crate::pickle::{Call, Global, Id, Program, Value};

/// How deep containers are followed.
const MAX_DEPTH: usize = 64;
/// Values that are written; a value is written once for every place where it stands.
const MAX_VALUES: usize = 4_000_000;
/// Bytes of texts and bytes that are written, for the same reason.
const MAX_BYTES: usize = 64 << 20;

/// Why something is not plain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPlain {
    /// An object of another kind.
    #[error("{name}: {what} is no plain value")]
    Object {
        /// Dotted name.
        name: String,
        /// What it is.
        what: String,
    },
    /// Nested too deep.
    #[error("{0}: nested deeper than {MAX_DEPTH} levels")]
    TooDeep(String),
    /// Too much.
    #[error("the structure has more than {MAX_VALUES} values or {MAX_BYTES} bytes of text")]
    TooLarge,
}

/// The value `root` of `program` as JSON. `tensor` gives the JSON of what it takes for a tensor, by its dotted name and id,
/// and `None` for anything else.
pub(super) fn structure(
    program: &Program,
    root: Id,
    tensor: &mut dyn FnMut(&str, Id) -> Option<Json>,
) -> Result<Json, NotPlain> {
    let mut walk = Walk {
        program,
        tensor,
        name: String::new(),
        values: 0,
        bytes: 0,
    };
    walk.value(root, 0)
}

struct Walk<'a, 'f> {
    program: &'a Program,
    tensor: &'f mut dyn FnMut(&str, Id) -> Option<Json>,
    name: String,
    values: usize,
    bytes: usize,
}

impl Walk<'_, '_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<Json, NotPlain> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(NotPlain::TooLarge);
        }
        if depth > MAX_DEPTH {
            return Err(NotPlain::TooDeep(self.name.clone()));
        }
        if let Some(json) = (self.tensor)(&self.name, id) {
            return Ok(json);
        }
        match self.program.value(id) {
            Value::None => Ok(Json::Null),
            Value::Bool(value) => Ok(json!(value)),
            Value::Int(value) => Ok(json!(value)),
            Value::Float(value) if value.is_finite() => Ok(json!(value)),
            Value::Float(value) => Ok(json!({ "$float": value.to_string() })),
            Value::Big(bytes) => self.hex("$int", bytes),
            Value::Bytes(bytes) => self.hex("$bytes", bytes),
            Value::Text(text) => {
                self.spend(text.len())?;
                Ok(json!(text))
            }
            Value::List(items) => self.items(items, depth).map(Json::Array),
            Value::Tuple(items) => Ok(json!({ "$tuple": self.items(items, depth)? })),
            Value::Set(items) => Ok(json!({ "$set": self.items(items, depth)? })),
            Value::Dict(pairs) => self.dict(pairs, depth),
            Value::Global(global) if is_constant(global) => {
                Ok(json!({ "$name": global.to_string() }))
            }
            Value::Global(global) => Err(self.refuse(&global.to_string())),
            Value::Call(call) => self.call(call, depth),
            Value::Persistent(_) => Err(self.refuse("a storage without a tensor")),
            Value::Opaque(_) => Err(self.refuse("an unknown object")),
        }
    }

    fn call(&mut self, call: &Call, depth: usize) -> Result<Json, NotPlain> {
        let Some(global) = self.program.global(call.callable) else {
            return Err(self.refuse("a computed object"));
        };
        let args = self.program.items(call.args).unwrap_or_default();
        match (global.module.as_str(), global.name.as_str()) {
            ("collections", "OrderedDict") if args.is_empty() && call.appended.is_empty() => {
                // Its only state is `_metadata`: version numbers of modules.
                self.dict(&call.entries, depth)
            }
            ("torch", "Size") => {
                let sizes = args.first().and_then(|inner| self.program.items(*inner));
                let sizes = sizes.unwrap_or_default();
                Ok(json!({ "$size": self.items(sizes, depth)? }))
            }
            ("torch", "device") => Ok(json!({ "$device": self.items(args, depth)? })),
            ("builtins" | "__builtin__", "set" | "frozenset") => {
                let items = args.first().and_then(|inner| self.program.items(*inner));
                Ok(json!({ "$set": self.items(items.unwrap_or_default(), depth)? }))
            }
            ("builtins" | "__builtin__", "complex") => {
                Ok(json!({ "$complex": self.items(args, depth)? }))
            }
            ("_codecs", "encode") => match self.latin(args) {
                Some(bytes) => self.hex("$bytes", &bytes),
                None => Err(self.refuse("an encoded text")),
            },
            _ => Err(self.refuse(&format!("an object made by {global}"))),
        }
    }

    /// Bytes as protocols before 3 write them: a text of which each character is a byte.
    fn latin(&self, args: &[Id]) -> Option<Vec<u8>> {
        let [text, encoding] = args else { return None };
        let known = self.program.text(*encoding)?;
        matches!(known, "latin1" | "latin-1").then_some(())?;
        let characters = self.program.text(*text)?.chars();
        characters
            .map(|character| u8::try_from(character).ok())
            .collect()
    }

    fn items(&mut self, items: &[Id], depth: usize) -> Result<Vec<Json>, NotPlain> {
        let mut written = Vec::new();
        for (index, item) in items.iter().enumerate() {
            written.push(self.below(&index.to_string(), *item, depth)?);
        }
        Ok(written)
    }

    fn dict(&mut self, pairs: &[(Id, Id)], depth: usize) -> Result<Json, NotPlain> {
        let plain_key = |id: &Id| {
            let text = self.program.text(*id);
            text.filter(|text| !text.starts_with('$'))
        };
        let short = pairs.iter().all(|(key, _)| plain_key(key).is_some());
        let mut object = Map::new();
        let mut list = Vec::new();
        for (key, value) in pairs {
            let name = self.key_name(*key);
            let written = self.below(&name, *value, depth)?;
            if short {
                self.spend(name.len())?;
                // As in Python, of equal keys the last value counts.
                object.insert(name, written);
            } else {
                let key = self.value(*key, depth + 1)?;
                list.push(Json::Array(vec![key, written]));
            }
        }
        Ok(if short {
            Json::Object(object)
        } else {
            json!({ "$dict": list })
        })
    }

    fn key_name(&self, key: Id) -> String {
        match self.program.value(key) {
            Value::Text(text) => text.clone(),
            Value::Int(value) => value.to_string(),
            _ => "?".to_owned(),
        }
    }

    fn below(&mut self, key: &str, id: Id, depth: usize) -> Result<Json, NotPlain> {
        let length = self.name.len();
        if !self.name.is_empty() {
            self.name.push('.');
        }
        self.name.push_str(key);
        let value = self.value(id, depth + 1);
        if value.is_ok() {
            self.name.truncate(length);
        }
        value
    }

    fn hex(&mut self, tag: &str, bytes: &[u8]) -> Result<Json, NotPlain> {
        self.spend(bytes.len().saturating_mul(2))?;
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        Ok(json!({ tag: digits.collect::<String>() }))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), NotPlain> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(NotPlain::TooLarge);
        }
        Ok(())
    }

    fn refuse(&self, what: &str) -> NotPlain {
        NotPlain::Object {
            name: if self.name.is_empty() {
                "the checkpoint".to_owned()
            } else {
                self.name.clone()
            },
            what: what.to_owned(),
        }
    }
}

/// Names that stand for values of torch: element types, layouts and memory formats.
fn is_constant(global: &Global) -> bool {
    global.module == "torch" && is_torch_constant(&global.name)
}

fn is_torch_constant(name: &str) -> bool {
    let layouts = [
        "strided",
        "sparse_coo",
        "sparse_csr",
        "contiguous_format",
        "channels_last",
    ];
    crate::checkpoint::torch_dtype(name).is_some() || layouts.contains(&name)
}
