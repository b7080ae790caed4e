//! Statements and blocks.

use super::ast::{Expr, Kind, Module, Statement, StatementKind};
use super::expression::make;
use super::lexer::{self, Tok, Token};

/// How deep blocks, and expressions in an expression, are read.
pub(super) const MAX_DEPTH: usize = 60;

pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) depth: usize,
    fault: Option<usize>,
}

/// A line is not understood; where stands in the parser.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault;

pub(super) type Step<T> = Result<T, Fault>;

pub(super) fn parse(text: &str) -> Module {
    let (tokens, fault, cut) = lexer::tokens(text);
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        fault,
    };
    let mut body = Vec::new();
    while parser.peek().is_some() {
        parser.statements(&mut body);
        // A dedent that closes nothing.
        parser.at += 1;
    }
    Module {
        body,
        fault: parser.fault,
        cut,
        encoding: None,
    }
}

/// One expression out of an f-string.
pub(super) fn expression_of(text: &str, depth: usize) -> Option<Expr> {
    let (tokens, fault, _) = lexer::tokens(text);
    if fault.is_some() {
        return None;
    }
    let mut parser = Parser {
        tokens,
        at: 0,
        depth,
        fault: None,
    };
    parser.expressions().ok()
}

impl Parser {
    pub(super) fn peek(&self) -> Option<&Tok> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(super) fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.offset)
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Tok::Op(found)) if *found == op)
    }

    pub(super) fn take_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.at += usize::from(found);
        found
    }

    pub(super) fn need_op(&mut self, op: &str) -> Step<()> {
        if self.take_op(op) { Ok(()) } else { Err(Fault) }
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Tok::Name(found)) if found == name)
    }

    pub(super) fn take_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn name(&mut self) -> Step<String> {
        match self.peek() {
            Some(Tok::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(Fault),
        }
    }

    pub(super) fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Fault);
        }
        self.depth += 1;
        let done = work(self);
        self.depth -= 1;
        done
    }

    /// Statements up to the end of the block, whose dedent stays unread.
    fn statements(&mut self, body: &mut Vec<Statement>) {
        while let Some(token) = self.peek() {
            match token {
                Tok::Dedent => return,
                Tok::Newline | Tok::Op(";") => self.at += 1,
                Tok::Indent => {
                    // The block of a line that was not understood.
                    self.at += 1;
                    let nested = self.deeper(|parser| {
                        parser.statements(body);
                        Ok(())
                    });
                    if nested.is_err() {
                        self.note();
                        self.skip_block();
                    }
                    self.at += 1;
                }
                _ => {
                    let start = self.at;
                    if self.deeper(|parser| parser.statement(body)).is_err() {
                        self.note();
                        self.skip_line();
                    }
                    // Every turn must get on.
                    self.at = self.at.max(start + 1);
                }
            }
        }
    }

    fn note(&mut self) {
        let offset = self.offset();
        self.fault.get_or_insert(offset);
    }

    fn skip_line(&mut self) {
        while !matches!(
            self.peek(),
            None | Some(Tok::Newline | Tok::Indent | Tok::Dedent)
        ) {
            self.at += 1;
        }
    }

    /// To the dedent that closes the block whose indent was read.
    fn skip_block(&mut self) {
        let mut depth = 0_u32;
        while let Some(token) = self.peek() {
            match token {
                Tok::Indent => depth += 1,
                Tok::Dedent if depth == 0 => return,
                Tok::Dedent => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn statement(&mut self, body: &mut Vec<Statement>) -> Step<()> {
        let offset = self.offset();
        let mut evaluated = Vec::new();
        while self.take_op("@") {
            evaluated.push(self.expression()?);
            while matches!(self.peek(), Some(Tok::Newline)) {
                self.at += 1;
            }
        }
        self.take_name("async");
        let word = match self.peek() {
            Some(Tok::Name(name)) => name.clone(),
            _ => String::new(),
        };
        let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
        // `match`, `type` and `case` are words only where a statement of theirs follows.
        let soft =
            !matches!(next, Some(Tok::Op(op)) if !["(", "[", "{", "-", "*", "..."].contains(op));
        let kind = match word.as_str() {
            "import" | "from" => self.import(&word)?,
            "def" => self.function(evaluated)?,
            "class" => self.class(evaluated)?,
            "if" | "elif" => {
                self.at += 1;
                self.condition()?
            }
            "for" => return self.repetition(offset, body),
            "with" => return self.with(offset, body),
            "while" | "try" | "except" | "finally" | "else" => {
                self.at += 1;
                self.block()?
            }
            "match" | "case" if soft && self.has_colon() => {
                self.at += 1;
                self.block()?
            }
            "return" | "raise" | "assert" | "del" | "await" | "yield" => self.evaluate()?,
            "pass" | "break" | "continue" | "global" | "nonlocal" => {
                self.skip_line();
                return Ok(());
            }
            _ => self.assignment()?,
        };
        body.push(Statement { offset, kind });
        Ok(())
    }

    /// Whether the line has a colon outside of brackets.
    fn has_colon(&self) -> bool {
        let mut depth = 0_i32;
        let line = self.tokens.get(self.at..).unwrap_or_default().iter();
        for token in line
            .take_while(|token| token.kind != Tok::Newline)
            .take(400)
        {
            match token.kind {
                Tok::Op("(" | "[" | "{") => depth += 1,
                Tok::Op(")" | "]" | "}") => depth -= 1,
                Tok::Op(":") if depth == 0 => return true,
                _ => {}
            }
        }
        false
    }

    fn import(&mut self, word: &str) -> Step<StatementKind> {
        self.at += 1;
        if word == "import" {
            let mut modules = Vec::new();
            loop {
                let module = self.dotted()?;
                modules.push((module, self.alias()?));
                if !self.take_op(",") {
                    return Ok(StatementKind::Import(modules));
                }
            }
        }
        let mut module = String::new();
        while self.is_op(".") || self.is_op("...") {
            module.push_str(if self.is_op(".") { "." } else { "..." });
            self.at += 1;
        }
        if !self.is_name("import") {
            module.push_str(&self.dotted()?);
        }
        if !self.take_name("import") {
            return Err(Fault);
        }
        let mut names = Vec::new();
        if self.take_op("*") {
            names.push(("*".to_owned(), None));
            return Ok(StatementKind::From { module, names });
        }
        let bracket = self.take_op("(");
        loop {
            if bracket && self.take_op(")") {
                break;
            }
            let name = self.name()?;
            names.push((name, self.alias()?));
            if !self.take_op(",") {
                if bracket {
                    self.need_op(")")?;
                }
                break;
            }
        }
        Ok(StatementKind::From { module, names })
    }

    fn dotted(&mut self) -> Step<String> {
        let mut name = self.name()?;
        while self.take_op(".") {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name)
    }

    fn alias(&mut self) -> Step<Option<String>> {
        if self.take_name("as") {
            return self.name().map(Some);
        }
        Ok(None)
    }

    fn function(&mut self, mut evaluated: Vec<Expr>) -> Step<StatementKind> {
        self.at += 1;
        let name = self.name()?;
        self.type_parameters()?;
        self.need_op("(")?;
        let mut parameters = Vec::new();
        while !self.take_op(")") {
            if self.take_op("*") || self.take_op("**") || self.take_op("/") {
                self.take_op(",");
                continue;
            }
            parameters.push(self.name()?);
            if self.take_op(":") {
                evaluated.push(self.expression()?);
            }
            if self.take_op("=") {
                evaluated.push(self.expression()?);
            }
            if !self.take_op(",") && !self.is_op(")") {
                return Err(Fault);
            }
        }
        if self.take_op("->") {
            evaluated.push(self.expression()?);
        }
        let body = self.body()?;
        Ok(StatementKind::Function {
            name,
            evaluated,
            parameters,
            body,
        })
    }

    fn class(&mut self, mut evaluated: Vec<Expr>) -> Step<StatementKind> {
        self.at += 1;
        let name = self.name()?;
        self.type_parameters()?;
        if self.take_op("(") {
            let arguments = self.arguments()?;
            evaluated.extend(arguments.into_iter().map(|(_, value)| value));
        }
        let body = self.body()?;
        Ok(StatementKind::Class {
            name,
            evaluated,
            body,
        })
    }

    fn type_parameters(&mut self) -> Step<()> {
        if self.take_op("[") {
            while !self.take_op("]") {
                self.peek().ok_or(Fault)?;
                self.at += 1;
            }
        }
        Ok(())
    }

    /// A colon and what it opens: the rest of the line, or an indented block.
    fn body(&mut self) -> Step<Vec<Statement>> {
        self.need_op(":")?;
        let mut body = Vec::new();
        if matches!(self.peek(), Some(Tok::Newline)) {
            self.at += 1;
            if !matches!(self.peek(), Some(Tok::Indent)) {
                return Err(Fault);
            }
            self.at += 1;
            self.statements(&mut body);
            self.at += 1;
            return Ok(body);
        }
        while !matches!(self.peek(), None | Some(Tok::Newline | Tok::Dedent)) {
            let start = self.at;
            self.deeper(|parser| parser.statement(&mut body))?;
            self.take_op(";");
            self.at = self.at.max(start + 1);
        }
        Ok(body)
    }

    fn condition(&mut self) -> Step<StatementKind> {
        let test = self.expressions()?;
        let body = self.body()?;
        let mut otherwise = Vec::new();
        loop {
            let offset = self.offset();
            if self.take_name("elif") {
                // Side by side, not nested: a chain may be long.
                let kind = StatementKind::If {
                    test: self.expressions()?,
                    body: self.body()?,
                    otherwise: Vec::new(),
                };
                otherwise.push(Statement { offset, kind });
                continue;
            }
            if self.take_name("else") {
                otherwise.extend(self.body()?);
            }
            break;
        }
        Ok(StatementKind::If {
            test,
            body,
            otherwise,
        })
    }

    fn repetition(&mut self, offset: usize, body: &mut Vec<Statement>) -> Step<()> {
        self.at += 1;
        let targets = vec![self.targets()?];
        if !self.take_name("in") {
            return Err(Fault);
        }
        let value = self.expressions()?;
        let over = value.clone();
        body.push(assigned(offset, targets, first_item(value)));
        let kind = StatementKind::Block {
            evaluated: vec![over],
            body: self.body()?,
        };
        body.push(Statement { offset, kind });
        Ok(())
    }

    fn with(&mut self, offset: usize, body: &mut Vec<Statement>) -> Step<()> {
        self.at += 1;
        let bracket = self.is_op("(") && self.has_as_in_brackets();
        if bracket {
            self.at += 1;
        }
        let mut evaluated = Vec::new();
        loop {
            let value = self.expression()?;
            if self.take_name("as") {
                let targets = vec![self.target()?];
                body.push(assigned(offset, targets, value));
            } else {
                evaluated.push(value);
            }
            if !self.take_op(",") || self.is_op(")") {
                break;
            }
        }
        if bracket {
            self.need_op(")")?;
        }
        let kind = StatementKind::Block {
            evaluated,
            body: self.body()?,
        };
        body.push(Statement { offset, kind });
        Ok(())
    }

    fn has_as_in_brackets(&self) -> bool {
        let mut depth = 0_i32;
        for token in self
            .tokens
            .get(self.at..)
            .unwrap_or_default()
            .iter()
            .take(400)
        {
            match &token.kind {
                Tok::Op("(" | "[" | "{") => depth += 1,
                Tok::Op(")" | "]" | "}") => depth -= 1,
                Tok::Name(name) if name == "as" && depth == 1 => return true,
                _ => {}
            }
            if depth == 0 {
                return false;
            }
        }
        false
    }

    fn block(&mut self) -> Step<StatementKind> {
        let mut evaluated = Vec::new();
        while !self.is_op(":") {
            if self.take_name("as") {
                self.name()?;
            } else if !["*", ","].into_iter().any(|op| self.take_op(op))
                && !["if", "else"].into_iter().any(|word| self.take_name(word))
            {
                // Without a choice of its own: `if` is the guard of a case.
                evaluated.push(self.deeper(Self::alternatives)?);
            }
        }
        let body = self.body()?;
        Ok(StatementKind::Block { evaluated, body })
    }

    fn evaluate(&mut self) -> Step<StatementKind> {
        let mut values = Vec::new();
        let word = !self.is_name("await") && !self.is_name("yield");
        self.at += usize::from(word);
        while !matches!(
            self.peek(),
            None | Some(Tok::Newline | Tok::Dedent | Tok::Op(";"))
        ) {
            values.push(self.expressions()?);
            self.take_name("from");
            self.take_op(",");
        }
        Ok(StatementKind::Evaluate(values))
    }

    fn assignment(&mut self) -> Step<StatementKind> {
        const AUGMENTED: [&str; 13] = [
            "+=", "-=", "*=", "/=", "//=", "%=", "**=", ">>=", "<<=", "&=", "|=", "^=", "@=",
        ];
        let mut values = vec![self.expressions()?];
        if self.take_op(":") {
            let annotation = self.expression()?;
            if !self.take_op("=") {
                values.push(annotation);
                return Ok(StatementKind::Evaluate(values));
            }
            let value = self.expressions()?;
            let targets = values;
            return Ok(StatementKind::Assign { targets, value });
        }
        if let Some(operator) = AUGMENTED.into_iter().find(|operator| self.is_op(operator)) {
            self.at += 1;
            let value = self.expressions()?;
            let target = values.pop().ok_or(Fault)?;
            let operator = operator.strip_suffix('=').unwrap_or(operator);
            let left = Box::new(target.clone());
            let value = make(target.offset, Kind::Binary(operator, left, Box::new(value)))?;
            let targets = vec![target];
            return Ok(StatementKind::Assign { targets, value });
        }
        while self.take_op("=") {
            values.push(self.expressions()?);
        }
        if !matches!(
            self.peek(),
            None | Some(Tok::Newline | Tok::Dedent | Tok::Op(";"))
        ) {
            return Err(Fault);
        }
        let value = values.pop().ok_or(Fault)?;
        if values.is_empty() {
            return Ok(StatementKind::Evaluate(vec![value]));
        }
        let targets = values;
        Ok(StatementKind::Assign { targets, value })
    }
}

fn assigned(offset: usize, targets: Vec<Expr>, value: Expr) -> Statement {
    let kind = StatementKind::Assign { targets, value };
    Statement { offset, kind }
}

/// What a loop binds: one of the items of a list that is written out, else something of what is iterated.
fn first_item(over: Expr) -> Expr {
    let (offset, height) = (over.offset, over.height);
    let kind = match over.kind {
        Kind::List(items) if !items.is_empty() => Kind::Either(items),
        kind => Kind::Other(vec![Expr {
            offset,
            height,
            kind,
        }]),
    };
    Expr {
        offset,
        height: height.saturating_add(1),
        kind,
    }
}
