//! Tags to nodes. Expressions stand in their own file.

use super::ast::{Expr, Fault, FaultKind, Kind, Node, Template};
use super::lexer::{self, Tok, Token};

/// How deep blocks, and expressions in an expression, are read.
pub(super) const MAX_DEPTH: usize = 48;

pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) depth: usize,
    end: usize,
    /// Where the text could not be cut into tokens any further.
    broken: Option<Fault>,
}

pub(super) type Step<T> = Result<T, Fault>;

pub(super) fn parse(text: &str) -> Template {
    let (tokens, broken) = lexer::tokens(text);
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        end: text.len(),
        broken,
    };
    let mut nodes = Vec::new();
    let mut fault = None;
    while fault.is_none() && !parser.is_done() {
        fault = match parser.body(&[], &mut nodes) {
            Ok(()) if !parser.is_done() => Some(parser.fault(FaultKind::Tag)),
            Ok(()) => None,
            Err(fault) => Some(fault),
        };
    }
    Template {
        nodes,
        fault: fault.or(broken),
    }
}

impl Parser {
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(super) fn offset(&self) -> usize {
        let token = self.tokens.get(self.at);
        token.map_or(self.end, |token| token.offset)
    }

    pub(super) fn fault(&self, kind: FaultKind) -> Fault {
        let offset = self.offset();
        match self.broken {
            Some(fault) if self.is_done() => fault,
            _ => Fault { offset, kind },
        }
    }

