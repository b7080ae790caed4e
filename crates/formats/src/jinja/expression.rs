//! Expressions, by precedence, with the levels of Jinja2's parser.

use super::ast::{Arguments, Expr, FaultKind, Kind};
use super::lexer::Tok;
use super::parser::{Parser, Step};

/// How high an expression may grow; chains of operators grow to the left.
const MAX_HEIGHT: u16 = 250;

/// Operators from the loosest to the tightest. `not` and comparisons stand between them and are read apart.
const LEVELS: [&[&str]; 8] = [
    &["or"],
    &["and"],
    &[],
    &[],
    &["+", "-"],
    &["~"],
    &["*", "/", "//", "%"],
    &["**"],
];
const NOT: usize = 2;
const COMPARE: usize = 3;
const COMPARISONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

impl Parser {
    pub(super) fn make(&self, offset: usize, kind: Kind) -> Step<Expr> {
        let mut made = Expr {
            offset,
            height: 0,
            kind,
        };
        let below = made.children().iter().map(|child| child.height).max();
        made.height = below.map_or(1, |below| below.saturating_add(1));
        if made.height > MAX_HEIGHT {
            return Err(self.fault(FaultKind::Depth));
        }
        Ok(made)
    }

    /// One expression, or several with commas: a tuple.
    pub(super) fn list(&mut self) -> Step<Expr> {
        self.tuple(Self::expression)
    }

    /// The same without `a if b else c`, whose `if` belongs to the loop.
    pub(super) fn plain_list(&mut self) -> Step<Expr> {
        self.tuple(|parser| parser.deeper(|parser| parser.binary(0)))
    }

