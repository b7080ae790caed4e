//! Template text to tokens, with the rules of Jinja2's own lexer: delimiters end a tag only outside of brackets, texts
//! have Python's escapes, `-` at a delimiter eats white space.

use super::ast::{Fault, FaultKind};
use crate::escape::unescape;

/// Tokens that are read of one template.
const MAX_TOKENS: usize = 200_000;

/// A token and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) offset: usize,
    pub(super) kind: Tok,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tok {
    /// Text between tags.
    Text(String),
    /// `{{`.
    Print,
    /// `{%`.
    Tag,
    /// `}}` or `%}`.
    End,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
}

/// Longest first.
const OPERATORS: [&str; 25] = [
    "==", "!=", ">=", "<=", "//", "**", "+", "-", "*", "/", "%", "~", "(", ")", "[", "]", "{", "}",
    "|", ",", ".", ":", "=", ">", "<",
];

/// All tokens, and why there are no more if the text is not used up.
pub(super) fn tokens(text: &str) -> (Vec<Token>, Option<Fault>) {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::new(),
    };
    let fault = lexer.template().err();
    (lexer.tokens, fault)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token>,
}

type Step<T> = Result<T, Fault>;

impl<'t> Lexer<'t> {
    fn template(&mut self) -> Step<()> {
        let mut trim = false;
        while self.at < self.text.len() {
            let rest = self.rest();
            let open = rest
                .match_indices('{')
                .find(|(at, _)| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
            let Some((open, _)) = open else {
                self.plain(rest.len(), trim, false)?;
                break;
            };
            let eats = rest.as_bytes().get(open + 2) == Some(&b'-');
            self.plain(open, trim, eats)?;
            trim = self.tag()?;
        }
        Ok(())
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fault(&self, kind: FaultKind) -> Fault {
        let offset = self.at;
        Fault { offset, kind }
    }

    fn push(&mut self, kind: Tok, size: usize) -> Step<()> {
        if self.tokens.len() >= MAX_TOKENS {
            return Err(self.fault(FaultKind::Size));
        }
        let offset = self.at;
        self.tokens.push(Token { offset, kind });
        self.at += size;
        Ok(())
    }

    fn plain(&mut self, size: usize, left: bool, right: bool) -> Step<()> {
        let mut text = self.rest().get(..size).unwrap_or_default();
        if left {
            text = text.trim_start();
        }
        if right {
            text = text.trim_end();
        }
        if text.is_empty() {
            self.at += size;
            return Ok(());
        }
        self.push(Tok::Text(text.to_owned()), size)
    }

    /// One tag or comment; whether white space behind it is eaten.
    fn tag(&mut self) -> Step<bool> {
        let rest = self.rest();
        if rest.starts_with("{#") {
            let end = rest.find("#}").ok_or(self.fault(FaultKind::Token))?;
            self.at += end + 2;
            return Ok(rest[..end].ends_with('-') && end > 2);
        }
        if let Some(body) = raw_body(rest) {
            let (body, end, eats) = raw(rest, body).ok_or(self.fault(FaultKind::Token))?;
            let body = body.to_owned();
            self.push(Tok::Text(body), end)?;
            return Ok(eats);
        }
        let print = rest.starts_with("{{");
        let sign = matches!(rest.as_bytes().get(2), Some(b'-' | b'+'));
        let open = if print { Tok::Print } else { Tok::Tag };
        self.push(open, 2 + usize::from(sign))?;
        let close = if print { "}}" } else { "%}" };
        self.inside(close)
    }

    fn inside(&mut self, close: &str) -> Step<bool> {
        let mut depth = 0_u32;
        loop {
            let skipped = self.rest().trim_start();
            self.at = self.text.len() - skipped.len();
            let rest = self.rest();
            let first = rest.chars().next().ok_or(self.fault(FaultKind::Token))?;
            if depth == 0 {
                let signed = rest.strip_prefix(['-', '+']);
                if rest.starts_with(close) {
                    self.push(Tok::End, close.len())?;
                    return Ok(false);
                }
                if signed.is_some_and(|rest| rest.starts_with(close)) {
                    self.push(Tok::End, close.len() + 1)?;
                    return Ok(first == '-');
                }
            }
            if first == '"' || first == '\'' {
                self.string(first)?;
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if first == '_' || first.is_alphabetic() {
                let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric());
                let end = end.unwrap_or(rest.len());
                self.push(Tok::Name(rest[..end].to_owned()), end)?;
            } else {
                let known = OPERATORS.into_iter().find(|known| rest.starts_with(known));
                let known = known.ok_or(self.fault(FaultKind::Token))?;
                match known {
                    "(" | "[" | "{" => depth += 1,
                    ")" | "]" | "}" => depth = depth.saturating_sub(1),
                    _ => {}
                }
                self.push(Tok::Op(known), known.len())?;
            }
        }
    }

    fn string(&mut self, quote: char) -> Step<()> {
        let rest = self.rest();
        let mut escaped = false;
        for (at, found) in rest.char_indices().skip(1) {
            if escaped {
                escaped = false;
            } else if found == '\\' {
                escaped = true;
            } else if found == quote {
                let text = unescape(&rest[1..at], false);
                return self.push(Tok::Str(text), at + 1);
            }
        }
        Err(self.fault(FaultKind::Token))
    }

    fn number(&mut self) -> Step<()> {
        let rest = self.rest();
        let behind_dot = matches!(
            self.tokens.last(),
            Some(Token {
                kind: Tok::Op("."),
                ..
            })
        );
        let radix = match rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => 10,
        };
        if radix != 10 {
            let digits = digits(&rest[2..], radix);
            let value = integer(&rest[2..2 + digits], radix);
            return self.push(Tok::Int(value), 2 + digits);
        }
        let mut end = digits(rest, 10);
        let whole = end;
        let fraction = rest[end..].strip_prefix('.').map(|rest| digits(rest, 10));
        if let Some(size) = fraction.filter(|size| *size > 0 && !behind_dot) {
            end += 1 + size;
        }
        if let Some(power) = rest[end..].strip_prefix(['e', 'E']).filter(|_| !behind_dot) {
            let unsigned = power.strip_prefix(['+', '-']).unwrap_or(power);
            let size = digits(unsigned, 10);
            if size > 0 {
                end += 1 + (power.len() - unsigned.len()) + size;
            }
        }
        if end == whole {
            return self.push(Tok::Int(integer(&rest[..end], 10)), end);
        }
        let value = rest[..end]
            .replace('_', "")
            .parse()
            .unwrap_or(f64::INFINITY);
        self.push(Tok::Float(value), end)
    }
}

fn digits(text: &str, radix: u32) -> usize {
    let end = text.find(|c: char| c != '_' && !c.is_digit(radix));
    end.unwrap_or(text.len())
}

fn integer(text: &str, radix: u32) -> i128 {
    i128::from_str_radix(&text.replace('_', ""), radix).unwrap_or(i128::MAX)
}

/// What stands behind `{% raw %}`, if `text` starts with it.
fn raw_body(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("{%")?;
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).trim_start();
    let rest = rest.strip_prefix("raw")?.trim_start();
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.strip_prefix("%}")
}

/// Up to `{% endraw %}`: the body, the bytes of all of `text` up to there, and whether white space behind it is eaten.
fn raw<'t>(text: &str, body: &'t str) -> Option<(&'t str, usize, bool)> {
    for (at, _) in body.match_indices("{%") {
        let tail = &body[at + 2..];
        let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail).trim_start();
        let Some(tail) = tail.strip_prefix("endraw") else {
            continue;
        };
        let tail = tail.trim_start();
        let (tail, eats) = match tail.strip_prefix('-') {
            Some(tail) => (tail, true),
            None => (tail.strip_prefix('+').unwrap_or(tail), false),
        };
        if let Some(behind) = tail.strip_prefix("%}") {
            return Some((&body[..at], text.len() - behind.len(), eats));
        }
    }
    None
}
