//! What stands behind more names than are judged: is any of it dangerous by itself?
//!
//! A program that names ten thousand things is told as one, and its objects are not followed any further. If that were
//! all, whoever writes such a flood in front of `os.system` would have a lighter verdict for it. So every later step is
//! still looked at alone, without what came before: a call of a name that nobody needs and that does harm, a change of
//! what others hold, a name that is computed. No name is kept, and after a few that are dangerous nothing is gained by
//! more.

use std::rc::Rc;

use domain::scan::{Role, Weight};
use formats::pickle::{Call, Deed, Effect, Id, Opaque, Value};

use super::call::role;
use super::judge::Judge;
use super::names::Name;
use crate::rules::Standing;

/// Dangerous steps that are told.
const TOLD: usize = 16;
/// Names that are looked at closely and come to nothing; a call of Python's own library never does.
const CLOSELY: usize = 10_000;

/// How much more is looked at.
struct Left {
    told: usize,
    closely: usize,
}

impl Judge<'_, '_, '_> {
    /// Tells what is dangerous by itself among these effects.
    pub(super) fn behind(&mut self, effects: impl Iterator<Item = Effect>) {
        let mut left = Left {
            told: TOLD,
            closely: CLOSELY,
        };
        for Effect { offset, deed } in effects {
            let dangerous = match deed {
                Deed::Call(id) => self.late_call(id, offset, &mut left),
                Deed::Build { target, .. } | Deed::SetItems(target) | Deed::Extend(target) => {
                    self.late_change(target, offset)
                }
                Deed::Import(id) => self.late_import(id, offset, &mut left),
                Deed::Extension(code) => {
                    self.extension(code, offset);
                    true
                }
                Deed::Persistent(_) => false,
            };
            left.told -= usize::from(dangerous);
            if left.told == 0 {
                break;
            }
        }
    }

    fn late_call(&mut self, id: Id, offset: usize, left: &mut Left) -> bool {
        match self.program.value(id) {
            Value::Call(call) => self.late_name(call.callable, Some(call), id, offset, left),
            _ => false,
        }
    }

    fn late_change(&mut self, target: Id, offset: usize) -> bool {
        matches!(self.program.value(target), Value::Global(_)) && self.patches(target, offset)
    }

    fn late_import(&mut self, id: Id, offset: usize, left: &mut Left) -> bool {
        if *self.program.value(id) == Value::Opaque(Opaque::ComputedGlobal) {
            self.import(id, offset);
            return true;
        }
        self.late_name(id, None, id, offset, left)
    }

    /// Tells the name `id`, called or only imported, if that is dangerous.
    fn late_name(
        &mut self,
        id: Id,
        call: Option<&Call>,
        shown: Id,
        offset: usize,
        left: &mut Left,
    ) -> bool {
        let Some(global) = self.program.global(id) else {
            return false;
        };
        let name = Name::new(self.rules, &global.module, &global.name);
        if matches!(name.standing, Standing::Listed(_)) {
            return false;
        }
        let role = call.map_or(Role::Reference, |call| {
            role(call, &name, self.args(call).is_some_and(<[Id]>::is_empty))
        });
        let sure = name.walks || (name.standing == Standing::Library && role == Role::Call);
        if !sure && left.closely == 0 {
            return false;
        }
        let verdict = self.unlisted(&name, role, call);
        let verdict = verdict.filter(|verdict| verdict.weight >= Weight::Dangerous);
        let Some(verdict) = verdict else {
            left.closely = left.closely.saturating_sub(1);
            return false;
        };
        self.tell_name(&Rc::new(name), role, Some(verdict), shown, offset);
        true
    }
}
