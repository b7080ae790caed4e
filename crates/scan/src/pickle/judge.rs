//! Walks through the effects of one program in order and tells what they come to.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use domain::scan::{GapKind, Need, Place, Role, Rule, Weight};
use formats::ReadAt;
use formats::pickle::{Call, Deed, Id, Opaque, Program, Value, expression};

use super::Origin;
use super::names::{Name, name_of};
use crate::rules::Makes;
use crate::{Examiner, Rules};

/// What is known of a value that the program made or imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// Literal data, or a container made here.
    Plain,
    /// An import or an attribute of one.
    Name,
    /// An object made here, and what may be done to it.
    Made(Makes),
    /// An object that others hold too.
    Shared,
    /// What came of something that nobody vouches for; there is a finding about that.
    Foreign,
}

/// Characters of an expression that is shown.
const MAX_EXPRESSION: usize = 400;

/// Different names that one program may have judged. A whole model of torch has some hundred.
const MAX_NAMES: usize = 10_000;

/// A map by id. Ids are small numbers that the machine gives, not the file; they need no strong hash.
type ById<T> = HashMap<Id, T, BuildHasherDefault<Mix>>;

#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0.rotate_left(5) ^ u64::from(number)).wrapping_mul(ODD);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// What is to be told about one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) rule: Rule,
    pub(super) weight: Weight,
    pub(super) why: String,
}

impl Verdict {
    pub(super) fn new(rule: Rule, weight: Weight, why: impl Into<String>) -> Self {
        Self {
            rule,
            weight,
            why: why.into(),
        }
    }
}

/// A name in a role, and what was said of it.
type Told = (Rc<Name>, Role, Option<(Rule, Weight)>);

pub(super) struct Judge<'e, 'r, 'p> {
    pub(super) examiner: &'e mut Examiner<'r>,
    pub(super) rules: &'r Rules,
    pub(super) program: &'p Program,
    pub(super) input: &'p dyn ReadAt,
    pub(super) origin: Origin,
    stream: u32,
    names: ById<Option<Rc<Name>>>,
    /// Names by their text: a program imports the same one again and again.
    texts: HashMap<(&'p str, &'p str), Rc<Name>>,
    natures: ById<Nature>,
    /// Imports that are called or made.
    pub(super) used: HashSet<Id>,
    /// Imports in the order in which they are made, with their offsets.
    pub(super) imports: Vec<(Id, usize)>,
    /// Whether functions, or things to call, are among what was imported or made so far.
    pub(super) has_callables: bool,
    /// What was told of which name: the same thing a thousand times is one finding, at the first place.
    told: HashSet<Told>,
    /// Whether it was told that there are too many names.
    flooded: bool,
}

impl<'e, 'r, 'p> Judge<'e, 'r, 'p> {
    /// `program` is the one with this number in `input`.
    pub(super) fn new(
        examiner: &'e mut Examiner<'r>,
        program: &'p Program,
        input: &'p dyn ReadAt,
        origin: Origin,
        stream: u32,
    ) -> Self {
        Self {
            rules: examiner.rules(),
            examiner,
            program,
            input,
            origin,
            stream,
            names: ById::default(),
            texts: HashMap::new(),
            natures: ById::default(),
            used: HashSet::new(),
            imports: Vec::new(),
            has_callables: false,
            told: HashSet::new(),
            flooded: false,
        }
    }

    pub(super) fn judge(mut self) {
        let effects = &self.program.effects;
        for (index, effect) in effects.iter().enumerate() {
            let offset = effect.offset;
            if self.is_flooded(offset) {
                self.behind(effects.iter().skip(index).copied());
                break;
            }
            match effect.deed {
                Deed::Import(id) => self.import(id, offset),
                Deed::Call(id) => self.called(id, offset),
                Deed::Build { target, state } => self.build(target, state, offset),
                Deed::SetItems(id) => self.set_items(id, offset),
                Deed::Extend(id) => self.extend(id, offset),
                Deed::Persistent(id) => self.persistent(id, offset),
                Deed::Extension(code) => self.extension(code, offset),
            }
        }
        self.stored();
        self.hidden_programs();
    }

    /// Whether the program has named too much. What stands behind so many names is not judged as a whole, and that is no
    /// clean answer; what is dangerous by itself is told all the same ([`Self::behind`]).
    pub(super) fn is_flooded(&mut self, offset: usize) -> bool {
        let flooded = self.texts.len() > MAX_NAMES;
        if flooded && !self.flooded {
            self.flooded = true;
            self.flood(offset);
        }
        flooded
    }

    fn flood(&mut self, offset: usize) {
        let place = self.place(offset);
        let why = format!(
            "It names more than {MAX_NAMES} different things; no checkpoint needs so many."
        );
        let what = format!("what stands behind {MAX_NAMES} different names");
        self.examiner
            .found(Rule::Bomb, Weight::Unknown, place.clone(), "", why);
        self.examiner.gap(GapKind::Limit, place, what);
    }

