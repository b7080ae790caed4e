//! What Python source is made of, as much as is needed to tell what it calls and when.

/// A file as far as it could be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Module {
    /// Its statements.
    pub body: Vec<Statement>,
    /// Where the first line stands that was not understood. Lines behind it were read on.
    pub fault: Option<usize>,
    /// Whether reading stopped at a limit.
    pub cut: bool,
    /// The encoding that the file declares, in lower case.
    pub encoding: Option<String>,
}

/// A statement and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Offset in the text.
    pub offset: usize,
    /// What it is.
    pub kind: StatementKind,
}

/// What a statement is.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `import a.b as c`: modules with the names that they are bound to.
    Import(Vec<(String, Option<String>)>),
    /// `from a import b as c`.
    From {
        /// The module, with a dot in front for each level up.
        module: String,
        /// Names with what they are bound to; `*` is all.
        names: Vec<(String, Option<String>)>,
    },
    /// A function.
    Function {
        /// Its name.
        name: String,
        /// Decorators, defaults and annotations: evaluated where it is defined.
        evaluated: Vec<Expr>,
        /// Names of its parameters.
        parameters: Vec<String>,
        /// Its body.
        body: Vec<Statement>,
    },
    /// A class.
    Class {
        /// Its name.
        name: String,
        /// Decorators, bases and keywords.
        evaluated: Vec<Expr>,
        /// Its body, which runs where it is defined.
        body: Vec<Statement>,
    },
    /// `if` with its first arm; what follows stands in `otherwise`.
    If {
        /// The condition.
        test: Expr,
        /// What it guards.
        body: Vec<Statement>,
        /// `elif` and `else`.
        otherwise: Vec<Statement>,
    },
    /// Any other block: its expressions, then its body.
    Block {
        /// What is evaluated for it.
        evaluated: Vec<Expr>,
        /// What it holds.
        body: Vec<Statement>,
    },
    /// Targets and what they are set to; loops and `with` bind their names through it too.
    Assign {
        /// All targets.
        targets: Vec<Expr>,
        /// The value.
        value: Expr,
    },
    /// Expressions for what they do; `return`, `raise` and the like.
    Evaluate(Vec<Expr>),
}

/// An expression and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// Offset in the text.
    pub offset: usize,
    /// How many expressions lie in one another at most.
    pub height: u16,
    /// What it is.
    pub kind: Kind,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A name, normalised as Python does.
    Name(String),
    /// A text, its escapes resolved.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A whole number.
    Int(i128),
    /// `None`, `True`, `...`, a fraction: nothing that is followed.
    Plain,
    /// `a.b`.
    Attribute(Box<Expr>, String),
    /// `a[b]`.
    Item(Box<Expr>, Box<Expr>),
    /// `a[b:c:d]`.
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    /// `a(…)`; names are `*` and `**` for unpacking.
    Call(Box<Expr>, Vec<(Option<String>, Expr)>),
    /// A list, tuple or set.
    List(Vec<Expr>),
    /// Keys and values of a dict one after the other.
    Dict(Vec<Expr>),
    /// Arithmetic.
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// The body of a lambda.
    Lambda(Box<Expr>),
    /// The parts of an f-string.
    Format(Vec<Expr>),
    /// A comprehension with one loop: what it makes, the name it binds, over what.
    Comprehension {
        /// What is made in each turn.
        item: Box<Expr>,
        /// What is bound.
        target: Box<Expr>,
        /// Over what.
        over: Box<Expr>,
        /// Further loops and conditions.
        rest: Vec<Expr>,
    },
    /// Any of several: `a or b`, `b if a else c`.
    Either(Vec<Expr>),
    /// Something else that evaluates these.
    Other(Vec<Expr>),
}

impl Expr {
    /// The expressions right below this one.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Name(_) | Kind::Text(_) | Kind::Bytes(_) | Kind::Int(_) | Kind::Plain => {
                Vec::new()
            }
            Kind::Attribute(base, _) | Kind::Lambda(base) => vec![base],
            Kind::Item(base, index) => vec![base, index],
            Kind::Binary(_, left, right) => vec![left, right],
            Kind::Slice(base, parts) => {
                let parts = parts.iter().flatten().map(|part| &**part);
                std::iter::once(&**base).chain(parts).collect()
            }
            Kind::Call(called, arguments) => {
                let arguments = arguments.iter().map(|(_, value)| value);
                std::iter::once(&**called).chain(arguments).collect()
            }
            Kind::List(items)
            | Kind::Dict(items)
            | Kind::Format(items)
            | Kind::Either(items)
            | Kind::Other(items) => items.iter().collect(),
            Kind::Comprehension {
                item,
                target,
                over,
                rest,
            } => {
                let mut all: Vec<&Expr> = vec![item, target, over];
                all.extend(rest);
                all
            }
        }
    }
}
