//! Python source to tokens: indentation, joined lines, every kind of text literal, names as Python normalises them.

use crate::escape::unescape;

/// Tokens that are read of one file.
const MAX_TOKENS: usize = 300_000;
/// Levels of indentation, as in CPython.
const MAX_INDENTS: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) offset: usize,
    pub(super) kind: Tok,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tok {
    Name(String),
    Text(String),
    Bytes(Vec<u8>),
    /// The raw body of an f-string.
    Format(String),
    Int(i128),
    Float,
    Op(&'static str),
    Newline,
    Indent,
    Dedent,
}

const OPERATORS: [&str; 47] = [
    "**=", "//=", ">>=", "<<=", "...", "!=", "==", ">=", "<=", "->", ":=", "+=", "-=", "*=", "/=",
    "%=", "&=", "|=", "^=", "@=", "**", "//", ">>", "<<", "+", "-", "*", "/", "%", "@", "&", "|",
    "^", "~", "<", ">", "(", ")", "[", "]", "{", "}", ",", ":", ".", ";", "=",
];

/// All tokens, the first place that has none, and whether a limit was reached.
pub(super) fn tokens(text: &str) -> (Vec<Token>, Option<usize>, bool) {
    let mut lexer = Lexer {
        text,
        at: 0,
        depth: 0,
        indents: vec![0],
        tokens: Vec::new(),
        fault: None,
    };
    lexer.all();
    let cut = lexer.tokens.len() >= MAX_TOKENS;
    (lexer.tokens, lexer.fault, cut)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    depth: u32,
    indents: Vec<usize>,
    tokens: Vec<Token>,
    fault: Option<usize>,
}

impl<'t> Lexer<'t> {
    fn all(&mut self) {
        let mut fresh = true;
        while self.at < self.text.len() && self.tokens.len() < MAX_TOKENS {
            if fresh && self.depth == 0 {
                self.indentation();
                fresh = false;
                continue;
            }
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                break;
            };
            match first {
                '\n' | '\r' => {
                    if self.depth == 0 {
                        self.newline();
                        fresh = true;
                    }
                    self.at += 1;
                }
                ' ' | '\t' | '\x0c' => self.at += 1,
                '#' => self.at += rest.find(['\n', '\r']).unwrap_or(rest.len()),
                '\\' if rest[1..].starts_with(['\n', '\r']) => {
                    self.at += if rest[1..].starts_with("\r\n") { 3 } else { 2 };
                }
                _ => self.token(first),
            }
        }
        self.newline();
        while self.indents.len() > 1 {
            self.indents.pop();
            self.push(Tok::Dedent, 0);
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, kind: Tok, size: usize) {
        let offset = self.at;
        self.tokens.push(Token { offset, kind });
        self.at += size;
    }

    fn newline(&mut self) {
        let last = self.tokens.last().map(|token| &token.kind);
        if !matches!(last, None | Some(Tok::Newline | Tok::Indent | Tok::Dedent)) {
            self.push(Tok::Newline, 0);
        }
    }

    fn indentation(&mut self) {
        let rest = self.rest();
        let mut column = 0;
        let mut size = 0;
        for found in rest.chars() {
            match found {
                ' ' => column += 1,
                '\t' => column = (column / 8 + 1) * 8,
                '\x0c' => column = 0,
                _ => break,
            }
            size += 1;
        }
        self.at += size;
        if rest[size..].is_empty() || rest[size..].starts_with(['#', '\n', '\r']) {
            return;
        }
        let current = self.indents.last().copied().unwrap_or(0);
        if column > current && self.indents.len() < MAX_INDENTS {
            self.indents.push(column);
            self.push(Tok::Indent, 0);
        }
        while self.indents.last().is_some_and(|level| *level > column) {
            self.indents.pop();
            self.push(Tok::Dedent, 0);
        }
    }

    fn token(&mut self, first: char) {
        let rest = self.rest();
        if let Some((prefix, quote)) = literal(rest) {
            return self.string(prefix, quote);
        }
        if first == '_' || first.is_alphabetic() || !first.is_ascii() {
            let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric() && c.is_ascii());
            let end = end.unwrap_or(rest.len());
            let name = rest[..end].chars().map(normalise).collect();
            return self.push(Tok::Name(name), end);
        }
        let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        if digit(rest) || (first == '.' && digit(&rest[1..])) {
            return self.number();
        }
        let Some(known) = OPERATORS.into_iter().find(|known| rest.starts_with(known)) else {
            self.fault.get_or_insert(self.at);
            self.at += first.len_utf8();
            return;
        };
        match known {
            "(" | "[" | "{" => self.depth += 1,
            ")" | "]" | "}" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.push(Tok::Op(known), known.len());
    }

    fn number(&mut self) {
        let rest = self.rest();
        let mut end = rest.find(|c: char| c != '_' && c != '.' && !c.is_ascii_alphanumeric());
        let plain = &rest[..end.unwrap_or(rest.len())];
        let hex = plain.starts_with("0x") || plain.starts_with("0X");
        let sign = rest.get(plain.len()..).unwrap_or_default();
        if !hex && plain.ends_with(['e', 'E']) && sign.starts_with(['+', '-']) {
            // `1e-5`: the sign belongs to it.
            let signed = plain.len() + 1;
            let tail = rest.get(signed..).unwrap_or_default();
            let more = tail
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(tail.len());
            end = Some((signed + more).min(rest.len()));
        }
        let text = rest[..end.unwrap_or(rest.len())].replace('_', "");
        let (radix, digits) = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => (16, &text[2..]),
            Some("0o") => (8, &text[2..]),
            Some("0b") => (2, &text[2..]),
            _ => (10, &text[..]),
        };
        let size = end.unwrap_or(rest.len());
        let kind = i128::from_str_radix(digits, radix).map_or(Tok::Float, Tok::Int);
        self.push(kind, size);
    }

    fn string(&mut self, prefix: &str, quote: &str) {
        let lower = prefix.to_ascii_lowercase();
        let (raw, bytes) = (lower.contains('r'), lower.contains('b'));
        let format = lower.contains(['f', 't']);
        let start = prefix.len() + quote.len();
        let rest = self.rest();
        let body = rest.get(start..).unwrap_or_default();
        let Some(end) = closing(body, quote, format) else {
            self.fault.get_or_insert(self.at);
            // What is not closed swallows the rest.
            let size = rest.len();
            return self.push(Tok::Text(String::new()), size);
        };
        let body = &body[..end];
        let kind = if format {
            Tok::Format(body.to_owned())
        } else {
            let text = if raw {
                body.to_owned()
            } else {
                unescape(body, bytes)
            };
            if bytes {
                Tok::Bytes(
                    text.chars()
                        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
                        .collect(),
                )
            } else {
                Tok::Text(text)
            }
        };
        self.push(kind, start + end + quote.len());
    }
}

