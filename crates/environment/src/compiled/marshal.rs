//! Python's `marshal` format as byte code files hold it, read into one digest that stands for the meaning of the code.
//!
//! Two readings of the same source by the same compiler are often not the same bytes: which objects are shared, which texts
//! are interned, the order inside a set and the file name differ. So the bytes are read into a tree of digests, each over
//! the kind of an object, its value and the digests of what is in it. Left out are what no execution depends on: the
//! file name (the import system replaces it), the table of lines and columns (compilers can be told to leave columns
//! out), sharing and interning. Everything else counts: instructions, constants, names, flags, tables of exceptions.
//!
//! Nothing here executes or trusts: the file may be made to crash the interpreter's own reader, which is why that one is
//! never given it. `formats::marshal` answers another question (which names does hostile code use, whatever version wrote
//! it) and keeps no values. An unknown kind of object is an error, never a guess.

use std::rc::Rc;

use domain::{Digest, Hasher};

/// The most bytes of byte code that are read.
pub const MAX_CODE_BYTES: usize = 32 * 1024 * 1024;
/// How deep objects may nest.
const MAX_DEPTH: u32 = 400;
/// The most objects of one file.
const MAX_OBJECTS: usize = 4_000_000;
/// The most objects that later ones may point to.
const MAX_REFERENCES: usize = 200_000;
/// The most objects of one file that is told about.
const MAX_SHOWN_OBJECTS: usize = 200_000;
/// The most bytes of a text that are kept for people.
const SHOWN_BYTES: usize = 120;

/// Why bytes are not the byte code of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MarshalError {
    /// They end in the middle.
    #[error("it ends in the middle of an object")]
    Truncated,
    /// A length is negative, or a number is not written as any writer would.
    #[error("a number or length in it is not possible")]
    Number,
    /// No compiler puts this kind of object there.
    #[error("it holds an object of kind {0:?}, which no compiler writes")]
    Kind(char),
    /// It points to an object that is not there, or that is not finished.
    #[error("it points to an object that is not there")]
    Reference,
    /// A bound was reached.
    #[error("it nests too deep or holds too many objects")]
    TooMuch,
    /// The object is no code.
    #[error("it is not a code object")]
    NotCode,
    /// Something follows the code.
    #[error("{0} bytes follow the code")]
    Trailing(usize),
}

/// How code objects are laid out, which the stream itself does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    minor: u8,
}

impl Dialect {
    /// The dialect of `CPython` 3.`minor`; `None` before 3.8, whose header is another one too.
    pub fn of(minor: u8) -> Option<Self> {
        (minor >= 8).then_some(Self { minor })
    }

    /// 3.11 and later keep one list of local names and a table of exceptions.
    fn is_newer(self) -> bool {
        self.minor >= 11
    }

    /// In 3.13 the names of a class's attributes stand in the order of a set of texts, which differs from start to start.
    fn shuffles_attributes(self) -> bool {
        self.minor == 13
    }
}

/// Facts about one code object, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where it stands: `<module>`, `Class.method`, `function.<locals>.inner`, with a number behind a name that was there
    /// before.
    pub place: String,
    /// Digest of its instructions.
    pub instructions: Digest,
    /// Digest of its constants, code objects in them left out.
    pub constants: Digest,
    /// Digest of the names that it looks up.
    pub names: Digest,
    /// Digest of everything else that counts: arguments, flags, local names, exceptions.
    pub rest: Digest,
    /// The constants as people read them, cut.
    pub shown_constants: Vec<String>,
    /// The names as people read them, cut.
    pub shown_names: Vec<String>,
}

/// The digest that stands for the meaning of a code object that fills `bytes`.
pub fn meaning(bytes: &[u8], dialect: Dialect) -> Result<Digest, MarshalError> {
    read(bytes, dialect, false).map(|(digest, _)| digest)
}

/// Facts about each code object in `bytes`, the outermost first. As far as they could be read where they are broken.
pub fn facts(bytes: &[u8], dialect: Dialect) -> Result<Vec<Facts>, MarshalError> {
    read(bytes, dialect, true).map(|(_, facts)| facts)
}

fn read(
    bytes: &[u8],
    dialect: Dialect,
    detail: bool,
) -> Result<(Digest, Vec<Facts>), MarshalError> {
    let mut reader = Reader {
        rest: bytes,
        dialect,
        detail,
        references: Vec::new(),
        objects: 0,
        facts: Vec::new(),
        attributes: digest(b'u', &[b"__static_attributes__"]),
    };
    if bytes.first().map(|tag| tag & !FLAG_REF) != Some(b'c') {
        return Err(MarshalError::NotCode);
    }
    let value = reader.object(0)?;
    if !reader.rest.is_empty() {
        return Err(MarshalError::Trailing(reader.rest.len()));
    }
    Ok((value.digest, reader.facts))
}