    pub(super) fn peek(&self) -> Option<&Tok> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(super) fn name(&mut self) -> Step<String> {
        match self.peek() {
            Some(Tok::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.fault(FaultKind::Syntax)),
        }
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Tok::Name(found)) if found == name)
    }

    pub(super) fn take_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
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
        if self.take_op(op) {
            return Ok(());
        }
        Err(self.fault(FaultKind::Syntax))
    }

    pub(super) fn at_end(&self) -> bool {
        matches!(self.peek(), Some(Tok::End))
    }

    fn end(&mut self) -> Step<()> {
        if self.at_end() {
            self.at += 1;
            return Ok(());
        }
        Err(self.fault(FaultKind::Syntax))
    }

    /// Runs `work` one level deeper.
    pub(super) fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fault(FaultKind::Depth));
        }
        self.depth += 1;
        let done = work(self);
        self.depth -= 1;
        done
    }

    /// Adds nodes to `nodes` up to a tag with a name in `until`, which stays unread but for its delimiter and name. What
    /// was read before a fault stays in `nodes`: it would be evaluated by readers that are more lenient.
    fn body(&mut self, until: &[&str], nodes: &mut Vec<Node>) -> Step<()> {
        while let Some(token) = self.tokens.get(self.at) {
            let offset = token.offset;
            match &token.kind {
                Tok::Text(text) => {
                    let text = text.clone();
                    nodes.push(Node::Text { offset, text });
                    self.at += 1;
                }
                Tok::Print => {
                    self.at += 1;
                    let value = self.list()?;
                    nodes.push(Node::Output(value));
                    self.end()?;
                }
                Tok::Tag => {
                    if let Some(Tok::Name(name)) =
                        self.tokens.get(self.at + 1).map(|next| &next.kind)
                        && until.contains(&name.as_str())
                    {
                        self.at += 1;
                        return Ok(());
                    }
                    self.at += 1;
                    let tag = self.name()?;
                    self.deeper(|parser| parser.tag(&tag, nodes))?;
                }
                _ => return Err(self.fault(FaultKind::Syntax)),
            }
        }
        if until.is_empty() {
            return Ok(());
        }
        Err(self.fault(FaultKind::Syntax))
    }

    /// A body whose nodes are kept in `nodes` also when it breaks off.
    fn block(&mut self, until: &[&str]) -> Step<Vec<Node>> {
        let mut nodes = Vec::new();
        self.body(until, &mut nodes)?;
        Ok(nodes)
    }

    /// The body up to `{% endtag %}`, that tag included.
    fn closed(&mut self, tag: &str) -> Step<Vec<Node>> {
        self.end()?;
        let close = format!("end{tag}");
        let nodes = self.block(&[&close])?;
        self.at += 1;
        if !self.at_end() {
            // `{% endblock name %}`.
            self.name()?;
        }
        self.end()?;
        Ok(nodes)
    }

    fn tag(&mut self, tag: &str, nodes: &mut Vec<Node>) -> Step<()> {
        let node = match tag {
            "if" => self.condition()?,
            "for" => self.repetition()?,
            "set" => self.set()?,
            "macro" => {
                let name = self.name()?;
                self.need_op("(")?;
                let parameters = self.parameters()?;
                let body = self.closed("macro")?;
                Node::Macro {
                    name,
                    parameters,
                    body,
                }
            }
            "call" => return self.call(nodes),
            "filter" | "with" | "block" | "autoescape" | "generation" => self.around(tag)?,
            "include" | "import" | "from" | "extends" => self.file(tag)?,
            "do" | "print" => {
                let value = self.list()?;
                self.end()?;
                match tag {
                    "do" => Node::Do(value),
                    _ => Node::Output(value),
                }
            }
            "break" | "continue" => {
                self.end()?;
                Node::Jump
            }
            "debug" => return self.end(),
            _ => {
                self.at -= 1;
                return Err(self.fault(FaultKind::Tag));
            }
        };
        nodes.push(node);
        Ok(())
    }

    fn condition(&mut self) -> Step<Node> {
        let mut arms = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let test = self.list()?;
            self.end()?;
            let body = self.block(&["elif", "else", "endif"])?;
            arms.push((test, body));
            if self.take_name("elif") {
                continue;
            }
            if self.take_name("else") {
                self.end()?;
                otherwise = self.block(&["endif"])?;
            }
            self.at += 1;
            self.end()?;
            return Ok(Node::If { arms, otherwise });
        }
    }

    fn repetition(&mut self) -> Step<Node> {
        let target = self.targets()?;
        if !self.take_name("in") {
            return Err(self.fault(FaultKind::Syntax));
        }
        let over = self.plain_list()?;
        let only = if self.take_name("if") {
            Some(self.expression()?)
        } else {
            None
        };
        self.take_name("recursive");
        self.end()?;
        let body = self.block(&["else", "endfor"])?;
        let mut otherwise = Vec::new();
        if self.take_name("else") {
            self.end()?;
            otherwise = self.block(&["endfor"])?;
        }
        self.at += 1;
        self.end()?;
        Ok(Node::For {
            target,
            over,
            only,
            body,
            otherwise,
        })
    }

    fn set(&mut self) -> Step<Node> {
        let target = self.targets()?;
        if self.take_op("=") {
            let value = self.list()?;
            self.end()?;
            return Ok(Node::Set { target, value });
        }
        let filters = self.filters_of_block()?;
        let body = self.closed("set")?;
        let body = match filters {
            Some(filters) => vec![Node::Around {
                tag: "filter",
                values: vec![filters],
                names: Vec::new(),
                body,
            }],
            None => body,
        };
        Ok(Node::SetBlock { target, body })
    }

    /// Filters that are applied to a body: `| a | b(c)`, as filters of an empty text.
    fn filters_of_block(&mut self) -> Step<Option<Expr>> {
        if !self.is_op("|") {
            return Ok(None);
        }
        let base = self.make(self.offset(), Kind::Text(String::new()))?;
        self.filters(base).map(Some)
    }

    fn call(&mut self, nodes: &mut Vec<Node>) -> Step<()> {
        let parameters = if self.take_op("(") {
            self.parameters()?
        } else {
            Vec::new()
        };
        let value = self.expression()?;
        let body = self.closed("call")?;
        nodes.push(Node::Macro {
            name: String::new(),
            parameters,
            body,
        });
        nodes.push(Node::Output(value));
        Ok(())
    }

    fn around(&mut self, tag: &str) -> Step<Node> {
        let tag = match tag {
            "filter" => "filter",
            "with" => "with",
            "block" => "block",
            "autoescape" => "autoescape",
            _ => "generation",
        };
        let mut values = Vec::new();
        let mut names = Vec::new();
        match tag {
            "filter" => {
                let base = self.make(self.offset(), Kind::Text(String::new()))?;
                // The first filter has no bar in front of it.
                values.push(
                    self.filter_named(base)
                        .and_then(|base| self.filters(base))?,
                );
            }
            "with" => {
                while !self.at_end() {
                    names.push(self.name()?);
                    self.need_op("=")?;
                    values.push(self.expression()?);
                    self.take_op(",");
                }
            }
            "block" => {
                names.push(self.name()?);
                while !self.at_end() {
                    self.name()?;
                }
            }
            "autoescape" => values.push(self.expression()?),
            _ => {}
        }
        let body = self.closed(tag)?;
        Ok(Node::Around {
            tag,
            values,
            names,
            body,
        })
    }

    fn file(&mut self, tag: &str) -> Step<Node> {
        let tag = match tag {
            "include" => "include",
            "import" => "import",
            "from" => "from",
            _ => "extends",
        };
        let name = self.expression()?;
        // What follows are names and context words, and none of them is evaluated.
        while !self.at_end() && !self.is_done() {
            self.at += 1;
        }
        self.end()?;
        Ok(Node::File { tag, name })
    }

    /// Names behind an open bracket, with defaults, up to the closing one.
    fn parameters(&mut self) -> Step<Vec<(String, Option<Expr>)>> {
        let mut parameters = Vec::new();
        while !self.take_op(")") {
            let name = self.name()?;
            let default = if self.take_op("=") {
                Some(self.expression()?)
            } else {
                None
            };
            parameters.push((name, default));
            if !self.take_op(",") && !self.is_op(")") {
                return Err(self.fault(FaultKind::Syntax));
            }
        }
        Ok(parameters)
    }
}
