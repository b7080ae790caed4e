//! Judges calls: what is called, in which role, and, where the model has no answer, what speaks for or against it.

use domain::scan::{Role, Rule, Weight};
use formats::pickle::{Call, How, Id, Value};

use super::Origin;
use super::evidence;
use super::judge::{Judge, Nature, Verdict};
use super::names::Name;
use super::words;
use crate::rules::{Entry, Kind, Makes, Standing, looks_like_class};

impl Judge<'_, '_, '_> {
    /// Judges one call and says what comes out.
    pub(super) fn call(&mut self, id: Id, call: &Call, offset: usize) -> Nature {
        let Some(name) = self.name(call.callable) else {
            return self.call_of_value(id, call, offset);
        };
        let role = role(call, &name, self.args(call).is_some_and(<[_]>::is_empty));
        let (verdict, nature) = match name.standing {
            Standing::Listed(entry) if role == Role::Construct => {
                self.construct(entry, call, &name)
            }
            Standing::Listed(entry) => self.guarded(entry, call, &name, offset),
            _ if self.is_script_class(&name) => (None, Nature::Made(Makes::ANYTHING)),
            _ => (self.unlisted(&name, role, Some(call)), Nature::Foreign),
        };
        self.tell_name(&name, role, verdict, id, offset);
        nature
    }

    /// The callable is no name: it came out of the program itself.
    fn call_of_value(&mut self, id: Id, call: &Call, offset: usize) -> Nature {
        let verdict = if self.nature(call.callable) == Nature::Foreign {
            self.evidence(call).unwrap_or_else(|| {
                let why = "It calls what came out of something that nobody vouches for.";
                Verdict::new(Rule::UnknownCall, Weight::Unknown, why)
            })
        } else {
            let why = "It calls something that it made itself a moment before; honest files call what they name.";
            Verdict::new(Rule::ResolvesAttributes, Weight::Dangerous, why)
        };
        self.tell(&verdict, id, offset);
        Nature::Foreign
    }

    /// An object of a class of the model, made by `__new__`.
    fn construct(&mut self, entry: Entry, call: &Call, name: &Name) -> (Option<Verdict>, Nature) {
        if entry.kind != Kind::Class || !entry.makes.has(Makes::NEW) {
            let why = format!(
                "`{}` is nothing that objects are made of in a checkpoint.",
                name.full()
            );
            let verdict = Verdict::new(Rule::UnneededCall, Weight::Unknown, why);
            return (Some(verdict), Nature::Foreign);
        }
        let sized = self.too_large(call).filter(|_| entry.guard.is_some());
        (sized, made(entry.makes))
    }

    /// Whether it is a class of a TorchScript archive, whose code C++ interprets.
    fn is_script_class(&self, name: &Name) -> bool {
        self.origin == Origin::TorchScript
            && (name.module == "__torch__" || name.module.starts_with("__torch__."))
    }

    /// What a name that the model does not have comes to in a role.
    pub(super) fn unlisted(&self, name: &Name, role: Role, call: Option<&Call>) -> Option<Verdict> {
        if self.is_script_class(name) {
            return None;
        }
        if name.walks {
            return Some(walk(name));
        }
        let call = call.filter(|_| role == Role::Call);
        if let Some(evidence) = call.and_then(|call| self.evidence(call)) {
            return Some(evidence);
        }
        Some(match name.standing {
            Standing::Listed(_) => return None,
            Standing::Library => library(name, role),
            Standing::Framework(framework)
                if call.is_some_and(|call| self.is_member(name, call)) =>
            {
                of_framework(name, framework, Role::Construct)
            }
            Standing::Framework(framework) => of_framework(name, framework, role),
            Standing::Main | Standing::Foreign => foreign(name, role),
        })
    }

    /// Whether it reads as a member of an enumeration, by its value: a class and one short word or number.
    fn is_member(&self, name: &Name, call: &Call) -> bool {
        let Some([value]) = self.args(call) else {
            return false;
        };
        let is_word = match self.program.value(*value) {
            Value::Text(text) => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                text.len() <= 40 && text.chars().all(plain)
            }
            Value::Int(_) => true,
            _ => false,
        };
        is_word && looks_like_class(&name.path)
    }

    /// What the arguments of an unknown call say about it.
    fn evidence(&self, call: &Call) -> Option<Verdict> {
        let found = evidence::of(self.program, call)?;
        let why = format!(
            "It calls a function that nobody vouches for with {}.",
            found.what
        );
        Some(Verdict::new(found.rule, Weight::Dangerous, why))
    }
}

