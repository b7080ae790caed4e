//! Python's `marshal` format, as far as it tells which names a code object uses.
//!
//! Keras keeps lambdas as marshalled bytecode. The bytecode itself differs with every version of Python and is not read;
//! the names that it looks up and the texts that it holds stand beside it in lists, and they say what it reaches for. The
//! layout of a code object changed four times and is not marked, so each is tried and the one that fits to the end wins.

use std::rc::Rc;

/// The most names and texts that are kept, each.
pub const MAX_RECORDS: usize = 4096;
/// How deep objects may nest.
const MAX_DEPTH: usize = 64;
/// The most objects that are read.
const MAX_OBJECTS: usize = 200_000;

/// What a stream holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code {
    /// Names that code objects look up: globals, attributes, imports.
    pub names: Vec<String>,
    /// Texts among their constants.
    pub texts: Vec<String>,
    /// Number of code objects.
    pub objects: usize,
}

/// What is before and behind the common part of a code object.
struct Layout {
    numbers: usize,
    before_line: usize,
    behind_line: usize,
}

/// Python 3.11 and later, 3.8 to 3.10, 3.0 to 3.7, 2.
const LAYOUTS: [Layout; 4] = [
    Layout {
        numbers: 5,
        before_line: 8,
        behind_line: 2,
    },
    Layout {
        numbers: 6,
        before_line: 8,
        behind_line: 1,
    },
    Layout {
        numbers: 5,
        before_line: 8,
        behind_line: 1,
    },
    Layout {
        numbers: 4,
        before_line: 8,
        behind_line: 1,
    },
];

/// Reads the one object at the start of `bytes`; `None` if it is none that holds code.
pub fn read(bytes: &[u8]) -> Option<Code> {
    let mut read = LAYOUTS.iter().filter_map(|layout| {
        let mut reader = Reader {
            bytes,
            position: 0,
            layout,
            strings: Vec::new(),
            interned: Vec::new(),
            objects: 0,
            code: Code::default(),
        };
        reader.object(0, Role::Other)?;
        (reader.code.objects > 0 && reader.position == bytes.len()).then_some(reader.code)
    });
    read.next()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Names,
    Constants,
    Other,
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    layout: &'a Layout,
    strings: Vec<Option<Rc<str>>>,
    interned: Vec<Rc<str>>,
    objects: usize,
    code: Code,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let end = self.position.checked_add(length)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.first_chunk().copied()?;
        usize::try_from(i32::from_le_bytes(bytes)).ok()
    }

    fn object(&mut self, depth: usize, role: Role) -> Option<bool> {
        self.objects += 1;
        if depth > MAX_DEPTH || self.objects > MAX_OBJECTS {
            return None;
        }
        let tag = self.u8()?;
        let kind = tag & 0x7f;
        let slot = (tag & 0x80 != 0).then(|| {
            self.strings.push(None);
            self.strings.len() - 1
        });
        match kind {
            b'0' => return Some(false),
            b'N' | b'F' | b'T' | b'S' | b'.' => {}
            b'i' => self.skip(4)?,
            b'I' | b'g' => self.skip(8)?,
            b'y' => self.skip(16)?,
            b'f' => self.short()?,
            b'x' => {
                self.short()?;
                self.short()?;
            }
            b'l' => {
                let digits = self.take(4)?.first_chunk().copied()?;
                let digits = usize::try_from(i32::from_le_bytes(digits).unsigned_abs()).ok()?;
                self.skip(digits.checked_mul(2)?)?;
            }
            b's' | b't' | b'u' | b'a' | b'A' | b'z' | b'Z' => self.string(kind, slot, role)?,
            b'R' | b'r' => self.reference(kind, role)?,
            b'(' | b')' | b'[' | b'<' | b'>' => self.sequence(kind, depth, role)?,
            b'{' => while self.object(depth + 1, Role::Other)? {},
            b':' => self.many(3, depth)?,
            b'c' => self.code(depth)?,
            _ => return None,
        }
        Some(true)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(|_| ())
    }

    fn short(&mut self) -> Option<()> {
        let length = self.u8()?;
        self.skip(usize::from(length))
    }

    fn many(&mut self, count: usize, depth: usize) -> Option<()> {
        for _ in 0..count {
            self.object(depth + 1, Role::Other)?;
        }
        Some(())
    }

    fn string(&mut self, kind: u8, slot: Option<usize>, role: Role) -> Option<()> {
        let length = match kind {
            b'z' | b'Z' => usize::from(self.u8()?),
            _ => self.length()?,
        };
        let text = String::from_utf8_lossy(self.take(length)?);
        let text: Rc<str> = text.chars().take(1000).collect::<String>().into();
        if kind == b't' {
            self.interned.push(Rc::clone(&text));
        }
        if let Some(place) = slot.and_then(|slot| self.strings.get_mut(slot)) {
            *place = Some(Rc::clone(&text));
        }
        self.keep(role, &text);
        Some(())
    }

    fn keep(&mut self, role: Role, text: &str) {
        let list = match role {
            Role::Names => &mut self.code.names,
            Role::Constants => &mut self.code.texts,
            Role::Other => return,
        };
        if list.len() < MAX_RECORDS {
            list.push(text.to_owned());
        }
    }

    fn reference(&mut self, kind: u8, role: Role) -> Option<()> {
        let index = self.length()?;
        let text = if kind == b'R' {
            Some(self.interned.get(index)?.clone())
        } else {
            self.strings.get(index)?.clone()
        };
        if let Some(text) = text {
            self.keep(role, &text);
        }
        Some(())
    }

    fn sequence(&mut self, kind: u8, depth: usize, role: Role) -> Option<()> {
        let count = match kind {
            b')' => usize::from(self.u8()?),
            _ => self.length()?,
        };
        for _ in 0..count {
            self.object(depth + 1, role)?;
        }
        Some(())
    }

    fn code(&mut self, depth: usize) -> Option<()> {
        self.code.objects += 1;
        let (numbers, before) = (self.layout.numbers, self.layout.before_line);
        let behind = self.layout.behind_line;
        self.skip(4 * numbers)?;
        for place in 0..before {
            let role = match place {
                1 => Role::Constants,
                2 => Role::Names,
                _ => Role::Other,
            };
            self.object(depth + 1, role)?;
        }
        self.skip(4)?;
        self.many(behind, depth)
    }
}
