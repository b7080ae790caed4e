//! Judges what is done to objects: state, items, things appended.
//!
//! What the program made itself, it may fill. What was imported, or reached from an import, others hold too: to change
//! it is to change what the whole process does afterwards.

use domain::scan::{Role, Rule, Weight};
use formats::pickle::{Id, Value};

use super::dunder::{is_dunder, is_looked_up};
use super::judge::{Judge, Nature, Verdict};
use crate::rules::{Kind, Makes, Standing};

impl<'p> Judge<'_, '_, 'p> {
    /// `BUILD`.
    pub(super) fn build(&mut self, target: Id, state: Id, offset: usize) {
        if self.patches(target, offset) {
            return;
        }
        let makes = match self.nature(target) {
            Nature::Made(makes) => makes,
            Nature::Foreign => Makes::ANYTHING,
            Nature::Plain | Nature::Name | Nature::Shared => {
                let why = "It sets the state of a value that has none; no program that saves objects writes that.";
                let verdict = Verdict::new(Rule::UnneededCall, Weight::Unknown, why);
                return self.tell(&verdict, target, offset);
            }
        };
        self.need_state(target, offset);
        let again = match self.program.value(target) {
            Value::Call(call) => {
                call.states
                    .iter()
                    .position(|known| *known == state)
                    .unwrap_or(0)
                    > 0
            }
            _ => false,
        };
        if (again || !makes.has(Makes::STATE)) && self.nature(target) != Nature::Foreign {
            let why = "It sets the state of an object that has none, or sets it twice; no program that saves objects writes that.";
            let verdict = Verdict::new(Rule::UnneededCall, Weight::Unknown, why);
            self.tell(&verdict, target, offset);
        }
        self.judge_state(state, makes, offset, target);
        self.numpy_object_flags(target, state, offset);
    }

    /// `SETITEM` and `SETITEMS` on something that is no dict made here.
    pub(super) fn set_items(&mut self, target: Id, offset: usize) {
        if self.patches(target, offset) || self.takes(target, Makes::ITEMS) {
            return;
        }
        let why = "It sets items of an object that takes none when it is loaded.";
        let verdict = Verdict::new(Rule::UnneededCall, Weight::Dangerous, why);
        self.tell(&verdict, target, offset);
    }

    /// `APPEND` and the like on something that is no list or set made here.
    pub(super) fn extend(&mut self, target: Id, offset: usize) {
        let takes = self.takes(target, Makes::APPENDS) || self.takes(target, Makes::ADDS);
        if self.patches(target, offset) || takes {
            return;
        }
        let why = "It appends to an object that takes nothing when it is loaded: that calls a method of it.";
        let verdict = Verdict::new(Rule::UnneededCall, Weight::Dangerous, why);
        self.tell(&verdict, target, offset);
    }

    fn takes(&self, target: Id, what: Makes) -> bool {
        match self.nature(target) {
            Nature::Made(makes) => makes.has(what),
            Nature::Foreign => true,
            Nature::Plain | Nature::Name | Nature::Shared => false,
        }
    }

    /// Tells it if `target` is held by others.
    pub(super) fn patches(&mut self, target: Id, offset: usize) -> bool {
        if !matches!(self.nature(target), Nature::Name | Nature::Shared) {
            return false;
        }
        let what = self.name(target).map_or_else(
            || "an object that others hold too".to_owned(),
            |name| format!("`{}`", name.full()),
        );
        let why = format!("It changes {what} for everything that runs afterwards in this process.");
        let verdict = Verdict::new(Rule::PatchesModule, Weight::Dangerous, why);
        match self.name(target) {
            Some(name) => self.tell_name(&name, Role::State, Some(verdict), target, offset),
            None => self.tell(&verdict, target, offset),
        }
        true
    }

    fn need_state(&mut self, target: Id, offset: usize) {
        let Value::Call(call) = self.program.value(target) else {
            return;
        };
        if let Some(name) = self.name(call.callable) {
            self.tell_name(&name, Role::State, None, target, offset);
        }
    }

    /// Judges the attributes that a state sets on an object of which `makes` is allowed.
    pub(super) fn judge_state(&mut self, state: Id, makes: Makes, offset: usize, shown: Id) {
        if let Some([first, second]) = self.program.items(state) {
            let (first, second) = (*first, *second);
            let plain = *self.program.value(first) == Value::None || self.pairs(first).is_some();
            if plain && self.pairs(second).is_some_and(|pairs| !pairs.is_empty()) {
                self.slots(second, makes, offset, shown);
                self.attributes(first, offset, shown);
            }
        }
        self.attributes(state, offset, shown);
    }