    pub(super) fn import(&mut self, id: Id, offset: usize) {
        if matches!(
            self.program.value(id),
            Value::Opaque(Opaque::ComputedGlobal)
        ) {
            let why = "The name of what is imported is put together while loading, so that nobody can read it in the file.";
            self.tell(
                &Verdict::new(Rule::ComputedName, Weight::Dangerous, why),
                id,
                offset,
            );
            return;
        }
        self.imports.push((id, offset));
        self.has_callables = self.has_callables || self.is_callable(id);
    }

    fn called(&mut self, id: Id, offset: usize) {
        let program = self.program;
        let Value::Call(call) = program.value(id) else {
            return;
        };
        self.used.insert(call.callable);
        let nature = self.call(id, call, offset);
        if let Nature::Made(makes) = nature {
            self.has_callables |= makes.has(Makes::CALLABLE);
        }
        self.natures.insert(id, nature);
    }

    fn persistent(&mut self, id: Id, offset: usize) {
        if self.origin.has_storages() && self.is_storage(id) {
            return;
        }
        let why = "It asks the loader for an object by an id; which object that is, only the loader's own program says.";
        let verdict = Verdict::new(Rule::UnknownReference, Weight::Unknown, why);
        self.tell(&verdict, id, offset);
    }

    /// Whether a persistent id is `("storage", type, key, location, size…)`, as torch writes it; or names the source of a
    /// module, which torch compares and does not run.
    fn is_storage(&self, id: Id) -> bool {
        let Value::Persistent(inner) = self.program.value(id) else {
            return false;
        };
        let Some([kind, class, rest @ ..]) = self.program.items(*inner) else {
            return false;
        };
        let kind = self.program.text(*kind);
        let plain = |id: &Id| matches!(self.nature(*id), Nature::Plain);
        let known = matches!(self.nature(*class), Nature::Name | Nature::Plain);
        matches!(kind, Some("storage" | "module")) && known && rest.iter().all(plain)
    }

    pub(super) fn extension(&mut self, code: u32, offset: usize) {
        let why = format!(
            "It takes object {code} from the registry of extensions; what stands there, the process that loads it decides."
        );
        let verdict = Verdict::new(Rule::Extension, Weight::Dangerous, why);
        let place = self.place(offset);
        self.record(verdict, place, format!("extension({code})"));
    }

    /// What is known of `id` so far.
    pub(super) fn nature(&self, id: Id) -> Nature {
        match self.program.value(id) {
            Value::Global(_) => Nature::Name,
            Value::Call(_) => self.natures.get(&id).copied().unwrap_or(Nature::Foreign),
            Value::Persistent(_) if !self.origin.has_storages() => Nature::Foreign,
            Value::Persistent(_) if name_of(self.rules, self.program, id).is_some() => Nature::Name,
            Value::Opaque(Opaque::Extension(_) | Opaque::ComputedGlobal) => Nature::Foreign,
            _ => Nature::Plain,
        }
    }

    /// What `id` names, if it is an import or an attribute of one.
    pub(super) fn name(&mut self, id: Id) -> Option<Rc<Name>> {
        if let Some(known) = self.names.get(&id) {
            return known.clone();
        }
        let name = match self.program.value(id) {
            Value::Global(global) => {
                let (module, name) = (global.module.as_str(), global.name.as_str());
                let rules = self.rules;
                let known = self.texts.entry((module, name));
                let known = known.or_insert_with(|| Rc::new(Name::new(rules, module, name)));
                Some(Rc::clone(known))
            }
            Value::Call(_) | Value::Persistent(_) => {
                name_of(self.rules, self.program, id).map(Rc::new)
            }
            _ => return None,
        };
        self.names.insert(id, name.clone());
        name
    }

    /// Tells what `name` in `role` comes to, and that the file needs it.
    pub(super) fn tell_name(
        &mut self,
        name: &Rc<Name>,
        role: Role,
        verdict: Option<Verdict>,
        shown: Id,
        offset: usize,
    ) {
        let light = |verdict: &Verdict| verdict.weight < Weight::Dangerous;
        let project = self.rules.project();
        let verdict =
            verdict.filter(|it| !(light(it) && project.admits(&name.module, &name.path, role)));
        let what = verdict
            .as_ref()
            .map(|verdict| (verdict.rule, verdict.weight));
        if !self.told.insert((Rc::clone(name), role, what)) {
            return;
        }
        self.examiner.need(Need {
            module: name.module.clone(),
            name: name.path.clone(),
            role,
            weight: verdict.as_ref().map(|verdict| verdict.weight),
        });
        if let Some(verdict) = verdict {
            self.tell(&verdict, shown, offset);
        }
    }

    /// Tells a verdict about the value `shown`.
    pub(super) fn tell(&mut self, verdict: &Verdict, shown: Id, offset: usize) {
        let place = self.place(offset);
        let expression = expression(self.program, shown, MAX_EXPRESSION);
        self.record(verdict.clone(), place, expression);
    }

    fn record(&mut self, verdict: Verdict, place: Place, expression: String) {
        let Verdict { rule, weight, why } = verdict;
        self.examiner.found(rule, weight, place, expression, why);
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let mut place = self.examiner.at(offset as u64);
        place.stream = (self.stream > 0).then_some(self.stream);
        place
    }

    /// The arguments, if they are a literal tuple.
    pub(super) fn args(&self, call: &Call) -> Option<&'p [Id]> {
        match self.program.value(call.args) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }
}
