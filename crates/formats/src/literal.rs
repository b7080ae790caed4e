//! Python literals: what `ast.literal_eval` takes of them and NumPy writes.
//!
//! A header of NumPy is a dict of texts, truth values, numbers, tuples and lists. Nothing else is read here; what is not
//! read is no literal, and the caller says so. Depth and length are bounded.

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    /// A tuple or a list.
    Items(Vec<Literal>),
    /// In its order; of equal keys the last counts.
    Dict(Vec<(Literal, Literal)>),
}

impl Literal {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

const MAX_DEPTH: u32 = 32;
const MAX_ITEMS: usize = 100_000;

/// The literal that `text` is; `None` if it is none of these.
pub(crate) fn parse(text: &str) -> Option<Literal> {
    let mut parser = Parser {
        rest: text,
        items_left: MAX_ITEMS,
    };
    let value = parser.value(0)?;
    parser.skip_blank();
    parser.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
    items_left: usize,
}

impl Parser<'_> {
    fn skip_blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_blank();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: u32) -> Option<Literal> {
        self.items_left = self.items_left.checked_sub(1)?;
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_blank();
        match self.rest.chars().next()? {
            '{' => self.dict(depth),
            '(' => self.items("(", ")", depth),
            '[' => self.items("[", "]", depth),
            '\'' | '"' | 'u' | 'b' => self.text(),
            '-' | '0'..='9' => self.int(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Option<Literal> {
        const WORDS: [(&str, Literal); 3] = [
            ("True", Literal::Bool(true)),
            ("False", Literal::Bool(false)),
            ("None", Literal::None),
        ];
        let (word, value) = WORDS.iter().find(|(word, _)| self.rest.starts_with(word))?;
        self.rest = self.rest.get(word.len()..)?;
        Some(value.clone())
    }

    /// A tuple, a list, or a value in parentheses.
    fn items(&mut self, open: &str, close: &str, depth: u32) -> Option<Literal> {
        self.take(open);
        let mut items = Vec::new();
        let mut comma = true;
        while !self.take(close) {
            if !comma {
                return None;
            }
            items.push(self.value(depth + 1)?);
            comma = self.take(",");
        }
        let single = open == "(" && !comma && items.len() == 1;
        match items.pop() {
            Some(only) if single => Some(only),
            last => {
                items.extend(last);
                Some(Literal::Items(items))
            }
        }
    }

    fn dict(&mut self, depth: u32) -> Option<Literal> {
        self.take("{");
        let mut pairs = Vec::new();
        let mut comma = true;
        while !self.take("}") {
            if !comma {
                return None;
            }
            let key = self.value(depth + 1)?;
            if !self.take(":") {
                return None;
            }
            pairs.push((key, self.value(depth + 1)?));
            comma = self.take(",");
        }
        Some(Literal::Dict(pairs))
    }

    fn int(&mut self) -> Option<Literal> {
        let digits = |c: char| !(c.is_ascii_digit() || c == '_');
        let start = usize::from(self.rest.starts_with('-'));
        let end = self.rest.get(start..)?.find(digits);
        let end = end.map_or(self.rest.len(), |end| end + start);
        let (number, rest) = self.rest.split_at(end);
        // Python 2 wrote long integers with a letter behind them.
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        number.replace('_', "").parse().ok().map(Literal::Int)
    }

    /// A text on one line, and those directly behind it, which Python puts together.
    fn text(&mut self) -> Option<Literal> {
        let mut text = String::new();
        while self.one_text(&mut text)? {
            self.skip_blank();
            if !self.rest.starts_with(['\'', '"']) {
                return Some(Literal::Text(text));
            }
        }
        None
    }

    fn one_text(&mut self, text: &mut String) -> Option<bool> {
        let bare = self.rest.strip_prefix(['u', 'b']).unwrap_or(self.rest);
        let quote = bare.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut rest = bare.get(1..)?.chars();
        loop {
            match rest.next()? {
                c if c == quote => break,
                '\n' => return None,
                '\\' => match rest.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'x' => {
                        let hex = rest.as_str().get(..2)?;
                        text.push(char::from(u8::from_str_radix(hex, 16).ok()?));
                        rest = rest.as_str().get(2..)?.chars();
                    }
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    _ => return None,
                },
                c => text.push(c),
            }
        }
        self.rest = rest.as_str();
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numpys_headers_are_read() {
        let text = "{'descr': [('a', '<f4'), ('b', '|O', (2,))], 'fortran_order': False, 'shape': (3L, 4), }  \n";
        let Some(Literal::Dict(pairs)) = parse(text) else {
            panic!("no dict");
        };
        assert_eq!(pairs.len(), 3);
        let shape = Literal::Items(vec![Literal::Int(3), Literal::Int(4)]);
        assert_eq!(pairs[2], (Literal::Text("shape".to_owned()), shape));
    }

    #[test]
    fn parentheses_around_one_value_are_no_tuple() {
        assert_eq!(parse("(1)"), Some(Literal::Int(1)));
        assert_eq!(parse("(1,)"), Some(Literal::Items(vec![Literal::Int(1)])));
        assert_eq!(parse("()"), Some(Literal::Items(vec![])));
    }

    #[test]
    fn texts_side_by_side_are_one_and_escapes_are_read() {
        assert_eq!(parse(r#"'|' "O""#), Some(Literal::Text("|O".to_owned())));
        assert_eq!(parse(r"'\x4f\''"), Some(Literal::Text("O'".to_owned())));
    }

    #[test]
    fn what_is_no_literal_is_refused_without_recursion() {
        for text in ["f()", "{'a'}", "1+", "'a", "(1 2)", "{1:2 3:4}", "x", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"(".repeat(100_000)), None);
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }
}
