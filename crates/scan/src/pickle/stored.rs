//! Judges what is kept: names that the file does not call itself but hands to whoever uses the result.
//!
//! A function in a state is called later, by code that knows nothing of the file. So a name may be kept only if it may be
//! called with anything. A name that is imported and thrown away was imported for what its module does.

use std::collections::HashSet;

use domain::scan::{Role, Rule, Weight};
use formats::pickle::{Deed, Effect, Id, Value};

use super::guard::is_plain_method;
use super::judge::{Judge, Verdict};
use super::names::Name;
use crate::rules::{Kind, Standing};

impl Judge<'_, '_, '_> {
    /// Judges every import by whether it is kept. Comes last, when all uses are known.
    pub(super) fn stored(&mut self) {
        if self.imports.is_empty() {
            return;
        }
        let kept = self.kept();
        let mut imports = std::mem::take(&mut self.imports).into_iter();
        while let Some((id, offset)) = imports.next() {
            if self.is_flooded(offset) {
                let rest = std::iter::once((id, offset)).chain(imports);
                self.behind(rest.map(|(id, offset)| Effect {
                    offset,
                    deed: Deed::Import(id),
                }));
                break;
            }
            let Some(name) = self.name(id) else {
                continue;
            };
            if kept.contains(&id) {
                let verdict = self.kept_name(&name);
                // A class that is made anyway says nothing new by being referred to.
                if verdict.is_some() || !self.used.contains(&id) {
                    self.tell_name(&name, Role::Reference, verdict, id, offset);
                }
            } else if !self.used.contains(&id) {
                let verdict = self.thrown_away(&name);
                self.tell_name(&name, Role::Reference, verdict, id, offset);
            }
        }
    }

    fn kept_name(&self, name: &Name) -> Option<Verdict> {
        match name.standing {
            Standing::Listed(entry) if entry.may_be_stored() => None,
            Standing::Listed(_) => {
                let why = format!(
                    "`{}` is handed on as something to call; checkpoints only ever call it.",
                    name.full()
                );
                Some(Verdict::new(Rule::UnneededCall, Weight::Unknown, why))
            }
            _ if self.is_method_of_listed(name) => None,
            _ => self.unlisted(name, Role::Reference, None),
        }
    }

    /// Whether it is a method of a class of the model that does nothing but compute, as far as its name tells.
    fn is_method_of_listed(&self, name: &Name) -> bool {
        let Some((class, method)) = name.path.rsplit_once('.') else {
            return false;
        };
        let listed = match self.rules.standing(&name.module, class) {
            Standing::Listed(entry) => entry.kind == Kind::Class,
            _ => false,
        };
        listed && !name.walks && is_plain_method(method)
    }

    fn thrown_away(&self, name: &Name) -> Option<Verdict> {
        let verdict = self.unlisted(name, Role::Reference, None)?;
        if verdict.weight > Weight::Custom {
            return Some(verdict);
        }
        let why = format!(
            "`{}` is imported and not used: what is left of that is that its module runs.",
            name.full()
        );
        Some(Verdict::new(Rule::ImportsCode, Weight::Unknown, why))
    }

    /// The imports that stand in a container, in arguments, in a state, or are the result.
    fn kept(&self) -> HashSet<Id> {
        let program = self.program;
        let mut kept: HashSet<Id> = HashSet::new();
        let mut keep = |id: &Id| {
            if let Value::Global(_) = program.value(*id) {
                kept.insert(*id);
            }
        };
        program.root.iter().for_each(&mut keep);
        for value in program.values() {
            match value {
                Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
                    items.iter().for_each(&mut keep);
                }
                Value::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
                    keep(key);
                    keep(value);
                }),
                Value::Call(call) => {
                    call.states.iter().for_each(&mut keep);
                    call.appended.iter().for_each(&mut keep);
                    call.entries.iter().for_each(|(key, value)| {
                        keep(key);
                        keep(value);
                    });
                }
                Value::Persistent(inner) => keep(inner),
                _ => {}
            }
        }
        kept
    }
}