/// Prefix and quotes of a text literal.
fn literal(rest: &str) -> Option<(&str, &str)> {
    let size = rest
        .bytes()
        .take(3)
        .take_while(|byte| b"rRbBuUfFtT".contains(byte))
        .count();
    let (prefix, quoted) = rest.split_at(size);
    ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| quoted.starts_with(quote))
        .map(|quote| (prefix, quote))
}

/// Where a literal ends. Within the fields of an f-string its own quotes may stand.
fn closing(body: &str, quote: &str, format: bool) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut at = 0;
    let mut depth = 0_u32;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' if quote.len() == 1 && depth == 0 => return None,
            b'{' if format && bytes.get(at + 1) == Some(&b'{') && depth == 0 => at += 1,
            b'{' if format => depth += 1,
            b'}' if format => depth = depth.saturating_sub(1),
            _ if depth == 0 && body.as_bytes()[at..].starts_with(quote.as_bytes()) => {
                return Some(at);
            }
            b'"' | b'\'' if depth > 0 => {
                let found = *byte;
                let inner = bytes[at + 1..]
                    .iter()
                    .position(|byte| *byte == found || *byte == b'\n');
                match inner {
                    Some(inner) if bytes.get(at + 1 + inner) == Some(&found) => at += inner + 1,
                    // Before 3.12 a field could not hold the quotes of its text: it ends here.
                    _ if body.as_bytes()[at..].starts_with(quote.as_bytes()) => return Some(at),
                    _ => {}
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Python reads names in normal form KC; the alphabets that look like Latin letters are those that matter.
fn normalise(found: char) -> char {
    let code = u32::from(found);
    let from =
        |base: u8, index: u32| char::from(base.wrapping_add(u8::try_from(index).unwrap_or(0)));
    match code {
        0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(found),
        0x1d400..=0x1d6a3 => match (code - 0x1d400) % 52 {
            index @ 0..26 => from(b'A', index),
            index => from(b'a', index - 26),
        },
        0x1d7ce..=0x1d7ff => from(b'0', (code - 0x1d7ce) % 10),
        0x17f => 's',
        0x212a => 'K',
        0x2071 | 0x2139 => 'i',
        0x207f => 'n',
        0x210a => 'g',
        0x210e => 'h',
        0x2113 => 'l',
        0x212f => 'e',
        0x2134 | 0xba => 'o',
        0xaa => 'a',
        _ => found,
    }
}
