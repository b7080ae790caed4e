//! JSON as Python's `json` reads it: keys that stand twice, `NaN`, any depth; as a stream, because the files of
//! tokenizers are large.
//!
//! A tree is kept up to a budget. Beyond it the text is still read to its end, and what stands under a key that the
//! caller asks for is kept wherever it is: what is left out is known to hold none of it.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;

use crate::ReadAt;
use crate::cursor::Cursor;

/// The largest text that is read, in bytes.
pub const MAX_BYTES: u64 = 96 << 20;
/// How deep values may lie in values. Python gives up at about a thousand.
pub const MAX_DEPTH: usize = 200;
/// Values that are kept.
pub const MAX_NODES: usize = 60_000;
/// Values that are kept under keys that were asked for, beyond that.
const MAX_LOOSE: usize = 20_000;
/// Bytes of texts that are kept.
const MAX_TEXTS: usize = 6 << 20;
/// Keys that are remembered to find those that stand twice.
const MAX_KEYS: usize = 200_000;
/// Oddities that are kept.
const MAX_ODDITIES: usize = 32;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number, `NaN` and infinities among them.
    Number(f64),
    /// A text; `None` if the budget was spent.
    Text(Option<String>),
    /// An array.
    List(Vec<Node>),
    /// An object, in its order, keys that stand twice included.
    Object(Vec<(String, Node)>),
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// The value, as far as it is kept.
    pub root: Option<Node>,
    /// Values under keys that were asked for, which are not in `root`.
    pub loose: Vec<(String, Node)>,
    /// What a well-behaved writer would not have written.
    pub oddities: Vec<Oddity>,
    /// Whether it is one value, read to its end.
    pub complete: bool,
    /// Whether something that was asked for could not be kept.
    pub cut: bool,
}

/// Something on which readers may disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Oddity {
    /// No JSON from here on.
    #[error("it is not JSON from byte {0} on")]
    Syntax(u64),
    /// Deeper than is read.
    #[error("its values lie more than {MAX_DEPTH} deep at byte {0}")]
    Depth(u64),
    /// Something behind the value.
    #[error("something follows the value at byte {0}")]
    Trailing(u64),
    /// A key that stands twice in one object.
    #[error("the key {key:?} stands twice in one object, at byte {offset}")]
    DuplicateKey {
        /// Which.
        key: String,
        /// Where the second one stands.
        offset: u64,
    },
}

impl Node {
    /// The last value of a key, which is the one that Python takes.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Self::Object(pairs) => {
                let mut pairs = pairs.iter().rev();
                pairs.find(|(name, _)| name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => text.as_deref(),
            _ => None,
        }
    }
}

/// Reads `input`; keys for which `wanted` is true are kept in any case. `Err` is an error of reading alone.
pub fn read(input: &dyn ReadAt, wanted: fn(&str) -> bool) -> io::Result<Document> {
    let mut reader = Reader {
        window: Cursor::new(input, 0),
        wanted,
        frames: Vec::new(),
        nodes: 0,
        texts: 0,
        keys: 0,
        document: Document::default(),
    };
    match reader.all() {
        Ok(()) => {}
        Err(Stop::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let at = reader.window.position();
            reader.odd(Oddity::Syntax(at));
        }
        Err(Stop::Read(error)) => return Err(error),
        Err(Stop::Odd(oddity)) => reader.odd(oddity),
    }
    reader.close_all();
    Ok(reader.document)
}

enum Stop {
    Read(io::Error),
    Odd(Oddity),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// A container that is being read.
struct Frame {
    object: bool,
    /// The key under which the next value goes.
    key: Option<String>,
    /// What is kept of it; `None` when it is only read over.
    kept: Option<Node>,
    /// It was asked for and is kept for itself, under this key.
    loose: Option<String>,
    seen: HashSet<u64>,
}

struct Reader<'a> {
    window: Cursor<'a>,
    wanted: fn(&str) -> bool,
    frames: Vec<Frame>,
    nodes: usize,
    texts: usize,
    keys: usize,
    document: Document,
}

