//! Whether the brackets of a TOML text match and nest little: asked before a reader is given the text.
//!
//! Readers of TOML that go on behind an error can be led ever deeper by brackets that do not match, until the stack ends and
//! the process with it. A text whose brackets match, outside of strings and comments, leads nobody deeper than it nests; one
//! whose brackets do not match is no TOML. Strings and comments are told by the rules of TOML 1.0: a string that is open
//! at the end of its line, or of the text, is refused too, so that nobody can read on from another place than this does.

/// The most brackets within one another: lock files have five.
pub const MAX_DEPTH: usize = 32;

/// Why a text is not given to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TomlShape {
    /// A bracket closes what is not open, or is never closed.
    #[error("line {line}: a bracket without its other half")]
    Unmatched {
        /// Counted from 1.
        line: usize,
    },
    /// More than [`MAX_DEPTH`].
    #[error("line {line}: more than {MAX_DEPTH} brackets within one another")]
    Deep {
        /// Counted from 1.
        line: usize,
    },
    /// A string without an end.
    #[error("line {line}: a string without an end")]
    Open {
        /// Where it begins, counted from 1.
        line: usize,
    },
}

/// Checks a text.
pub fn check_shape(text: &str) -> Result<(), TomlShape> {
    let mut scan = Scan {
        rest: text.as_bytes(),
        line: 1,
    };
    let mut open = Vec::new();
    while let Some(byte) = scan.next() {
        let line = scan.line;
        match byte {
            b'#' => scan.comment(),
            b'"' | b'\'' => scan.string(byte)?,
            b'[' | b'{' if open.len() == MAX_DEPTH => return Err(TomlShape::Deep { line }),
            b'[' => open.push((b']', line)),
            b'{' => open.push((b'}', line)),
            b']' | b'}' if open.pop().is_none_or(|(wanted, _)| wanted != byte) => {
                return Err(TomlShape::Unmatched { line });
            }
            _ => {}
        }
    }
    match open.pop() {
        Some((_, line)) => Err(TomlShape::Unmatched { line }),
        None => Ok(()),
    }
}

struct Scan<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(*first == b'\n');
        Some(*first)
    }

    /// Up to the end of the line, which stays.
    fn comment(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let end = end.unwrap_or(self.rest.len());
        self.rest = self.rest.get(end..).unwrap_or_default();
    }

    /// The rest of a string whose first quote was taken.
    fn string(&mut self, quote: u8) -> Result<(), TomlShape> {
        let line = self.line;
        let open = TomlShape::Open { line };
        let is_long = self.rest.starts_with(&[quote, quote]);
        if is_long {
            self.rest = self.rest.get(2..).unwrap_or_default();
        }
        loop {
            match self.next().ok_or(open)? {
                b'\\' if quote == b'"' => {
                    let escaped = self.next().ok_or(open)?;
                    if escaped == b'\n' && !is_long {
                        return Err(open);
                    }
                }
                b'\n' if !is_long => return Err(open),
                byte if byte != quote => {}
                _ if !is_long => return Ok(()),
                _ if self.rest.starts_with(&[quote, quote]) => {
                    // Up to two more belong to the string.
                    let more = self.rest.iter().take(4);
                    let more = more.take_while(|byte| **byte == quote).count();
                    self.rest = self.rest.get(more..).unwrap_or_default();
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_toml_allows_passes() {
        for text in [
            "",
            "[[package]]\nname = \"a\"\nwheels = [{ url = \"x\", hash = \"y\" }, {}]\n",
            "a = \"[{\" # [{\nb = '[' \nc = \"\\\"[\"\n",
            "a = \"\"\"\n[ \" \"\" [ \\\"\"\" [ \"\"\"\nb = '''[ '' [\n'''",
            "a = \"\"\"x\"\"\"\"\"\nb = [1]\nc = ''\nd = \"\"",
            "a = \"\"\"x\\\n  y\"\"\"",
        ] {
            assert_eq!(check_shape(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn brackets_that_do_not_match_and_strings_without_an_end_are_refused_where_they_are() {
        let unmatched = |line| Err(TomlShape::Unmatched { line });
        let open = |line| Err(TomlShape::Open { line });
        for (text, expected) in [
            ("a = [\nb = 1", unmatched(1)),
            ("a = 1\n]", unmatched(2)),
            ("a = { ]", unmatched(1)),
            ("a = 1\nb = \"x\nc = \"", open(2)),
            ("a = 'x", open(1)),
            ("a = \"\"\"x\n\"\"", open(1)),
            ("a = \"\\", open(1)),
            ("a = \"\\\n\"", open(1)),
        ] {
            assert_eq!(check_shape(text), expected, "{text}");
        }
    }

    #[test]
    fn what_nests_too_deep_is_refused_however_it_is_closed() {
        let nested = |depth: usize| format!("a = {}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check_shape(&nested(MAX_DEPTH)), Ok(()));
        let deep = Err(TomlShape::Deep { line: 1 });
        assert_eq!(check_shape(&nested(MAX_DEPTH + 1)), deep);
        assert_eq!(check_shape(&"{ [".repeat(100_000)), deep);
        // Closed with the wrong half, so that a count of opened less closed stays small.
        let wrong = "{ ] ".repeat(100_000);
        assert_eq!(check_shape(&wrong), Err(TomlShape::Unmatched { line: 1 }));
    }
}