    fn slots(&mut self, slots: Id, makes: Makes, offset: usize, shown: Id) {
        if !makes.has(Makes::SLOTS) {
            let why = "It sets attributes one by one on an object that has no slots: that runs setters of its class.";
            let verdict = Verdict::new(Rule::UnneededCall, Weight::Unknown, why);
            self.tell(&verdict, shown, offset);
        }
        self.attributes(slots, offset, shown);
    }

    fn attributes(&mut self, state: Id, offset: usize, shown: Id) {
        let Some(pairs) = self.pairs(state) else {
            return;
        };
        for (key, value) in pairs {
            let Some(key) = self.program.text(*key) else {
                continue;
            };
            if is_machinery(key) && (is_looked_up(key) || !self.is_data(*value)) {
                let why = format!(
                    "It sets `{key}` on an object, which turns it into something else than its class says."
                );
                let verdict = Verdict::new(Rule::PatchesModule, Weight::Dangerous, why);
                self.tell(&verdict, shown, offset);
            } else if key == "_parse_arg_template" && !self.is_argument_parser(*value) {
                let why = "It brings text along that scipy runs when the state is set, and that scipy did not generate.";
                let verdict = Verdict::new(Rule::RunsCode, Weight::Dangerous, why);
                self.tell(&verdict, shown, offset);
            } else if key.ends_with("hooks") {
                self.hooks(key, *value, offset, shown);
            } else if is_method(key) && self.is_function(*value) {
                self.shadowed(key, offset, shown);
            }
        }
    }

    /// Whether it is the text that scipy generates for its distributions: three functions that pass arguments on.
    fn is_argument_parser(&self, id: Id) -> bool {
        const STARTS: [&str; 5] = [
            "def _parse_args(self, ",
            "def _parse_args_rvs(self, ",
            "def _parse_args_stats(self, ",
            "    return (",
            "    return self._argcheck_rvs(",
        ];
        let Some(text) = self.program.text(id) else {
            return *self.program.value(id) == Value::None;
        };
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.all(|line| {
            let mut starts = STARTS.iter();
            let rest = starts.find_map(|start| line.strip_prefix(start));
            let plain = |c: char| c.is_ascii_alphanumeric() || " _,=:.')".contains(c);
            rest.is_some_and(|rest| rest.chars().all(plain))
        })
    }

    fn hooks(&mut self, key: &str, hooks: Id, offset: usize, shown: Id) {
        let Some(pairs) = self.pairs(hooks) else {
            return;
        };
        let pairs = pairs.to_vec();
        for (_, hook) in pairs {
            if self.is_function(hook) && !self.is_hook(hook) {
                return self.shadowed(key, offset, shown);
            }
        }
    }

    fn shadowed(&mut self, key: &str, offset: usize, shown: Id) {
        let why = format!(
            "It puts a function of its choice into `{key}`, where the framework will call it."
        );
        let verdict = Verdict::new(Rule::PatchesModule, Weight::Dangerous, why);
        self.tell(&verdict, shown, offset);
    }

    /// Whether it is a vouched function or made of one; what nobody vouches for has a finding of its own.
    fn is_function(&mut self, id: Id) -> bool {
        if let Nature::Made(makes) = self.nature(id) {
            return makes.has(Makes::CALLABLE);
        }
        self.name(id).is_some_and(
            |name| matches!(name.standing, Standing::Listed(entry) if entry.kind != Kind::Value),
        )
    }

    /// Whether `id` is made of a moderate number of numbers and texts, and of nothing else.
    fn is_data(&self, id: Id) -> bool {
        const MAX_VALUES: usize = 4096;
        let mut left = vec![id];
        for _ in 0..MAX_VALUES {
            let Some(id) = left.pop() else {
                return true;
            };
            match self.program.value(id) {
                Value::List(ids) | Value::Tuple(ids) | Value::Set(ids) => {
                    left.extend(ids.iter().take(MAX_VALUES));
                }
                Value::Dict(pairs) => {
                    let pairs = pairs.iter().take(MAX_VALUES);
                    left.extend(pairs.flat_map(|(key, value)| [key, value]));
                }
                Value::Global(_) | Value::Call(_) | Value::Persistent(_) | Value::Opaque(_) => {
                    return false;
                }
                _ => {}
            }
        }
        false
    }

    fn is_hook(&mut self, id: Id) -> bool {
        // A method of an object of the file itself, as lazy modules have it.
        if let Value::Call(call) = self.program.value(id) {
            let object = self.args(call).and_then(<[Id]>::first);
            let own = object.is_some_and(|id| matches!(self.nature(*id), Nature::Made(_)));
            let gets = self.program.global(call.callable);
            return own && gets.is_some_and(|it| it.name == "getattr");
        }
        self.name(id)
            .is_some_and(|name| name.path.ends_with("hook"))
    }

