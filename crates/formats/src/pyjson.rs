//! JSON as Python reads it, into a tree of bounded size.
//!
//! Python's reader takes `NaN`, `Infinity` and halves of surrogates, keeps the last of equal keys and recurses until its
//! stack ends. A stricter reader would refuse a file that a loader takes, and a looser one would see another tree. So this
//! one takes what Python takes, keeps all of equal keys, and counts what it builds. Numbers within long lists are dropped:
//! nothing in a model's description is decided by its thousandth number.

/// How deep lists and objects may nest; Python gives up at about a thousand.
pub const MAX_DEPTH: usize = 200;
/// The most values that are kept.
pub const MAX_VALUES: usize = 250_000;
/// Numbers that are kept of one list.
const MAX_LIST_NUMBERS: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// A text; halves of surrogates became replacement characters.
    Text(String),
    /// A list, without most of its numbers if it is long.
    List(Vec<Json>),
    /// An object, with all of its pairs.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The value of `key`; the last one if there are several.
    pub fn get(&self, key: &str) -> Option<&Self> {
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
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of `key`.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::text)
    }

    /// The items of a list; none if it is no list.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// Why a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not what Python takes.
    #[error("it is no JSON at byte {0}")]
    Syntax(usize),
    /// Deeper than [`MAX_DEPTH`].
    #[error("it nests deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More than [`MAX_VALUES`].
    #[error("it has more than {MAX_VALUES} values")]
    TooLarge,
}

/// Reads the whole of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Json, JsonError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut parser = Parser {
        bytes,
        position: 0,
        values: 0,
    };
    let value = parser.value(0)?;
    parser.blank();
    if parser.position < bytes.len() {
        return Err(parser.syntax());
    }
    Ok(value)
}

struct Parser<'a> {
    bytes: &'a [u8],
    position: usize,
    values: usize,
}

impl Parser<'_> {
    fn syntax(&self) -> JsonError {
        JsonError::Syntax(self.position)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        self.blank();
        if self.peek() == Some(byte) {
            self.position += 1;
            return Ok(());
        }
        Err(self.syntax())
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let found = rest.starts_with(word.as_bytes());
        if found {
            self.position += word.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(JsonError::TooLarge);
        }
        self.blank();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.text().map(Json::Text),
            Some(b't') if self.word("true") => Ok(Json::Bool(true)),
            Some(b'f') if self.word("false") => Ok(Json::Bool(false)),
            Some(b'n') if self.word("null") => Ok(Json::Null),
            Some(b'N') if self.word("NaN") => Ok(Json::Number(f64::NAN)),
            Some(b'I') if self.word("Infinity") => Ok(Json::Number(f64::INFINITY)),
            Some(b'-') if self.word("-Infinity") => Ok(Json::Number(f64::NEG_INFINITY)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.syntax()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.expect(b'{')?;
        let mut pairs = Vec::new();
        self.blank();
        if self.peek() == Some(b'}') {
            self.position += 1;
            return Ok(Json::Object(pairs));
        }
        loop {
            self.blank();
            let key = self.text()?;
            self.expect(b':')?;
            pairs.push((key, self.value(depth + 1)?));
            self.blank();
            if self.peek() == Some(b'}') {
                self.position += 1;
                return Ok(Json::Object(pairs));
            }
            self.expect(b',')?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.blank();
        if self.peek() == Some(b']') {
            self.position += 1;
            return Ok(Json::List(items));
        }
        loop {
            let item = self.value(depth + 1)?;
            if matches!(item, Json::Number(_)) && items.len() >= MAX_LIST_NUMBERS {
                self.values -= 1;
            } else {
                items.push(item);
            }
            self.blank();
            if self.peek() == Some(b']') {
                self.position += 1;
                return Ok(Json::List(items));
            }
            self.expect(b',')?;
        }
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.position;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
        ) {
            self.position += 1;
        }
        let text = self.bytes.get(start..self.position).unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or_default();
        let number = text.parse::<f64>();
        number
            .map(Json::Number)
            .map_err(|_| JsonError::Syntax(start))
    }

    fn text(&mut self) -> Result<String, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax());
        }
        self.position += 1;
        let mut text = Vec::new();
        loop {
            let rest = self.bytes.get(self.position..).unwrap_or_default();
            let plain = rest
                .iter()
                .take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f));
            let plain = plain.count();
            text.extend(rest.iter().take(plain));
            self.position += plain;
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
                Some(b'\\') => {
                    let letter = self.escape()?;
                    text.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return Err(self.syntax()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.position += 1;
        let letter = self.peek().ok_or(self.syntax())?;
        self.position += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.syntax()),
        })
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hexadecimal()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.position;
        if self.word("\\u") {
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                let whole = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.position = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hexadecimal(&mut self) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.position..self.position + 4);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let number = number.ok_or(self.syntax())?;
        self.position += 4;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_takes_is_taken() {
        let tree =
            parse(b"\xef\xbb\xbf {\"a\": [1, NaN, -Infinity], \"a\": \"\\ud83d\\ude00\\ud800x\"} ")
                .unwrap();
        assert_eq!(tree.text_of("a"), Some("\u{1f600}\u{fffd}x"));
        assert!(matches!(&tree, Json::Object(pairs) if pairs.len() == 2));
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for text in [
            "",
            "{",
            "{\"a\":}",
            "[1,]",
            "\"\n\"",
            "nul",
            "1 2",
            "{'a':1}",
            "\"\\x\"",
            "\"\\u12\"",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        assert_eq!(
            parse("[".repeat(100_000).as_bytes()),
            Err(JsonError::TooDeep)
        );
        let many = format!("[{}1]", "{},".repeat(MAX_VALUES));
        assert_eq!(parse(many.as_bytes()), Err(JsonError::TooLarge));
        let numbers = format!("[{}1]", "1,".repeat(MAX_VALUES));
        assert_eq!(
            parse(numbers.as_bytes()).unwrap().items().len(),
            MAX_LIST_NUMBERS
        );
    }
}