    fn tuple(&mut self, item: fn(&mut Self) -> Step<Expr>) -> Step<Expr> {
        let offset = self.offset();
        let first = item(self)?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            let over = self.at_end() || self.is_op(")") || self.is_op("=") || self.is_name("in");
            if over {
                break;
            }
            items.push(item(self)?);
        }
        self.make(offset, Kind::List(items))
    }

    /// Names that are bound: `a`, `a, b`, `(a, b)`, `ns.a`.
    pub(super) fn targets(&mut self) -> Step<Expr> {
        self.tuple(|parser| parser.deeper(Self::postfix))
    }

    pub(super) fn expression(&mut self) -> Step<Expr> {
        self.deeper(|parser| {
            let offset = parser.offset();
            let mut value = parser.binary(0)?;
            while parser.take_name("if") {
                let test = Box::new(parser.binary(0)?);
                let otherwise = if parser.take_name("else") {
                    Some(Box::new(parser.expression()?))
                } else {
                    None
                };
                let then = Box::new(value);
                let kind = Kind::Choice {
                    then,
                    test,
                    otherwise,
                };
                value = parser.make(offset, kind)?;
            }
            Ok(value)
        })
    }

    fn binary(&mut self, level: usize) -> Step<Expr> {
        match level {
            NOT => self.negation(),
            COMPARE => self.comparison(),
            _ => self.chain(level),
        }
    }

    fn chain(&mut self, level: usize) -> Step<Expr> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary(true);
        };
        let offset = self.offset();
        let mut left = self.binary(level + 1)?;
        loop {
            let found = operators
                .iter()
                .find(|known| self.is_op(known) || self.is_name(known));
            let Some(operator) = found else {
                return Ok(left);
            };
            self.at += 1;
            let right = self.binary(level + 1)?;
            let kind = Kind::Binary(operator, Box::new(left), Box::new(right));
            left = self.make(offset, kind)?;
        }
    }

    fn negation(&mut self) -> Step<Expr> {
        let offset = self.offset();
        if !self.take_name("not") {
            return self.binary(COMPARE);
        }
        let value = self.deeper(Self::negation)?;
        self.make(offset, Kind::Not(Box::new(value)))
    }

    fn comparison(&mut self) -> Step<Expr> {
        let offset = self.offset();
        let first = self.binary(COMPARE + 1)?;
        let mut rest = Vec::new();
        loop {
            let known = COMPARISONS.into_iter().find(|known| self.is_op(known));
            let operator = if let Some(known) = known {
                self.at += 1;
                known
            } else if self.take_name("in") {
                "in"
            } else if self.is_name("not") && self.is_in_next() {
                self.at += 2;
                "not in"
            } else {
                break;
            };
            rest.push((operator, self.binary(COMPARE + 1)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        self.make(offset, Kind::Compare(Box::new(first), rest))
    }

    fn is_in_next(&self) -> bool {
        let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
        matches!(next, Some(Tok::Name(name)) if name == "in")
    }

    fn unary(&mut self, with_filters: bool) -> Step<Expr> {
        let offset = self.offset();
        let sign = ['-', '+']
            .into_iter()
            .find(|sign| self.is_op(if *sign == '-' { "-" } else { "+" }));
        let value = if let Some(sign) = sign {
            self.at += 1;
            let value = self.deeper(|parser| parser.unary(false))?;
            let signed = self.make(offset, Kind::Sign(sign, Box::new(value)))?;
            self.postfixes(signed)?
        } else {
            self.postfix()?
        };
        if with_filters {
            return self.filters(value);
        }
        Ok(value)
    }

    fn postfix(&mut self) -> Step<Expr> {
        let value = self.primary()?;
        self.postfixes(value)
    }

    fn primary(&mut self) -> Step<Expr> {
        let offset = self.offset();
        let token = self.peek().cloned();
        let kind = match token {
            Some(Tok::Name(name)) => match name.as_str() {
                "true" | "True" => Kind::Bool(true),
                "false" | "False" => Kind::Bool(false),
                "none" | "None" => Kind::None,
                _ => Kind::Name(name),
            },
            Some(Tok::Int(value)) => Kind::Int(value),
            Some(Tok::Float(value)) => Kind::Float(value),
            Some(Tok::Str(mut text)) => {
                // Texts side by side are one text.
                while let Some(Tok::Str(more)) = self.tokens.get(self.at + 1).map(|next| &next.kind)
                {
                    text.push_str(more);
                    self.at += 1;
                }
                Kind::Text(text)
            }
            Some(Tok::Op("(")) => {
                self.at += 1;
                if self.take_op(")") {
                    return self.make(offset, Kind::List(Vec::new()));
                }
                let inner = self.deeper(Self::list)?;
                self.need_op(")")?;
                return Ok(inner);
            }
            Some(Tok::Op("[")) => {
                let items = self.items()?;
                return self.make(offset, Kind::List(items));
            }
            Some(Tok::Op("{")) => {
                let pairs = self.pairs()?;
                return self.make(offset, Kind::Dict(pairs));
            }
            _ => return Err(self.fault(FaultKind::Syntax)),
        };
        self.at += 1;
        self.make(offset, kind)
    }

    fn items(&mut self) -> Step<Vec<Expr>> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.take_op("]") {
            items.push(self.expression()?);
            if !self.take_op(",") && !self.is_op("]") {
                return Err(self.fault(FaultKind::Syntax));
            }
        }
        Ok(items)
    }

    fn pairs(&mut self) -> Step<Vec<(Expr, Expr)>> {
        self.at += 1;
        let mut pairs = Vec::new();
        while !self.take_op("}") {
            let key = self.expression()?;
            self.need_op(":")?;
            pairs.push((key, self.expression()?));
            if !self.take_op(",") && !self.is_op("}") {
                return Err(self.fault(FaultKind::Syntax));
            }
        }
        Ok(pairs)
    }

    fn postfixes(&mut self, mut value: Expr) -> Step<Expr> {
        loop {
            let offset = self.offset();
            let kind = if self.take_op(".") {
                match self.peek() {
                    Some(Tok::Int(index)) => {
                        let index = *index;
                        self.at += 1;
                        let index = self.make(offset, Kind::Int(index))?;
                        Kind::Item(Box::new(value), Box::new(index))
                    }
                    _ => Kind::Attribute(Box::new(value), self.name()?),
                }
            } else if self.take_op("[") {
                self.subscript(value)?
            } else if self.take_op("(") {
                Kind::Call(Box::new(value), self.arguments()?)
            } else {
                return Ok(value);
            };
            value = self.make(offset, kind)?;
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
            } else {
                let part = Box::new(self.expression()?);
                let place = parts.get_mut(colons).ok_or(self.fault(FaultKind::Syntax))?;
                *place = Some(part);
            }
        }
        let value = Box::new(value);
        if !several.is_empty() {
            several.extend(parts.into_iter().flatten().map(|part| *part));
            let index = self.make(offset, Kind::List(several))?;
            return Ok(Kind::Item(value, Box::new(index)));
        }
        if colons > 0 {
            return Ok(Kind::Slice(value, parts));
        }
        let [Some(index), ..] = parts else {
            return Err(self.fault(FaultKind::Syntax));
        };
        Ok(Kind::Item(value, index))
    }

    /// Arguments behind an open bracket, up to the closing one.
    fn arguments(&mut self) -> Step<Arguments> {
        let mut arguments = Vec::new();
        while !self.take_op(")") {
            let name = if self.take_op("**") {
                Some("**".to_owned())
            } else if self.take_op("*") {
                Some("*".to_owned())
            } else {
                self.keyword()
            };
            arguments.push((name, self.expression()?));
            if !self.take_op(",") && !self.is_op(")") {
                return Err(self.fault(FaultKind::Syntax));
            }
        }
        Ok(arguments)
    }

    fn keyword(&mut self) -> Option<String> {
        let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
        let Some(Tok::Name(name)) = self.peek().filter(|_| next == Some(&Tok::Op("="))) else {
            return None;
        };
        let name = name.clone();
        self.at += 2;
        Some(name)
    }

    /// Filters and tests, and calls of what they give.
    pub(super) fn filters(&mut self, mut value: Expr) -> Step<Expr> {
        loop {
            let offset = self.offset();
            if self.take_op("|") {
                value = self.filter_named(value)?;
            } else if self.take_name("is") {
                let negated = self.take_name("not");
                value = self.test(value)?;
                if negated {
                    value = self.make(offset, Kind::Not(Box::new(value)))?;
                }
            } else if self.take_op("(") {
                let kind = Kind::Call(Box::new(value), self.arguments()?);
                value = self.make(offset, kind)?;
            } else {
                return Ok(value);
            }
        }
    }

    /// A filter whose bar was read.
    pub(super) fn filter_named(&mut self, value: Expr) -> Step<Expr> {
        let offset = self.offset();
        let name = self.dotted()?;
        let arguments = if self.take_op("(") {
            self.arguments()?
        } else {
            Vec::new()
        };
        let filtered = self.make(offset, Kind::Filter(Box::new(value), name, arguments))?;
        // `x|first.name` is not Jinja2, `x|f is g` is; attributes of what a filter gives stand in brackets.
        Ok(filtered)
    }

    fn dotted(&mut self) -> Step<String> {
        let mut name = self.name()?;
        while self.take_op(".") {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name)
    }

    fn test(&mut self, value: Expr) -> Step<Expr> {
        let offset = self.offset();
        let name = self.dotted()?;
        let arguments = if self.take_op("(") {
            self.arguments()?
        } else if self.is_argument() {
            vec![(None, self.deeper(Self::postfix)?)]
        } else {
            Vec::new()
        };
        self.make(offset, Kind::Test(Box::new(value), name, arguments))
    }

    fn is_argument(&self) -> bool {
        match self.peek() {
            Some(Tok::Name(name)) => !["else", "or", "and", "is", "if", "not", "in", "recursive"]
                .contains(&name.as_str()),
            Some(Tok::Str(_) | Tok::Int(_) | Tok::Float(_)) => true,
            Some(Tok::Op(op)) => ["[", "{"].contains(op),
            _ => false,
        }
    }
}