/// How a class or function of the model is used.
pub(super) fn role(call: &Call, name: &Name, without_arguments: bool) -> Role {
    let is_class = match name.standing {
        Standing::Listed(entry) => entry.kind == Kind::Class,
        _ => looks_like_class(&name.path),
    };
    match call.how {
        How::New => Role::Construct,
        How::Instance if without_arguments && is_class => Role::Construct,
        How::Instance | How::Reduce => Role::Call,
    }
}

/// The nature of an object of which this may be made.
pub(super) fn made(makes: Makes) -> Nature {
    if makes.has(Makes::SHARED) {
        Nature::Shared
    } else {
        Nature::Made(makes)
    }
}

fn walk(name: &Name) -> Verdict {
    let leads = name.effect().map_or(String::new(), |rule| {
        format!(" What it reaches {}.", words::effect(rule))
    });
    let why = format!(
        "`{}` is reached by way of something else; honest files name the place where a thing is defined.{leads}",
        name.full()
    );
    Verdict::new(Rule::ResolvesAttributes, Weight::Dangerous, why)
}

fn library(name: &Name, role: Role) -> Verdict {
    if let Some(rule) = name.effect() {
        return Verdict::new(rule, Weight::Dangerous, words::known_effect(name, rule));
    }
    let weight = match role {
        Role::Call => Weight::Dangerous,
        _ => Weight::Unknown,
    };
    let why = format!(
        "`{}` is part of Python itself, and no known framework needs it in a checkpoint.",
        name.full()
    );
    Verdict::new(Rule::UnneededCall, weight, why)
}

fn of_framework(name: &Name, framework: &str, role: Role) -> Verdict {
    if let Some(rule) = name.effect() {
        return Verdict::new(rule, Weight::Dangerous, words::known_effect(name, rule));
    }
    let full = name.full();
    if name.runs_on_import() {
        let why =
            format!("Importing `{full}` runs a part of {framework} that no checkpoint needs.");
        return Verdict::new(Rule::ImportsCode, Weight::Unknown, why);
    }
    if role != Role::Call && looks_like_class(&name.path) {
        let why = format!(
            "`{full}` may be a class of another version of {framework}; its code was not reviewed."
        );
        return Verdict::new(Rule::CustomClass, Weight::Custom, why);
    }
    let weight = match role {
        Role::Call if !looks_like_class(&name.path) && !looks_like_reducer(&name.path) => {
            Weight::Dangerous
        }
        _ => Weight::Unknown,
    };
    let why = format!(
        "`{full}` belongs to {framework}, and nothing that {framework} saves is known to need it."
    );
    Verdict::new(Rule::UnneededCall, weight, why)
}

fn foreign(name: &Name, role: Role) -> Verdict {
    let full = name.full();
    let is_class = role != Role::Call || looks_like_class(&name.path);
    if !is_class {
        let why = format!("`{full}` runs while the file is loaded, and nobody vouches for it.");
        return Verdict::new(Rule::UnknownCall, Weight::Unknown, why);
    }
    let place = match name.standing {
        Standing::Main => "the program that wrote the file",
        _ => "code that no known framework brings",
    };
    let why =
        format!("`{full}` is defined by {place}; loading the file imports and uses that code.");
    Verdict::new(Rule::CustomClass, Weight::Custom, why)
}

/// Frameworks call the functions that put objects together again by a few kinds of names.
fn looks_like_reducer(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    let roots = [
        "rebuild",
        "reconstruct",
        "unpickle",
        "restore",
        "unreduce",
        "from_pickle",
    ];
    name.starts_with('_') && roots.iter().any(|root| name.contains(root))
}
