//! Expressions, by precedence.

use super::ast::{Expr, Kind};
use super::lexer::Tok;
use super::parser::{Fault, Parser, Step, expression_of};

/// How high an expression may grow.
const MAX_HEIGHT: u16 = 250;
/// Binary operators, the loosest first.
const LEVELS: [&[&str]; 6] = [
    &["|"],
    &["^"],
    &["&"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "//", "%", "@"],
];
const COMPARISONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

/// An expression that is not too high.
pub(super) fn make(offset: usize, kind: Kind) -> Step<Expr> {
    let mut made = Expr {
        offset,
        height: 0,
        kind,
    };
    let below = made.children().iter().map(|child| child.height).max();
    made.height = below.map_or(1, |below| below.saturating_add(1));
    if made.height > MAX_HEIGHT {
        return Err(Fault);
    }
    Ok(made)
}

impl Parser {
    /// One expression, or several with commas.
    pub(super) fn expressions(&mut self) -> Step<Expr> {
        let offset = self.offset();
        let first = self.starred()?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            let over = match self.peek() {
                None | Some(Tok::Newline | Tok::Dedent) => true,
                Some(Tok::Op(op)) => [")", "]", "}", "=", ":", ";"].contains(op),
                _ => false,
            };
            if over {
                break;
            }
            items.push(self.starred()?);
        }
        make(offset, Kind::List(items))
    }

    fn starred(&mut self) -> Step<Expr> {
        if self.take_op("*") || self.take_op("**") {
            return self.deeper(|parser| parser.binary(0));
        }
        self.expression()
    }

    /// Names that a loop binds.
    pub(super) fn targets(&mut self) -> Step<Expr> {
        let offset = self.offset();
        let mut items = Vec::new();
        loop {
            self.take_op("*");
            items.push(self.target()?);
            if !self.take_op(",") || self.is_name("in") {
                break;
            }
        }
        if items.len() == 1 {
            return items.pop().ok_or(Fault);
        }
        make(offset, Kind::List(items))
    }

    pub(super) fn target(&mut self) -> Step<Expr> {
        self.deeper(Self::postfix)
    }

    pub(super) fn expression(&mut self) -> Step<Expr> {
        self.deeper(|parser| {
            let offset = parser.offset();
            if parser.take_name("lambda") {
                return parser.lambda(offset);
            }
            if parser.take_name("yield") {
                parser.take_name("from");
                if matches!(
                    parser.peek(),
                    None | Some(Tok::Newline | Tok::Op(")" | "]" | "}" | "=" | ","))
                ) {
                    return make(offset, Kind::Plain);
                }
                return parser.expressions();
            }
            let mut value = parser.alternatives()?;
            if parser.take_op(":=") {
                let set = parser.expression()?;
                value = make(offset, Kind::Either(vec![set, value]))?;
            }
            if parser.take_name("if") {
                let test = parser.alternatives()?;
                if !parser.take_name("else") {
                    return Err(Fault);
                }
                let otherwise = parser.expression()?;
                value = make(offset, Kind::Either(vec![value, otherwise, test]))?;
            }
            Ok(value)
        })
    }

    fn lambda(&mut self, offset: usize) -> Step<Expr> {
        while !self.take_op(":") {
            if self.take_op("=") {
                self.expression()?;
            } else {
                self.peek().ok_or(Fault)?;
                self.at += 1;
            }
        }
        let body = self.expression()?;
        make(offset, Kind::Lambda(Box::new(body)))
    }

    /// `or`, `and`.
    pub(super) fn alternatives(&mut self) -> Step<Expr> {
        let offset = self.offset();
        let mut items = vec![self.negation()?];
        while self.take_name("or") || self.take_name("and") {
            items.push(self.negation()?);
        }
        if items.len() == 1 {
            return items.pop().ok_or(Fault);
        }
        make(offset, Kind::Either(items))
    }

    fn negation(&mut self) -> Step<Expr> {
        let offset = self.offset();
        if self.take_name("not") {
            let value = self.deeper(Self::negation)?;
            return make(offset, Kind::Other(vec![value]));
        }
        let mut items = vec![self.binary(0)?];
        while self.comparison() {
            items.push(self.binary(0)?);
        }
        if items.len() == 1 {
            return items.pop().ok_or(Fault);
        }
        make(offset, Kind::Other(items))
    }

    fn comparison(&mut self) -> bool {
        if COMPARISONS.into_iter().any(|known| self.take_op(known)) || self.take_name("in") {
            return true;
        }
        if self.take_name("is") {
            self.take_name("not");
            return true;
        }
        let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
        if self.is_name("not") && matches!(next, Some(Tok::Name(name)) if name == "in") {
            self.at += 2;
            return true;
        }
        false
    }

    fn binary(&mut self, level: usize) -> Step<Expr> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let offset = self.offset();
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|known| self.is_op(known)) {
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = make(
                offset,
                Kind::Binary(operator, Box::new(left), Box::new(right)),
            )?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Step<Expr> {
        let offset = self.offset();
        let sign = ["-", "+", "~"].into_iter().find(|sign| self.is_op(sign));
        if let Some(sign) = sign {
            self.at += 1;
            let value = self.deeper(Self::unary)?;
            let kind = match value.kind {
                Kind::Int(number) if sign == "-" => Kind::Int(number.wrapping_neg()),
                _ => Kind::Other(vec![value]),
            };
            return make(offset, kind);
        }
        if self.take_name("await") {
            return self.deeper(Self::unary);
        }
        let base = self.postfix()?;
        if self.take_op("**") {
            let power = self.deeper(Self::unary)?;
            return make(offset, Kind::Binary("**", Box::new(base), Box::new(power)));
        }
        Ok(base)
    }

    fn postfix(&mut self) -> Step<Expr> {
        let mut value = self.primary()?;
        loop {
            let offset = value.offset;
            let kind = if self.take_op(".") {
                Kind::Attribute(Box::new(value), self.name()?)
            } else if self.take_op("(") {
                Kind::Call(Box::new(value), self.arguments()?)
            } else if self.take_op("[") {
                self.subscript(value)?
            } else {
                return Ok(value);
            };
            value = make(offset, kind)?;
        }
    }

    fn subscript(&mut self, value: Expr) -> Step<Kind> {
        let offset = self.offset();
        let mut parts: [Option<Box<Expr>>; 3] = [None, None, None];
        let mut colons = 0;
        let mut several = Vec::new();
        loop {
            if self.take_op("]") {
                break;
            } else if self.take_op(":") {
                colons += 1;
            } else if self.take_op(",") {
                several.extend(parts.iter_mut().filter_map(Option::take).map(|part| *part));
                colons = 0;
            } else {
                let part = Box::new(self.starred()?);
                *parts.get_mut(colons).ok_or(Fault)? = Some(part);
            }
        }
        let value = Box::new(value);
        if several.is_empty() && colons > 0 {
            return Ok(Kind::Slice(value, parts));
        }
        several.extend(parts.into_iter().flatten().map(|part| *part));
        let index = match several.len() {
            1 => several.pop().ok_or(Fault)?,
            _ => make(offset, Kind::List(several))?,
        };
        Ok(Kind::Item(value, Box::new(index)))
    }

    /// Arguments behind an open bracket, up to the closing one.
    pub(super) fn arguments(&mut self) -> Step<Vec<(Option<String>, Expr)>> {
        let mut arguments = Vec::new();
        while !self.take_op(")") {
            let next = self.tokens.get(self.at + 1);
            let named = next.is_some_and(|next| next.kind == Tok::Op("="));
            let name = if self.take_op("**") {
                Some("**".to_owned())
            } else if self.take_op("*") {
                Some("*".to_owned())
            } else if named {
                let name = self.name()?;
                self.at += 1;
                Some(name)
            } else {
                None
            };
            let value = self.expression()?;
            let value = self.comprehension(value)?;
            arguments.push((name, value));
            if !self.take_op(",") && !self.is_op(")") {
                return Err(Fault);
            }
        }
        Ok(arguments)
    }

    /// What follows an item in brackets: loops of a comprehension, or nothing.
    fn comprehension(&mut self, item: Expr) -> Step<Expr> {
        self.take_name("async");
        if !self.take_name("for") {
            return Ok(item);
        }
        let offset = item.offset;
        let target = self.targets()?;
        if !self.take_name("in") {
            return Err(Fault);
        }
        let over = self.alternatives()?;
        let mut rest = Vec::new();
        loop {
            if self.take_name("if") {
                rest.push(self.deeper(Self::alternatives)?);
            } else if self.take_name("for") || self.take_name("async") {
                self.take_name("for");
                rest.push(self.targets()?);
                if !self.take_name("in") {
                    return Err(Fault);
                }
                rest.push(self.alternatives()?);
            } else {
                break;
            }
        }
        let (item, target, over) = (Box::new(item), Box::new(target), Box::new(over));
        let kind = Kind::Comprehension {
            item,
            target,
            over,
            rest,
        };
        make(offset, kind)
    }

    fn primary(&mut self) -> Step<Expr> {
        let offset = self.offset();
        let token = self.peek().cloned().ok_or(Fault)?;
        let kind = match token {
            Tok::Name(name) => {
                self.at += 1;
                match name.as_str() {
                    "None" | "True" | "False" => Kind::Plain,
                    "if" | "else" | "for" | "in" | "and" | "or" | "not" | "is" | "import"
                    | "def" | "class" | "while" | "return" | "with" | "try" => return Err(Fault),
                    _ => Kind::Name(name),
                }
            }
            Tok::Int(number) => {
                self.at += 1;
                Kind::Int(number)
            }
            Tok::Float | Tok::Op("...") => {
                self.at += 1;
                Kind::Plain
            }
            Tok::Text(_) | Tok::Bytes(_) | Tok::Format(_) => return self.text(offset),
            Tok::Op("(") => {
                self.at += 1;
                if self.take_op(")") {
                    Kind::List(Vec::new())
                } else {
                    let inner = self.deeper(Self::expressions)?;
                    let inner = self.comprehension(inner)?;
                    self.need_op(")")?;
                    return Ok(inner);
                }
            }
            Tok::Op("[") => self.items("]")?,
            Tok::Op("{") => self.items("}")?,
            _ => return Err(Fault),
        };
        make(offset, kind)
    }

    /// Items of a list, set or dict behind the open bracket.
    fn items(&mut self, close: &str) -> Step<Kind> {
        self.at += 1;
        let mut items = Vec::new();
        let mut dict = false;
        while !self.take_op(close) {
            dict |= self.is_op("**");
            let item = self.starred()?;
            if self.take_op(":") {
                dict = true;
                let value = self.expression()?;
                let value = self.comprehension(value)?;
                items.push(item);
                items.push(value);
            } else {
                let item = self.comprehension(item)?;
                if items.is_empty()
                    && matches!(item.kind, Kind::Comprehension { .. })
                    && self.take_op(close)
                {
                    return Ok(item.kind);
                }
                items.push(item);
            }
            if !self.take_op(",") && !self.is_op(close) {
                return Err(Fault);
            }
        }
        Ok(if dict || (close == "}" && items.is_empty()) {
            Kind::Dict(items)
        } else {
            Kind::List(items)
        })
    }

    /// Literals side by side are one literal.
    fn text(&mut self, offset: usize) -> Step<Expr> {
        let mut parts: Vec<Expr> = Vec::new();
        while let Some(token) = self.peek().cloned() {
            let kind = match token {
                Tok::Text(text) => Kind::Text(text),
                Tok::Bytes(bytes) => Kind::Bytes(bytes),
                Tok::Format(body) => Kind::Format(self.fields(offset, &body)?),
                _ => break,
            };
            self.at += 1;
            match (parts.last_mut().map(|last| &mut last.kind), kind) {
                (Some(Kind::Text(last)), Kind::Text(text)) => last.push_str(&text),
                (Some(Kind::Bytes(last)), Kind::Bytes(bytes)) => last.extend(bytes),
                (_, kind) => parts.push(make(offset, kind)?),
            }
        }
        if parts.len() == 1 {
            return parts.pop().ok_or(Fault);
        }
        make(offset, Kind::Format(parts))
    }

    /// Texts and fields of an f-string.
    fn fields(&mut self, offset: usize, body: &str) -> Step<Vec<Expr>> {
        let mut parts = Vec::new();
        let mut rest = body;
        while let Some(at) = rest.find(['{', '}']) {
            let (text, tail) = rest.split_at(at);
            parts.push(make(offset, Kind::Text(text.to_owned()))?);
            if let Some(tail) = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")) {
                rest = tail;
                continue;
            }
            let Some(field) = tail.strip_prefix('{') else {
                rest = &tail[1..];
                continue;
            };
            let end = field_end(field).ok_or(Fault)?;
            let depth = self.depth;
            let value = self.deeper(|_| expression_of(&field[..end], depth + 1).ok_or(Fault));
            let mut value = value?;
            value.offset = offset;
            parts.push(value);
            rest = field.get(end..).unwrap_or_default();
            // What stands between the expression and the bracket is a conversion and a format.
            rest = rest
                .get(rest.find('}').ok_or(Fault)? + 1..)
                .unwrap_or_default();
        }
        parts.push(make(offset, Kind::Text(rest.to_owned()))?);
        Ok(parts)
    }
}

/// Where the expression of a field ends: at `}`, `!r`, `:` or `=` outside of brackets and texts.
fn field_end(field: &str) -> Option<usize> {
    let bytes = field.as_bytes();
    let mut depth = 0_u32;
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, quote) {
            (byte, Some(open)) if *byte == open => quote = None,
            (b'"' | b'\'', None) => quote = Some(*byte),
            (b'(' | b'[' | b'{', None) => depth += 1,
            (b')' | b']', None) => depth = depth.saturating_sub(1),
            (b'}', None) if depth > 0 => depth -= 1,
            (b'}' | b':', None) if depth == 0 => return Some(at),
            (b'!', None) if depth == 0 && bytes.get(at + 1) != Some(&b'=') => return Some(at),
            (b'=', None) if depth == 0 && matches!(bytes.get(at + 1), Some(b'}' | b'!' | b':')) => {
                return Some(at);
            }
            _ => {}
        }
    }
    None
}