const FLAG_REF: u8 = 0x80;

/// One object.
#[derive(Clone)]
struct Value {
    digest: Digest,
    /// Its digest where tuples of texts have no order.
    loose: Option<Digest>,
    /// It is a tuple with the text by which a class body of 3.13 is known.
    of_class: bool,
    /// For people, where they are to see it.
    shown: Option<Rc<Shown>>,
}

enum Shown {
    Text(String),
    Items(Vec<Value>),
    Code,
}

struct Reader<'a> {
    rest: &'a [u8],
    dialect: Dialect,
    detail: bool,
    /// `None` for an object that is not finished: it cannot be in itself.
    references: Vec<Option<Value>>,
    objects: usize,
    facts: Vec<Facts>,
    /// The text by which a class body of 3.13 is known.
    attributes: Digest,
}

type Read<T> = Result<T, MarshalError>;

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(MarshalError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        self.take(1)?
            .first()
            .copied()
            .ok_or(MarshalError::Truncated)
    }

    fn word(&mut self) -> Read<[u8; 4]> {
        let bytes = self.take(4)?;
        bytes.try_into().map_err(|_| MarshalError::Truncated)
    }

    fn length(&mut self) -> Read<usize> {
        let number = i32::from_le_bytes(self.word()?);
        usize::try_from(number).map_err(|_| MarshalError::Number)
    }

    fn object(&mut self, depth: u32) -> Read<Value> {
        self.objects += 1;
        let most = if self.detail {
            MAX_SHOWN_OBJECTS
        } else {
            MAX_OBJECTS
        };
        if depth > MAX_DEPTH || self.objects > most {
            return Err(MarshalError::TooMuch);
        }
        let tag = self.byte()?;
        let slot = self.slot(tag)?;
        let value = match tag & !FLAG_REF {
            kind @ (b'N' | b'T' | b'F' | b'.') => self.plain(kind, &[]),
            b'i' => {
                let number = i32::from_le_bytes(self.word()?);
                self.integer(i64::from(number))
            }
            b'l' => self.long()?,
            b'g' => {
                let bytes = self.take(8)?;
                self.plain(b'g', bytes)
            }
            b'y' => {
                let bytes = self.take(16)?;
                self.plain(b'y', bytes)
            }
            b's' => {
                let length = self.length()?;
                let bytes = self.take(length)?;
                self.plain(b's', bytes)
            }
            kind @ (b'u' | b't' | b'a' | b'A' | b'z' | b'Z') => self.text(kind)?,
            b')' => {
                let count = usize::from(self.byte()?);
                self.tuple(count, depth)?
            }
            b'(' => {
                let count = self.length()?;
                self.tuple(count, depth)?
            }
            b'>' => self.set(depth)?,
            b':' => {
                let parts = self.many(3, depth)?;
                self.joined(b':', &parts)
            }
            b'c' => self.code(depth)?,
            b'r' => return self.reference(),
            kind => return Err(MarshalError::Kind(char::from(kind))),
        };
        if let Some(place) = slot.and_then(|slot| self.references.get_mut(slot)) {
            *place = Some(value.clone());
        }
        Ok(value)
    }

    /// The place that later objects may point to, which is counted when an object begins.
    fn slot(&mut self, tag: u8) -> Read<Option<usize>> {
        if tag & FLAG_REF == 0 {
            return Ok(None);
        }
        if self.references.len() >= MAX_REFERENCES {
            return Err(MarshalError::TooMuch);
        }
        self.references.push(None);
        Ok(Some(self.references.len() - 1))
    }

    fn reference(&mut self) -> Read<Value> {
        let index = self.length()?;
        let value = self.references.get(index).cloned().flatten();
        value.ok_or(MarshalError::Reference)
    }

    fn plain(&self, kind: u8, bytes: &[u8]) -> Value {
        let shown = || match kind {
            b'N' => "None".to_owned(),
            b'T' => "True".to_owned(),
            b'F' => "False".to_owned(),
            b'.' => "...".to_owned(),
            b'g' => bytes.try_into().map_or_else(
                |_| String::new(),
                |bytes| f64::from_le_bytes(bytes).to_string(),
            ),
            _ => format!("b{:?}", cut(&String::from_utf8_lossy(first(bytes)))),
        };
        self.value(digest(kind, &[bytes]), shown)
    }

    fn value(&self, digest: Digest, shown: impl FnOnce() -> String) -> Value {
        Value {
            digest,
            loose: None,
            of_class: false,
            shown: self.detail.then(|| Rc::new(Shown::Text(shown()))),
        }
    }

    /// An integer is one value however it is written: sign, then digits of 15 bits.
    fn integer(&self, number: i64) -> Value {
        let mut digits = Vec::new();
        let mut left = number.unsigned_abs();
        while left > 0 {
            digits.extend(u16::try_from(left & 0x7fff).unwrap_or(0).to_le_bytes());
            left >>= 15;
        }
        let sign = [u8::from(number < 0)];
        self.value(digest(b'l', &[&sign, &digits]), || number.to_string())
    }

    fn long(&mut self) -> Read<Value> {
        let count = i32::from_le_bytes(self.word()?);
        let digits = usize::try_from(count.unsigned_abs()).map_err(|_| MarshalError::Number)?;
        let bytes = self.take(digits.checked_mul(2).ok_or(MarshalError::Number)?)?;
        let in_range = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .all(|digit| u16::from_le_bytes(*digit) < 0x8000);
        let ends_in_zero = matches!(bytes, [.., 0, 0]);
        if !in_range || ends_in_zero {
            return Err(MarshalError::Number);
        }
        let sign = [u8::from(count < 0)];
        Ok(self.value(digest(b'l', &[&sign, bytes]), || {
            format!("an integer of {digits} digits of 15 bits")
        }))
    }

    fn text(&mut self, kind: u8) -> Read<Value> {
        let length = match kind {
            b'z' | b'Z' => usize::from(self.byte()?),
            _ => self.length()?,
        };
        let bytes = self.take(length)?;
        let is_utf8 = matches!(kind, b'u' | b't');
        if is_utf8 || bytes.is_ascii() {
            let shown = || format!("{:?}", cut(&String::from_utf8_lossy(first(bytes))));
            return Ok(self.value(digest(b'u', &[bytes]), shown));
        }
        // The short kinds are Latin-1 to the interpreter, although it writes them for ASCII only.
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        Ok(self.value(digest(b'u', &[text.as_bytes()]), || {
            format!("{:?}", cut(&text))
        }))
    }

    fn many(&mut self, count: usize, depth: u32) -> Read<Vec<Value>> {
        // Each item is at least one byte: a length that is made up allocates nothing.
        if count > self.rest.len() {
            return Err(MarshalError::Truncated);
        }
        let mut values = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            values.push(self.object(depth + 1)?);
        }
        Ok(values)
    }

    fn joined(&self, kind: u8, values: &[Value]) -> Value {
        let mut hasher = begun(kind);
        for value in values {
            hasher.update(value.digest.as_bytes());
        }
        Value {
            digest: hasher.finish(),
            loose: None,
            of_class: false,
            shown: self.detail.then(|| Rc::new(Shown::Items(values.to_vec()))),
        }
    }

    fn tuple(&mut self, count: usize, depth: u32) -> Read<Value> {
        let only_texts = self.rest.first().is_some_and(|tag| is_text(*tag));
        let values = self.many(count, depth)?;
        let mut value = self.joined(b'(', &values);
        if self.dialect.shuffles_attributes() {
            value.of_class = values.iter().any(|value| value.digest == self.attributes);
            value.loose = Some(if only_texts {
                unordered(b'(', &values)
            } else {
                let mut hasher = begun(b'(');
                for value in &values {
                    hasher.update(value.loose.unwrap_or(value.digest).as_bytes());
                }
                hasher.finish()
            });
        }
        Ok(value)
    }

    fn set(&mut self, depth: u32) -> Read<Value> {
        let count = self.length()?;
        let values = self.many(count, depth)?;
        let mut value = self.joined(b'>', &values);
        value.digest = unordered(b'>', &values);
        Ok(value)
    }

    fn code(&mut self, depth: u32) -> Read<Value> {
        let mine = self.facts.len();
        if self.detail {
            // Parents stand before what is in them; filled in when everything of it was read.
            self.facts.push(Facts::unknown());
        }
        let counts = if self.dialect.is_newer() { 5 } else { 6 };
        let numbers = self.take(4 * counts)?;
        let instructions = self.object(depth + 1)?;
        let constants = self.object(depth + 1)?;
        let names = self.object(depth + 1)?;
        // Local names and their kinds, or local, free and cell names.
        let locals = self.many(if self.dialect.is_newer() { 2 } else { 3 }, depth)?;
        let _file = self.object(depth + 1)?;
        let name = self.object(depth + 1)?;
        let qualified = self.dialect.is_newer().then(|| self.object(depth + 1));
        let qualified = qualified.transpose()?;
        let line = self.word()?;
        let _positions = self.object(depth + 1)?;
        let exceptions = self.dialect.is_newer().then(|| self.object(depth + 1));
        let exceptions = exceptions.transpose()?;
        let of_class = names.of_class.then_some(constants.loose).flatten();
        let counted = of_class.unwrap_or(constants.digest);
        let mut rest = begun(b'r');
        rest.update(numbers);
        rest.update(&line);
        let others = locals.iter().chain([&name]).chain(&qualified);
        for value in others.chain(&exceptions) {
            rest.update(value.digest.as_bytes());
        }
        let rest = rest.finish();
        let mut whole = begun(b'c');
        for part in [instructions.digest, counted, names.digest, rest] {
            whole.update(part.as_bytes());
        }
        if self.detail {
            let facts = Facts {
                place: plain_text(qualified.as_ref().unwrap_or(&name)),
                instructions: instructions.digest,
                constants: without_code(&constants),
                names: names.digest,
                rest,
                shown_constants: shown(&constants),
                shown_names: shown(&names),
            };
            self.place(mine, facts);
        }
        Ok(Value {
            digest: whole.finish(),
            loose: None,
            of_class: false,
            shown: self.detail.then(|| Rc::new(Shown::Code)),
        })
    }

    /// Puts the facts of a code object before those of the ones in it, which before 3.11 do not know where they stand.
    fn place(&mut self, at: usize, facts: Facts) {
        if !self.dialect.is_newer() && facts.place != "<module>" {
            for inner in self.facts.iter_mut().skip(at + 1) {
                inner.place = cut(&format!("{}.{}", facts.place, inner.place));
            }
        }
        if let Some(place) = self.facts.get_mut(at) {
            *place = facts;
        }
    }
}

