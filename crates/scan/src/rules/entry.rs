//! One name of the allow model: what it is, under which condition it may be called, and what may be done to the result.
//!
//! A line of a reviewed file is `verb module name… [| word…]`. Verbs: `value` (may be referred to), `function` (pure; may
//! be referred to and so be stored, the file itself does not call it), `class` (may be referred to and made by `__new__`,
//! and its objects take state), `call` (may be called, under the guard that the words name). A class with a guard may
//! also be called.

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A constant: a dtype, a layout, a singleton.
    Value,
    /// A pure function: it does nothing but compute from its arguments.
    Function,
    /// A class.
    Class,
    /// A function that a reducer calls.
    Call,
}

/// Under which condition on its arguments a call is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Whatever the arguments are.
    Any,
    /// If no function is among the arguments, however deep.
    Data,
    /// If it is a literal text and the encoding Latin-1.
    Latin1,
    /// If the arguments are a module and a name in it, as literal texts, and the model knows that name.
    OwnModule,
    /// If it takes a plain attribute of an object that the model knows.
    Attribute,
    /// If the first argument is a function or class that the model knows: it will be called, later.
    Callable,
    /// If the first argument is a class that the model knows: `__new__` of it is called, and the result is an object of it.
    OfClass,
    /// As [`Guard::OfClass`], and further arguments go to its `__new__`.
    NewOf,
    /// `copyreg._reconstructor(class, base, state)`.
    Reconstructor,
    /// If the first argument is a type that the model knows: the result is an object that others hold too.
    Element,
    /// If the argument is literal bytes; they are examined in turn.
    Inner,
    /// `attrgetter(…)`: if the attributes are plain and literal.
    Getter,
    /// If no number among the arguments asks for much memory.
    Size,
    /// A data type of numpy from a literal text.
    Dtype,
    /// `torch._tensor._rebuild_from_type_v2(function, type, arguments, state)`.
    TypedRebuild,
    /// If the only argument is one of the names of plain types.
    TypeName,
    /// `type(None)`: the type of one plain value.
    TypeOf,
    /// `functools.reduce(operator.or_, types)`: a union of types.
    Union,
}

/// What may be done to an object afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Makes(u16);

impl Makes {
    /// It may be made by `__new__`.
    pub const NEW: Self = Self(1);
    /// It takes state.
    pub const STATE: Self = Self(2);
    /// Items may be set.
    pub const ITEMS: Self = Self(4);
    /// Values may be appended.
    pub const APPENDS: Self = Self(8);
    /// Values may be added.
    pub const ADDS: Self = Self(16);
    /// Its state may hold slots.
    pub const SLOTS: Self = Self(32);
    /// Others hold the result too: nothing may be changed in it.
    pub const SHARED: Self = Self(64);
    /// The result is itself something to call.
    pub const CALLABLE: Self = Self(128);
    /// Its framework's own function may make one; `__new__` alone does more than that.
    pub const RECONSTRUCTED: Self = Self(256);
    /// Every change of custom objects is covered by the finding about their class.
    pub const ANYTHING: Self = Self(2 | 4 | 8 | 16 | 32);

    /// Whether all of `other` are allowed.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One name of the allow model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Whether it may be called.
    pub guard: Option<Guard>,
    /// What may be done to what comes out.
    pub makes: Makes,
    /// Whose name it is.
    pub framework: &'static str,
}

impl Entry {
    /// From a line of a reviewed file; `None` if the line is malformed.
    pub(super) fn parse(verb: &str, line: &str, framework: &'static str) -> Option<Self> {
        let (kind, makes) = match verb {
            "value" => (Kind::Value, Makes::SHARED),
            "function" => (Kind::Function, Makes::default()),
            "class" => (Kind::Class, Makes::NEW.and(Makes::STATE)),
            "call" => (Kind::Call, Makes::default()),
            _ => return None,
        };
        let mut entry = Self {
            kind,
            guard: None,
            makes,
            framework,
        };
        let (_, words) = line.split_once(" | ").unwrap_or((line, ""));
        for word in words.split_whitespace() {
            if let Some(guard) = guard(word) {
                entry.guard = Some(guard);
            } else if word == "reconstructed" {
                entry.makes = Makes::RECONSTRUCTED.and(Makes::STATE);
            } else {
                entry.makes = entry.makes.and(makes_of(word)?);
            }
        }
        (kind != Kind::Call || entry.guard.is_some()).then_some(entry)
    }

    /// From the letters behind a name in a learnt table; `None` if one is unknown.
    pub(super) fn learnt(letters: &str) -> Option<Self> {
        let mut entry = Self {
            kind: Kind::Class,
            guard: None,
            makes: Makes::NEW.and(Makes::STATE),
            framework: "",
        };
        for letter in letters.bytes() {
            match letter {
                b's' => entry.makes = entry.makes.and(Makes::SLOTS),
                b'd' => entry.makes = entry.makes.and(Makes::ITEMS),
                b'l' => entry.makes = entry.makes.and(Makes::APPENDS),
                b'a' => entry.makes = entry.makes.and(Makes::ADDS),
                b'c' => entry.guard = Some(Guard::Data),
                b'e' => {
                    entry.guard = Some(Guard::Data);
                    entry.makes = Makes::SHARED;
                }
                b'f' => (entry.kind, entry.makes) = (Kind::Function, Makes::default()),
                b'p' => {
                    (entry.kind, entry.makes) = (Kind::Call, Makes::STATE);
                    entry.guard = Some(Guard::OfClass);
                }
                _ => return None,
            }
        }
        Some(entry)
    }

    /// Whether the name may be stored, which means that anybody may call it with anything.
    pub fn may_be_stored(&self) -> bool {
        match self.kind {
            Kind::Value => !matches!(self.guard, Some(Guard::Union)),
            Kind::Function => true,
            Kind::Class => {
                !matches!(self.guard, Some(Guard::Callable)) || self.makes.has(Makes::ITEMS)
            }
            Kind::Call => matches!(self.guard, Some(Guard::Any | Guard::Data)),
        }
    }
}

fn guard(word: &str) -> Option<Guard> {
    Some(match word {
        "any" => Guard::Any,
        "data" => Guard::Data,
        "latin1" => Guard::Latin1,
        "own-module" => Guard::OwnModule,
        "attribute" => Guard::Attribute,
        "callable" => Guard::Callable,
        "of-class" => Guard::OfClass,
        "new-of" => Guard::NewOf,
        "reconstructor" => Guard::Reconstructor,
        "element" => Guard::Element,
        "inner" => Guard::Inner,
        "getter" => Guard::Getter,
        "size" => Guard::Size,
        "dtype" => Guard::Dtype,
        "typed-rebuild" => Guard::TypedRebuild,
        "type-name" => Guard::TypeName,
        "type-of" => Guard::TypeOf,
        "union" => Guard::Union,
        _ => return None,
    })
}

fn makes_of(word: &str) -> Option<Makes> {
    Some(match word {
        "state" => Makes::STATE,
        "items" => Makes::ITEMS,
        "appends" => Makes::APPENDS,
        "adds" => Makes::ADDS,
        "slots" => Makes::SLOTS,
        "shared" => Makes::SHARED,
        "made-callable" => Makes::CALLABLE,
        _ => return None,
    })
}
