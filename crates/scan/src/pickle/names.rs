//! What a value names: an import, or an attribute of one that the program takes by `getattr`.
//!
//! `torch.os` is `os`, `numpy` with the name `core.numeric.sys` is `sys`, `getattr(getattr(a, "b"), "c")` is `a.b.c`: a
//! name that walks is judged by where it goes. No program that saves state writes such a walk: it writes where a thing is
//! defined.

use domain::scan::Rule;
use formats::pickle::{Id, Program, Value};

use super::dunder::is_dunder;
use crate::Rules;
use crate::rules::{Kind, Standing};

/// A name and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) module: String,
    /// The name in the module; dots walk through attributes.
    pub(super) path: String,
    pub(super) standing: Standing,
    /// Whether it reaches something by way of something else.
    pub(super) walks: bool,
}

impl Name {
    pub(super) fn new(rules: &Rules, module: &str, name: &str) -> Self {
        let standing = standing(rules, module, name);
        let listed = matches!(standing, Standing::Listed(_));
        let known = listed || matches!(standing, Standing::Library | Standing::Framework(_));
        Self {
            walks: !listed && walks(rules, module, name, known),
            module: module.to_owned(),
            path: name.to_owned(),
            standing,
        }
    }

    pub(super) fn full(&self) -> String {
        format!("{}.{}", self.module, self.path)
    }

    /// Words for what it would do, by where it really leads.
    pub(super) fn effect(&self) -> Option<Rule> {
        Rules::effect(&self.module, &self.path).or_else(|| {
            // `torch` + `os.system` leads to `os` + `system`, and `numpy.f2py` + `os.system` too.
            let full = self.full();
            let mut rest = full.as_str();
            while let Some((_, tail)) = rest.split_once('.') {
                let (module, name) = tail.rsplit_once('.')?;
                if let Some(rule) = Rules::effect(module, name) {
                    return Some(rule);
                }
                rest = tail;
            }
            None
        })
    }

    /// Whether importing its module runs something that is no part of a library: tests, command lines.
    pub(super) fn runs_on_import(&self) -> bool {
        let mut parts = self.module.split('.').skip(1);
        parts.any(|part| {
            matches!(
                part,
                "__main__" | "tests" | "test" | "testing" | "conftest" | "setup" | "cli"
            )
        })
    }
}

/// How a name stands; a constant of a framework may be reached by way of that framework. For an object that says of itself
/// what it is called, pickle writes whichever module happens to have it under that name: `torch._utils torch.float16`.
fn standing(rules: &Rules, module: &str, name: &str) -> Standing {
    let direct = rules.standing(module, name);
    let Some((package, rest)) = name.split_once('.') else {
        return direct;
    };
    if matches!(direct, Standing::Listed(_)) || !rules.is_module(package) {
        return direct;
    }
    match rules.standing(package, rest) {
        Standing::Listed(entry) if entry.kind == Kind::Value && entry.guard.is_none() => {
            Standing::Listed(entry)
        }
        _ => direct,
    }
}

fn walks(rules: &Rules, module: &str, name: &str, known: bool) -> bool {
    if name
        .split('.')
        .chain(module.split('.').skip(1))
        .any(is_dunder)
    {
        return true;
    }
    let own = module.rsplit('.').next() == Some(name);
    match name.split_once('.') {
        None => known && !own && rules.is_module(name),
        Some((head, _)) => {
            let bare = head.trim_start_matches('_');
            let standing = rules.standing(module, head);
            let is_class = matches!(standing, Standing::Listed(entry) if entry.kind == Kind::Class);
            !is_class && !bare.starts_with(char::is_uppercase)
        }
    }
}

/// How many attributes one behind the other are followed.
const MAX_WALK: usize = 16;

/// What `id` names, if it is an import or an attribute of one.
pub(super) fn name_of(rules: &Rules, program: &Program, id: Id) -> Option<Name> {
    let mut attributes = Vec::new();
    let mut at = id;
    for _ in 0..MAX_WALK {
        match program.value(at) {
            Value::Global(global) => {
                if attributes.is_empty() {
                    return Some(Name::new(rules, &global.module, &global.name));
                }
                attributes.push(global.name.as_str());
                attributes.reverse();
                return Some(Name::new(rules, &global.module, &attributes.join(".")));
            }
            // What torch's old layout says of a class, with its source beside it: the loader gives the class.
            Value::Persistent(inner) => match program.items(*inner)? {
                [kind, class, ..] if program.text(*kind) == Some("module") => at = *class,
                _ => return None,
            },
            Value::Call(call) => {
                let callable = program.global(call.callable)?;
                let args = program.items(call.args)?;
                if !callable.is("builtins", "getattr") && !callable.is("__builtin__", "getattr") {
                    return None;
                }
                let (object, attribute) = (args.first()?, args.get(1)?);
                attributes.push(program.text(*attribute)?);
                at = *object;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_goes_by_way_of_something_else_walks() {
        let rules = Rules::builtin();
        let walking = [
            ("torch", "os"),
            ("torch", "os.system"),
            ("numpy", "__builtins__"),
            ("numpy.core.numeric", "sys.modules"),
            ("app.models", "Net.__init__.__globals__"),
            ("app.models", "os.system"),
        ];
        for (module, name) in walking {
            assert!(Name::new(&rules, module, name).walks, "{module} {name}");
        }
        let direct = [
            ("torch.nn.modules.linear", "Linear"),
            ("app.models", "Net"),
            ("app.models", "Net.Config"),
            ("app.models", "Net.make"),
            ("glob", "glob"),
        ];
        for (module, name) in direct {
            assert!(!Name::new(&rules, module, name).walks, "{module} {name}");
        }
    }

    #[test]
    fn words_are_found_where_a_walk_leads() {
        let rules = Rules::builtin();
        let name = Name::new(&rules, "torch", "serialization.os.system");
        assert_eq!(name.effect(), Some(Rule::RunsCommand));
    }
}