impl Facts {
    fn unknown() -> Self {
        let nothing = Digest::of(b"");
        Self {
            place: String::new(),
            instructions: nothing,
            constants: nothing,
            names: nothing,
            rest: nothing,
            shown_constants: Vec::new(),
            shown_names: Vec::new(),
        }
    }
}

fn begun(kind: u8) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&[kind]);
    hasher
}

/// The digest of a kind and of parts, each behind its length.
fn digest(kind: u8, parts: &[&[u8]]) -> Digest {
    let mut hasher = begun(kind);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finish()
}

fn unordered(kind: u8, values: &[Value]) -> Digest {
    let mut digests: Vec<Digest> = values.iter().map(|value| value.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    let mut hasher = begun(kind);
    for digest in &digests {
        hasher.update(digest.as_bytes());
    }
    hasher.finish()
}

/// A reference is taken for a text: then a tuple has no order that should have one, never the other way round.
fn is_text(tag: u8) -> bool {
    matches!(
        tag & !FLAG_REF,
        b'u' | b't' | b'a' | b'A' | b'z' | b'Z' | b'r'
    )
}

/// The digest of a tuple, code objects in it left out: they are told about by themselves.
fn without_code(constants: &Value) -> Digest {
    let Some(Shown::Items(values)) = constants.shown.as_deref() else {
        return constants.digest;
    };
    let mut hasher = begun(b'(');
    for value in values {
        match value.shown.as_deref() {
            Some(Shown::Code) => hasher.update(b"code"),
            _ => hasher.update(value.loose.unwrap_or(value.digest).as_bytes()),
        }
    }
    hasher.finish()
}

/// What is in a tuple, for people.
fn shown(values: &Value) -> Vec<String> {
    let Some(Shown::Items(values)) = values.shown.as_deref() else {
        return Vec::new();
    };
    values
        .iter()
        .filter_map(|value| match value.shown.as_deref()? {
            Shown::Text(text) => Some(text.clone()),
            Shown::Items(inner) => Some(format!("a tuple or set of {}", inner.len())),
            Shown::Code => None,
        })
        .collect()
}

fn plain_text(value: &Value) -> String {
    match value.shown.as_deref() {
        Some(Shown::Text(text)) => text.trim_matches('"').to_owned(),
        _ => "?".to_owned(),
    }
}

fn first(bytes: &[u8]) -> &[u8] {
    bytes.get(..SHOWN_BYTES * 4).unwrap_or(bytes)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_BYTES) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
