//! The conditions under which the calls of the model are harmless.
//!
//! A function that a reducer calls is vouched for with the arguments that reducers give it. `getattr` of an enumeration
//! is a member, `getattr` of a module is anything.

use std::rc::Rc;

use domain::scan::{Role, Rule, Weight};
use formats::pickle::{Call, Id, Value};

use super::call::made;
use super::dunder::is_dunder;
use super::judge::{Judge, Nature, Verdict};
use super::names::Name;
use crate::rules::{Entry, Guard, Kind, Makes, Standing, looks_like_class};

/// Numbers beyond this ask for memory that no small object needs, in elements.
const MAX_ELEMENTS: i128 = 1 << 32;
/// How many values are looked at for functions among the arguments of one call.
const MAX_LOOKED_AT: usize = 20_000;

type Judged = (Option<Verdict>, Nature);

impl Judge<'_, '_, '_> {
    /// Judges the call of a name of the model, and says what comes out.
    pub(super) fn guarded(
        &mut self,
        entry: Entry,
        call: &Call,
        name: &Name,
        offset: usize,
    ) -> Judged {
        let Some(guard) = entry.guard else {
            let why = format!(
                "`{}` is known, but no checkpoint needs to call it.",
                name.full()
            );
            return unvouched(why);
        };
        let Some(args) = self.args(call) else {
            let why = format!(
                "What `{}` is called with is put together while loading.",
                name.full()
            );
            return unvouched(why);
        };
        let out = made(entry.makes);
        match guard {
            Guard::Data if self.hold_callables(args) => unvouched(format!(
                "`{}` is given functions where it is always given data; somebody would call them later.",
                name.full()
            )),
            Guard::Getter if args.iter().any(|id| self.reaches(*id)) => dangerous(
                Rule::ResolvesAttributes,
                format!(
                    "`{}` is made to reach for the machinery behind objects.",
                    name.full()
                ),
            ),
            Guard::Any | Guard::Data | Guard::Getter => (None, out),
            Guard::Latin1 => self.latin1(args, name),
            Guard::OwnModule => self.own_module(args, name),
            Guard::Attribute => self.attribute(args, offset),
            Guard::Callable => self.callable(args, entry, name),
            Guard::OfClass => self.of_class(args, entry, name, offset),
            Guard::NewOf => self.new_of(args, entry, name, offset),
            Guard::Reconstructor => self.reconstructor(args, entry, name, offset),
            Guard::Element => match args.first().and_then(|id| self.name(*id)) {
                Some(owner) if matches!(owner.standing, Standing::Listed(_)) => {
                    (None, Nature::Shared)
                }
                _ => unvouched(format!(
                    "`{}` takes an element of something that is not known.",
                    name.full()
                )),
            },
            Guard::Inner => self.inner(args, name, offset),
            Guard::Size => (self.too_large(call), out),
            Guard::Dtype => self.dtype(args, entry),
            Guard::TypedRebuild => self.typed_rebuild(args, name, offset),
            Guard::TypeName => self.type_name(args, name),
            Guard::TypeOf => match args {
                [value] if self.nature(*value) == Nature::Plain => (None, Nature::Shared),
                _ => dangerous(
                    Rule::RunsCode,
                    format!("`{}` makes a class out of what the file says.", name.full()),
                ),
            },
            Guard::Union => self.union(args, name),
        }
    }

    /// Whether an attribute is part of the machinery behind objects, or computed.
    fn reaches(&self, attribute: Id) -> bool {
        match self.program.value(attribute) {
            Value::Text(text) => text.split('.').any(is_dunder),
            Value::Call(_) | Value::Global(_) | Value::Persistent(_) | Value::Opaque(_) => true,
            _ => false,
        }
    }

    /// A function that imports a module by name and takes something out of it. What comes out is to be called, by anybody and
    /// with anything: a name that the model only lets be called under a guard is none for it.
    fn own_module(&self, args: &[Id], name: &Name) -> Judged {
        let texts: Vec<Option<&str>> = args.iter().map(|id| self.program.text(*id)).collect();
        let known = match texts.as_slice() {
            [Some(module), Some(attribute)] => {
                matches!(
                    self.rules.standing(module, attribute),
                    Standing::Listed(entry) if entry.kind == Kind::Function
                )
            }
            _ => false,
        };
        if known {
            return (None, made(Makes::CALLABLE));
        }
        dangerous(
            Rule::ImportsCode,
            format!(
                "`{}` imports a module by name and takes something out of it that no checkpoint needs.",
                name.full()
            ),
        )
    }

    fn latin1(&self, args: &[Id], name: &Name) -> Judged {
        let [text, rest @ ..] = args else {
            return unvouched(format!("`{}` is called with nothing.", name.full()));
        };
        let plain = self.program.text(*text).is_some();
        let known = match rest {
            [encoding] => self.program.text(*encoding).is_some_and(|encoding| {
                let same = encoding.to_ascii_lowercase().replace(['-', '_', ' '], "");
                matches!(
                    same.as_str(),
                    "latin1" | "iso88591" | "utf8" | "ascii" | "l1"
                )
            }),
            _ => false,
        };
        if plain && known {
            return (None, Nature::Plain);
        }
        unvouched(format!(
            "`{}` is called in a way in which nothing is saved.",
            name.full()
        ))
    }

    /// `getattr(object, "attribute")`.
    fn attribute(&mut self, args: &[Id], offset: usize) -> Judged {
        let attribute = args.get(1).and_then(|id| self.program.text(*id));
        let (Some(object), Some(attribute)) = (args.first(), attribute) else {
            let why = "Which attribute is taken is computed while loading, so that nobody can read it in the file.";
            return dangerous(Rule::ResolvesAttributes, why);
        };
        if attribute.split('.').any(is_dunder) {
            let why = format!(
                "`{attribute}` is part of the machinery behind objects; no checkpoint reaches for it."
            );
            return dangerous(Rule::ResolvesAttributes, why);
        }
        if let Some(owner) = self.name(*object) {
            return self.attribute_of_name(&owner, attribute, offset, *object);
        }
        match self.nature(*object) {
            Nature::Made(_) if is_plain_method(attribute) => (None, Nature::Made(Makes::CALLABLE)),
            Nature::Plain if self.program.text(*object).is_some() && is_plain_method(attribute) => {
                (None, Nature::Made(Makes::CALLABLE))
            }
            Nature::Foreign => (None, Nature::Foreign),
            Nature::Shared => dangerous(
                Rule::ResolvesAttributes,
                format!(
                    "It walks on to `{attribute}` from something that it reached by an attribute."
                ),
            ),
            _ => unvouched(format!(
                "It takes `{attribute}` of an object that has nothing of the kind to save."
            )),
        }
    }

    fn attribute_of_name(
        &mut self,
        owner: &Rc<Name>,
        attribute: &str,
        offset: usize,
        shown: Id,
    ) -> Judged {
        let whole = Name::new(
            self.rules,
            &owner.module,
            &format!("{}.{attribute}", owner.path),
        );
        if matches!(whole.standing, Standing::Listed(_)) {
            return (None, Nature::Shared);
        }
        if whole.walks || owner.walks {
            return (self.unlisted(&whole, Role::Reference, None), Nature::Shared);
        }
        match owner.standing {
            Standing::Listed(entry) if entry.kind == Kind::Class => {
                let shared = entry.makes.has(Makes::SHARED) || is_plain_method(attribute);
                let why = format!(
                    "`{}` is no member that a checkpoint refers to.",
                    whole.full()
                );
                if shared {
                    (None, Nature::Shared)
                } else {
                    unvouched(why)
                }
            }
            Standing::Main | Standing::Foreign | Standing::Framework(_)
                if looks_like_class(&owner.path) =>
            {
                let verdict = self.unlisted(owner, Role::Reference, None);
                self.tell_name(owner, Role::Reference, verdict, shown, offset);
                (None, Nature::Shared)
            }
            Standing::Main | Standing::Foreign => unvouched(format!(
                "`{}` is taken from something that nobody vouches for.",
                whole.full()
            )),
            _ => dangerous(
                Rule::ResolvesAttributes,
                format!(
                    "It takes `{attribute}` of `{}`, which no checkpoint needs.",
                    owner.full()
                ),
            ),
        }
    }

    /// `functools.partial(function, …)`, `defaultdict(factory)`.
    fn callable(&mut self, args: &[Id], entry: Entry, name: &Name) -> Judged {
        let out = made(entry.makes);
        let Some(first) = args.first() else {
            return (None, out);
        };
        let called = self.name(*first).filter(|called| match called.standing {
            Standing::Listed(known) => known.makes.has(Makes::RECONSTRUCTED),
            _ => false,
        });
        if let Some(called) = called {
            return unvouched(format!(
                "`{}` does more than make an object.",
                called.full()
            ));
        }
        match self.nature(*first) {
            Nature::Plain if *self.program.value(*first) == Value::None => (None, out),
            Nature::Plain => unvouched(format!(
                "`{}` is given something that cannot be called.",
                name.full()
            )),
            // What the name is, is judged where it is stored: among these arguments.
            Nature::Name | Nature::Made(_) | Nature::Foreign => (None, out),
            Nature::Shared => match self.name(*first) {
                Some(_) => (None, out),
                None => unvouched(format!(
                    "`{}` is given something that was reached by attributes.",
                    name.full()
                )),
            },
        }
    }

    fn of_class(&mut self, args: &[Id], entry: Entry, name: &Name, offset: usize) -> Judged {
        let Some((class, shown)) = args.first().and_then(|id| Some((self.name(*id)?, *id))) else {
            return unvouched(format!(
                "The class that `{}` makes is not named.",
                name.full()
            ));
        };
        match class.standing {
            Standing::Listed(known) if known.kind == Kind::Class => {
                self.tell_name(&class, Role::Construct, None, shown, offset);
                let ways = [Makes::NEW, Makes::SHARED, Makes::RECONSTRUCTED];
                if ways.iter().any(|way| known.makes.has(*way)) {
                    return (None, made(known.makes.and(entry.makes)));
                }
                unvouched(format!(
                    "`{}` is nothing that a checkpoint has objects of.",
                    class.full()
                ))
            }
            Standing::Listed(_) => unvouched(format!("`{}` is no class.", class.full())),
            _ => {
                let verdict = self.unlisted(&class, Role::Construct, None);
                self.tell_name(&class, Role::Construct, verdict, shown, offset);
                (None, Nature::Foreign)
            }
        }
    }

    /// `copyreg.__newobj__(class, …)`.
    fn new_of(&mut self, args: &[Id], entry: Entry, name: &Name, offset: usize) -> Judged {
        let class = args.first().and_then(|id| self.name(*id));
        let opens = class.filter(|class| match class.standing {
            Standing::Listed(known) => known.makes.has(Makes::RECONSTRUCTED),
            _ => false,
        });
        match opens {
            Some(class) => unvouched(format!("`{}` does more than make an object.", class.full())),
            None => self.of_class(args, entry, name, offset),
        }
    }

    fn reconstructor(&mut self, args: &[Id], entry: Entry, name: &Name, offset: usize) -> Judged {
        let base = args.get(1).and_then(|id| self.name(*id));
        let known = base.is_some_and(|base| {
            let plain = [
                "object",
                "list",
                "dict",
                "set",
                "frozenset",
                "tuple",
                "str",
                "int",
                "float",
                "bytes",
                "complex",
            ];
            matches!(base.module.as_str(), "builtins" | "__builtin__")
                && plain.contains(&base.path.as_str())
        });
        if !known || args.len() != 3 {
            return unvouched(format!(
                "`{}` is used with a base that no saved object has.",
                name.full()
            ));
        }
        self.of_class(args, entry, name, offset)
    }

    /// A verdict if a number among the arguments asks for much memory.
    pub(super) fn too_large(&self, call: &Call) -> Option<Verdict> {
        let args = self.args(call)?;
        let number = |id: &Id| match self.program.value(*id) {
            Value::Int(number) => i128::from(*number).abs().max(1),
            Value::Big(_) => i128::MAX,
            _ => 1,
        };
        let product = |ids: &[Id]| ids.iter().map(number).fold(1_i128, i128::saturating_mul);
        let inner = |id: &Id| self.program.items(*id).map_or(1, product);
        let largest = args.iter().map(|id| number(id).max(inner(id))).max()?;
        (largest > MAX_ELEMENTS).then(|| {
            let why = "It asks for more memory than a machine has.";
            Verdict::new(Rule::Bomb, Weight::Dangerous, why)
        })
    }

    /// `dtype("f8", False, True)`; without the last it is the one that all others use.
    fn dtype(&mut self, args: &[Id], entry: Entry) -> Judged {
        let known = args.first().is_some_and(|id| {
            self.program.text(*id).is_some()
                || matches!(self.nature(*id), Nature::Name | Nature::Made(_))
        });
        if !known {
            return unvouched("The data type is computed while loading.".to_owned());
        }
        let copied = args
            .get(2)
            .is_some_and(|id| matches!(self.program.value(*id), Value::Bool(true) | Value::Int(1)));
        let out = if copied {
            made(entry.makes)
        } else {
            Nature::Shared
        };
        (None, out)
    }

    /// `_rebuild_from_type_v2(function, type, arguments, state)` calls the function, and sets the state on what comes out.
    fn typed_rebuild(&mut self, args: &[Id], name: &Name, offset: usize) -> Judged {
        let [function, class, inner, rest @ ..] = args else {
            return unvouched(format!("`{}` is called with too little.", name.full()));
        };
        let rebuilds = self.name(*function).is_some_and(|function| {
            matches!(
                function.standing,
                Standing::Listed(Entry {
                    kind: Kind::Call,
                    guard: Some(Guard::Data | Guard::Any | Guard::OfClass),
                    ..
                })
            )
        });
        if !rebuilds {
            let why = format!(
                "`{}` calls a function that rebuilds no tensor.",
                name.full()
            );
            return dangerous(Rule::UnneededCall, why);
        }
        if self.hold_callables(&[*inner]) {
            return unvouched(format!(
                "`{}` is given functions where it is always given data.",
                name.full()
            ));
        }
        self.used.insert(*function);
        for state in rest {
            self.judge_state(*state, Makes::ANYTHING, offset, *state);
        }
        let entry = Entry {
            kind: Kind::Call,
            guard: None,
            makes: Makes::STATE,
            framework: "",
        };
        self.of_class(&[*class], entry, name, offset)
    }

    /// `functools.reduce(operator.or_, types)`.
    fn union(&mut self, args: &[Id], name: &Name) -> Judged {
        let joins = args.first().and_then(|id| self.name(*id));
        let joins = joins.is_some_and(|joins| {
            matches!(joins.module.as_str(), "operator" | "_operator") && joins.path == "or_"
        });
        if joins && args.len() == 2 {
            return (None, Nature::Shared);
        }
        let why = format!(
            "`{}` calls a function of the file's choice at once.",
            name.full()
        );
        dangerous(Rule::ResolvesAttributes, why)
    }

    /// dill's `_load_type("DictType")`. Types of code are given to nobody.
    fn type_name(&self, args: &[Id], name: &Name) -> Judged {
        let text = args.first().and_then(|id| self.program.text(*id));
        let code = [
            "Code",
            "Function",
            "Method",
            "Lambda",
            "Cell",
            "Module",
            "Frame",
            "Generator",
            "Coroutine",
        ];
        match text {
            Some(text) if !code.iter().any(|kind| text.contains(kind)) => (None, Nature::Shared),
            _ => dangerous(
                Rule::RunsCode,
                format!(
                    "`{}` gives the type of code, to make a function that the file brings along.",
                    name.full()
                ),
            ),
        }
    }

    /// Whether functions are among these values, however deep.
    pub(super) fn hold_callables(&mut self, ids: &[Id]) -> bool {
        if !self.has_callables {
            return false;
        }
        let mut seen = std::collections::HashSet::new();
        let mut waiting: Vec<Id> = ids.to_vec();
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            if seen.len() > MAX_LOOKED_AT || self.is_callable(id) {
                return true;
            }
            match self.program.value(id) {
                Value::Tuple(items) | Value::List(items) | Value::Set(items) => {
                    waiting.extend(items);
                }
                Value::Dict(pairs) => waiting.extend(pairs.iter().map(|(_, value)| *value)),
                Value::Call(call) => {
                    waiting.push(call.args);
                    waiting.extend(call.entries.iter().map(|(_, value)| *value));
                    waiting.extend(call.appended.iter().copied());
                }
                _ => {}
            }
        }
        false
    }

    /// Whether it is a function, or made to be called. Classes are data: whoever calls one gets an object of it.
    pub(super) fn is_callable(&mut self, id: Id) -> bool {
        if let Nature::Made(makes) = self.nature(id) {
            return makes.has(Makes::CALLABLE);
        }
        self.name(id).is_some_and(|name| match name.standing {
            Standing::Listed(entry) => match entry.kind {
                Kind::Function => true,
                Kind::Call => !entry.may_be_stored(),
                Kind::Value | Kind::Class => false,
            },
            _ => !looks_like_class(&name.path),
        })
    }
}

/// A method or constant that does nothing but compute, as far as its name tells.
pub(super) fn is_plain_method(attribute: &str) -> bool {
    let effects = [
        "save", "format", "load", "dump", "to_", "write", "read", "open", "exec", "eval", "run",
        "system", "query", "remove", "unlink", "delete", "rename", "tofile", "set_", "register",
        "apply", "push", "download", "upload", "close", "kill", "spawn", "import", "compile",
        "script", "trace", "from_", "create", "add_", "send", "recv",
    ];
    let plain = attribute.chars().all(|c| c.is_alphanumeric() || c == '_');
    let attribute = attribute.trim_start_matches('_');
    plain && !effects.iter().any(|start| attribute.starts_with(start))
}

pub(super) fn unvouched(why: String) -> Judged {
    let verdict = Verdict::new(Rule::UnneededCall, Weight::Unknown, why);
    (Some(verdict), Nature::Foreign)
}

pub(super) fn dangerous(rule: Rule, why: impl Into<String>) -> Judged {
    (
        Some(Verdict::new(rule, Weight::Dangerous, why)),
        Nature::Shared,
    )
}