    /// An array of objects that is filled from raw bytes would take these bytes for pointers. numpy goes by the flags that
    /// the state of the data type gives.
    fn numpy_object_flags(&mut self, target: Id, state: Id, offset: usize) {
        let Some(flags) = self.program.items(state).and_then(|items| items.get(7)) else {
            return;
        };
        let as_list = match self.program.value(*flags) {
            Value::Int(flags) => flags & 3 == 3,
            _ => false,
        };
        if as_list || !self.is_object_dtype(target, 0) {
            return;
        }
        let why =
            "It makes numpy take raw bytes of the file for pointers to objects: that runs code.";
        let verdict = Verdict::new(Rule::RunsCode, Weight::Dangerous, why);
        self.tell(&verdict, target, offset);
    }

    /// Whether `id` is numpy's data type of objects, or has it among its fields.
    fn is_object_dtype(&mut self, id: Id, depth: usize) -> bool {
        const MAX_DEPTH: usize = 6;
        let Value::Call(call) = self.program.value(id) else {
            return false;
        };
        let is_dtype = self
            .name(call.callable)
            .is_some_and(|name| name.path == "dtype");
        let Some(first) = self.args(call).and_then(<[Id]>::first).filter(|_| is_dtype) else {
            return false;
        };
        let kind = self.program.text(*first).unwrap_or_default();
        if kind
            .trim_start_matches(['|', '<', '>', '='])
            .starts_with('O')
        {
            return true;
        }
        let inner = call
            .states
            .iter()
            .filter_map(|state| self.program.items(*state));
        let inner: Vec<Id> = inner.flat_map(|items| self.dtypes_within(items)).collect();
        depth < MAX_DEPTH && inner.iter().any(|id| self.is_object_dtype(*id, depth + 1))
    }

    /// The data types of fields and of the subarray, in the state of a data type.
    fn dtypes_within(&self, state: &[Id]) -> Vec<Id> {
        let fields = state
            .get(4)
            .and_then(|fields| self.pairs(*fields))
            .unwrap_or_default();
        let parts = fields
            .iter()
            .map(|(_, field)| *field)
            .chain(state.get(2).copied());
        let first = |part: Id| self.program.items(part).and_then(<[Id]>::first).copied();
        parts.filter_map(first).take(64).collect()
    }

    /// The pairs of a dict, or of an object that is filled like one.
    fn pairs(&self, id: Id) -> Option<&'p [(Id, Id)]> {
        match self.program.value(id) {
            Value::Dict(pairs) => Some(pairs),
            Value::Call(call) => Some(&call.entries),
            _ => None,
        }
    }
}

/// Attributes that decide what an object is and how it is put together.
fn is_machinery(key: &str) -> bool {
    is_dunder(key)
        && !matches!(
            key,
            "__doc__"
                | "__module__"
                | "__annotations__"
                | "__constants__"
                | "__wrapped__"
                | "__version__"
                | "__name__"
                | "__qualname__"
                | "__orig_class__"
                | "__fields_set__"
                | "__pydantic_fields_set__"
                | "__pydantic_extra__"
                | "__pydantic_private__"
                | "__dict__"
                | "__objclass__"
                | "__notes__"
                | "__traceback__"
                | "__cause__"
        )
}

/// Methods that frameworks and their users call on what they have loaded.
fn is_method(key: &str) -> bool {
    matches!(
        key,
        "forward"
            | "predict"
            | "predict_proba"
            | "predict_log_proba"
            | "decision_function"
            | "transform"
            | "fit"
            | "fit_transform"
            | "inverse_transform"
            | "score"
            | "score_samples"
            | "step"
            | "zero_grad"
            | "train"
            | "eval"
            | "state_dict"
            | "load_state_dict"
            | "to"
            | "cuda"
            | "cpu"
            | "half"
            | "float"
            | "parameters"
            | "modules"
            | "named_parameters"
            | "named_modules"
            | "children"
            | "buffers"
            | "backward"
            | "get_params"
            | "set_params"
            | "save"
            | "save_pretrained"
            | "apply"
            | "call"
            | "generate"
            | "encode"
            | "decode"
            | "tokenize"
            | "extra_repr"
            | "register_buffer"
            | "requires_grad_"
            | "_apply"
            | "_call_impl"
            | "_load_from_state_dict"
            | "add_param_group"
            | "append"
            | "extend"
            | "update"
            | "items"
            | "keys"
            | "values"
            | "get"
            | "pop"
            | "copy"
            | "to_dict"
    )
}