impl Reader<'_> {
    fn all(&mut self) -> Result<(), Stop> {
        if self.window.left() >= 3 && self.window.peek()? == Some(0xef) {
            self.window.skip(3)?;
        }
        loop {
            // A value, or the end of the container that is open.
            let offset = self.space()?;
            let byte = self.byte(offset)?;
            match byte {
                b'{' | b'[' => {
                    if self.frames.len() >= MAX_DEPTH {
                        return Err(Stop::Odd(Oddity::Depth(offset)));
                    }
                    self.open(byte == b'{');
                    let close = if byte == b'{' { b'}' } else { b']' };
                    let next = self.space()?;
                    if self.window.peek()? == Some(close) {
                        self.window.skip(1)?;
                        self.close();
                    } else {
                        if byte == b'{' {
                            self.key(next)?;
                        }
                        continue;
                    }
                }
                b'"' => {
                    let text = self.string(offset)?;
                    self.value(Node::Text(Some(text)));
                }
                _ => {
                    let node = self.word(byte, offset)?;
                    self.value(node);
                }
            }
            if !self.more()? {
                return Ok(());
            }
        }
    }

    /// Behind a value: closes what ends here; whether another value follows.
    fn more(&mut self) -> Result<bool, Stop> {
        loop {
            let offset = self.space()?;
            let Some(frame) = self.frames.last() else {
                if self.window.left() > 0 {
                    return Err(Stop::Odd(Oddity::Trailing(offset)));
                }
                self.document.complete = true;
                return Ok(false);
            };
            let object = frame.object;
            match (self.byte(offset)?, object) {
                (b',', _) => {
                    let offset = self.space()?;
                    if object {
                        self.key(offset)?;
                    }
                    return Ok(true);
                }
                (b'}', true) | (b']', false) => self.close(),
                _ => return Err(Stop::Odd(Oddity::Syntax(offset))),
            }
        }
    }

    fn key(&mut self, offset: u64) -> Result<(), Stop> {
        if self.byte(offset)? != b'"' {
            return Err(Stop::Odd(Oddity::Syntax(offset)));
        }
        let key = self.string(offset)?;
        let colon = self.space()?;
        if self.byte(colon)? != b':' {
            return Err(Stop::Odd(Oddity::Syntax(colon)));
        }
        self.keys += 1;
        let remember = self.keys <= MAX_KEYS;
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        let twice = remember && {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            !frame.seen.insert(hasher.finish())
        };
        frame.key = Some(key.clone());
        if twice {
            self.odd(Oddity::DuplicateKey { key, offset });
        }
        Ok(())
    }

    fn open(&mut self, object: bool) {
        let (keep, loose) = self.keeps();
        let kept = keep.then(|| {
            if object {
                Node::Object(Vec::new())
            } else {
                Node::List(Vec::new())
            }
        });
        self.frames.push(Frame {
            object,
            key: None,
            kept,
            loose,
            seen: HashSet::new(),
        });
    }

    /// Whether the next value is kept, and under which key if it is kept for itself.
    fn keeps(&mut self) -> (bool, Option<String>) {
        let inside = self.frames.last().is_none_or(|frame| frame.kept.is_some());
        let loose = self.frames.iter().any(|frame| frame.loose.is_some());
        let most = if loose {
            MAX_NODES + MAX_LOOSE
        } else {
            MAX_NODES
        };
        if inside && self.nodes < most {
            self.nodes += 1;
            return (true, None);
        }
        let key = self.frames.last().and_then(|frame| frame.key.clone());
        match key.filter(|key| (self.wanted)(key)) {
            Some(key) if self.nodes < MAX_NODES + MAX_LOOSE => {
                self.nodes += 1;
                (true, Some(key))
            }
            Some(_) => {
                self.document.cut = true;
                (false, None)
            }
            None => (false, None),
        }
    }

    fn value(&mut self, mut node: Node) {
        let (keep, loose) = self.keeps();
        if !keep {
            return;
        }
        if let Node::Text(Some(text)) = &node {
            self.texts += text.len();
            if self.texts > MAX_TEXTS {
                node = Node::Text(None);
                self.document.cut = true;
            }
        }
        self.place(node, loose);
    }

    fn place(&mut self, node: Node, loose: Option<String>) {
        if let Some(key) = loose {
            self.document.loose.push((key, node));
            return;
        }
        match self.frames.last_mut() {
            None => self.document.root = Some(node),
            Some(frame) => match (&mut frame.kept, frame.key.take()) {
                (Some(Node::Object(pairs)), Some(key)) => pairs.push((key, node)),
                (Some(Node::List(items)), _) => items.push(node),
                _ => {}
            },
        }
    }

    fn close(&mut self) {
        if let Some(frame) = self.frames.pop()
            && let Some(node) = frame.kept
        {
            self.place(node, frame.loose);
        }
    }

    fn close_all(&mut self) {
        while !self.frames.is_empty() {
            self.close();
        }
    }

    fn space(&mut self) -> Result<u64, Stop> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.window.peek()? {
            self.window.skip(1)?;
        }
        Ok(self.window.position())
    }

    fn byte(&mut self, offset: u64) -> Result<u8, Stop> {
        let byte = self.window.next()?;
        byte.ok_or(Stop::Odd(Oddity::Syntax(offset)))
    }

    /// A text behind its quote. Beyond the budget it is still read, and cut.
    fn string(&mut self, offset: u64) -> Result<String, Stop> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut high = None;
        loop {
            match self.byte(offset)? {
                b'"' => break,
                b'\\' => {
                    // The first half of a pair brings no character.
                    if let Some(found) = self.escape(offset, &mut high)? {
                        let mut buffer = [0; 4];
                        bytes.extend(found.encode_utf8(&mut buffer).as_bytes());
                    }
                }
                byte => bytes.push(byte),
            }
            if bytes.len() > MAX_TEXTS {
                self.document.cut = true;
                bytes.clear();
            }
        }
        Ok(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    fn escape(&mut self, offset: u64, high: &mut Option<u32>) -> Result<Option<char>, Stop> {
        Ok(Some(match self.byte(offset)? {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\x08',
            b'f' => '\x0c',
            b'u' => {
                let digits = self.window.array::<4>()?;
                let code = str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                    .ok_or(Stop::Odd(Oddity::Syntax(offset)))?;
                match (high.take(), code) {
                    (Some(first), 0xdc00..=0xdfff) => {
                        let code = 0x10000 + ((first - 0xd800) << 10) + (code - 0xdc00);
                        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    (_, 0xd800..=0xdbff) => {
                        *high = Some(code);
                        return Ok(None);
                    }
                    _ => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            _ => return Err(Stop::Odd(Oddity::Syntax(offset))),
        }))
    }

    fn word(&mut self, first: u8, offset: u64) -> Result<Node, Stop> {
        let mut word = String::from(char::from(first));
        while let Some(byte @ (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.')) =
            self.window.peek()?
        {
            self.window.skip(1)?;
            if word.len() < 512 {
                word.push(char::from(byte));
            }
        }
        Ok(match word.as_str() {
            "null" => Node::Null,
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            "NaN" => Node::Number(f64::NAN),
            "Infinity" => Node::Number(f64::INFINITY),
            "-Infinity" => Node::Number(f64::NEG_INFINITY),
            number if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                let number = number.parse().ok();
                Node::Number(number.ok_or(Stop::Odd(Oddity::Syntax(offset)))?)
            }
            _ => return Err(Stop::Odd(Oddity::Syntax(offset))),
        })
    }

    fn odd(&mut self, oddity: Oddity) {
        if self.document.oddities.len() < MAX_ODDITIES {
            self.document.oddities.push(oddity);
        }
    }
}
