//! What a template is made of.

/// A template as far as it could be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Template {
    /// Its parts, in their order.
    pub nodes: Vec<Node>,
    /// Why reading ended before the end.
    pub fault: Option<Fault>,
}

/// Why a template could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct Fault {
    /// Offset in the text.
    pub offset: usize,
    /// What it is.
    pub kind: FaultKind,
}

/// What stops the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// A character or an end that no token has.
    #[error("unreadable text")]
    Token,
    /// A token where another one is needed.
    #[error("unexpected syntax")]
    Syntax,
    /// A tag that neither Jinja nor the loaders of models know.
    #[error("an unknown tag")]
    Tag,
    /// Nested deeper than is read.
    #[error("too deep nesting")]
    Depth,
    /// More parts than are read.
    #[error("too many parts")]
    Size,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Text that is emitted as it stands.
    Text {
        /// Offset in the template.
        offset: usize,
        /// The text, trimmed where a tag asks for it.
        text: String,
    },
    /// `{{ … }}`.
    Output(Expr),
    /// `{% set target = value %}`.
    Set {
        /// A name, an attribute of a namespace, or several of them.
        target: Expr,
        /// What is set.
        value: Expr,
    },
    /// `{% set target %}…{% endset %}`, and its filters applied to the name of the target.
    SetBlock {
        /// A name.
        target: Expr,
        /// What is evaluated and set.
        body: Vec<Node>,
    },
    /// `{% if %}` with all its arms.
    If {
        /// Conditions and what they guard, in their order.
        arms: Vec<(Expr, Vec<Node>)>,
        /// `{% else %}`.
        otherwise: Vec<Node>,
    },
    /// `{% for %}`.
    For {
        /// What is bound in each turn.
        target: Expr,
        /// Over what.
        over: Expr,
        /// The condition behind `if`.
        only: Option<Expr>,
        /// What is repeated.
        body: Vec<Node>,
        /// `{% else %}`.
        otherwise: Vec<Node>,
    },
    /// `{% macro %}`, and the caller's body of `{% call %}`.
    Macro {
        /// Its name; empty for the body of a call.
        name: String,
        /// Its parameters with their defaults.
        parameters: Vec<(String, Option<Expr>)>,
        /// What it emits.
        body: Vec<Node>,
    },
    /// Something around a body that changes how it is emitted: `filter`, `with`, `block`, `autoescape`, `generation`.
    Around {
        /// The tag.
        tag: &'static str,
        /// Its expressions.
        values: Vec<Expr>,
        /// Names that it binds, each to the value of the same index.
        names: Vec<String>,
        /// The body.
        body: Vec<Node>,
    },
    /// `include`, `import`, `from` or `extends`: another file.
    File {
        /// The tag.
        tag: &'static str,
        /// Which file.
        name: Expr,
    },
    /// `{% break %}`, `{% continue %}`.
    Jump,
    /// `{% do … %}` and other tags that evaluate and emit nothing.
    Do(Expr),
}

/// An expression and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// Offset in the template.
    pub offset: usize,
    /// How many expressions lie in one another at most.
    pub height: u16,
    /// What it is.
    pub kind: Kind,
}

/// Arguments: a name where one is given (`*` and `**` for unpacking), and the value.
pub type Arguments = Vec<(Option<String>, Expr)>;

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `true`, `false`.
    Bool(bool),
    /// `none`.
    None,
    /// A whole number; those that do not fit are [`i128::MAX`].
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// A text, its escapes resolved.
    Text(String),
    /// A name.
    Name(String),
    /// `a.b`.
    Attribute(Box<Expr>, String),
    /// `a[b]`.
    Item(Box<Expr>, Box<Expr>),
    /// `a[b:c:d]`.
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    /// `a(…)`.
    Call(Box<Expr>, Arguments),
    /// `a|name(…)`.
    Filter(Box<Expr>, String, Arguments),
    /// `a is name(…)`; `is not` stands under a [`Kind::Not`].
    Test(Box<Expr>, String, Arguments),
    /// `not a`.
    Not(Box<Expr>),
    /// `-a`, `+a`.
    Sign(char, Box<Expr>),
    /// Arithmetic, `~`, `and`, `or`.
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// `a < b == c`; `not in` is one operator.
    Compare(Box<Expr>, Vec<(&'static str, Expr)>),
    /// `a if b else c`.
    Choice {
        /// `a`.
        then: Box<Expr>,
        /// `b`.
        test: Box<Expr>,
        /// `c`.
        otherwise: Option<Box<Expr>>,
    },
    /// A list or tuple.
    List(Vec<Expr>),
    /// A dict.
    Dict(Vec<(Expr, Expr)>),
}

impl Expr {
    /// The expressions right below this one.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Bool(_)
            | Kind::None
            | Kind::Int(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::Name(_) => Vec::new(),
            Kind::Attribute(base, _) | Kind::Not(base) | Kind::Sign(_, base) => vec![base],
            Kind::Item(base, index) => vec![base, index],
            Kind::Slice(base, parts) => {
                let parts = parts.iter().flatten().map(|part| &**part);
                std::iter::once(&**base).chain(parts).collect()
            }
            Kind::Call(base, arguments)
            | Kind::Filter(base, _, arguments)
            | Kind::Test(base, _, arguments) => {
                let arguments = arguments.iter().map(|(_, value)| value);
                std::iter::once(&**base).chain(arguments).collect()
            }
            Kind::Binary(_, left, right) => vec![left, right],
            Kind::Compare(first, rest) => {
                let rest = rest.iter().map(|(_, value)| value);
                std::iter::once(&**first).chain(rest).collect()
            }
            Kind::Choice {
                then,
                test,
                otherwise,
            } => {
                let mut all: Vec<&Expr> = vec![then, test];
                all.extend(otherwise.as_deref());
                all
            }
            Kind::List(items) => items.iter().collect(),
            Kind::Dict(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
        }
    }
}
