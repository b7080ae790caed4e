//! What a `.metadata` says of storage: which file, from where on, how many bytes.
//!
//! The loader asks the finished object for `relative_path`, `offset` and `length`; how they got there is the pickle's affair:
//! by one state or several, by a dict or what is filled like one, by items that are set after the state was taken. torch
//! writes one dict of literals for each object. Anything else is read as far as it can be, every word of it, and told: where a
//! reader of the program may come to another range than the loader, nobody can say what that range holds.

use std::collections::{BTreeMap, HashSet};

use formats::pickle::{Call, Id, Program, Value};

use super::TOLD;

/// Items of each file: offset and length, as they are said.
pub(super) type Items = BTreeMap<String, Vec<(i64, i64)>>;

/// What is said of storage.
#[derive(Default)]
pub(super) struct Storage {
    /// Ranges that can be read, sorted. A file of which only the name can be read has none.
    pub(super) items: Items,
    /// The first of what cannot be read as the loader reads it: the file, where it is known, and why.
    pub(super) doubts: Vec<(String, &'static str)>,
    /// How many there are in all.
    pub(super) doubtful: usize,
}

const NO_TEXT: &str = "The file of an item is no literal text.";
const NO_RANGE: &str = "Where an item begins or how long it is, is no literal number.";
const ODD_STATE: &str = "The place of an item is not told by one dict, as torch writes it: a loader may read another one than is seen here.";
const TWICE: &str = "The place of an item is told twice and differently: which one counts depends on when it is taken.";
const NO_STORAGE: &str =
    "What the loader takes for the places of items is no dict of them, as torch writes it.";

/// Everything that the program says of storage, wherever it stands.
pub(super) fn read(program: &Program) -> Storage {
    let mut reading = Reading {
        program,
        storage: Storage::default(),
        states: HashSet::new(),
        objects: HashSet::new(),
        tables: Vec::new(),
    };
    for (index, value) in program.values().enumerate() {
        if let Value::Call(call) = value {
            reading.object(index, call);
        }
    }
    // A dict that becomes a state in a way that is not followed here.
    for (index, value) in program.values().enumerate() {
        if let Value::Dict(pairs) = value
            && !reading.states.contains(&index)
        {
            let mut said = Said::default();
            said.pairs(program, pairs);
            reading.item(&said, false);
        }
    }
    reading.tables();
    let mut storage = reading.storage;
    for ranges in storage.items.values_mut() {
        ranges.sort_unstable();
        ranges.dedup();
    }
    storage
}

struct Reading<'p> {
    program: &'p Program,
    storage: Storage,
    /// Dicts that were read as states of objects, by their index.
    states: HashSet<usize>,
    /// Calls that say something of storage, by their index.
    objects: HashSet<usize>,
    /// What objects have under `storage_data`.
    tables: Vec<Id>,
}

impl Reading<'_> {
    fn object(&mut self, index: usize, call: &Call) {
        let own = self.is_storage_info(call);
        let mut said = Said::default();
        for state in &call.states {
            self.state(&mut said, *state, 0);
        }
        // torch makes it without arguments: a dataclass would take its fields from them.
        let global = matches!(self.program.value(call.callable), Value::Global(_));
        let bare = self.program.items(call.args).is_some_and(<[Id]>::is_empty);
        let direct = own && global && self.named_storage_info(call.callable);
        said.odd |= call.keywords.is_some() || (direct && !bare);
        said.odd |= !call.entries.is_empty() || !call.appended.is_empty();
        self.tables.extend(&said.table);
        if self.item(&said, own) {
            self.objects.insert(index);
        }
    }

    /// Whether it makes an object of torch's class, by itself or through `copyreg`.
    fn is_storage_info(&self, call: &Call) -> bool {
        let first = self.program.items(call.args).and_then(<[Id]>::first);
        self.named_storage_info(call.callable)
            || first.is_some_and(|id| self.named_storage_info(*id))
    }

    fn named_storage_info(&self, id: Id) -> bool {
        match self.program.value(id) {
            Value::Global(global) => global.name == "_StorageInfo",
            _ => false,
        }
    }

    fn state(&mut self, said: &mut Said, state: Id, depth: usize) {
        let program = self.program;
        match program.value(state) {
            Value::None => {}
            Value::Dict(pairs) => {
                self.states.insert(state.index());
                said.pairs(program, pairs);
            }
            Value::Call(call) => {
                said.odd = true;
                said.pairs(program, &call.entries);
            }
            // Attributes and slots, or a state that the class takes apart.
            Value::Tuple(items) if depth == 0 => {
                said.odd = true;
                for item in items {
                    self.state(said, *item, depth + 1);
                }
            }
            _ => said.odd = true,
        }
    }

    /// Takes one item; false if nothing is said of any. `own` is for objects that are nothing else.
    fn item(&mut self, said: &Said, own: bool) -> bool {
        let place = !(said.offset.is_empty() && said.length.is_empty());
        if !own && (said.path.is_empty() || !place) {
            return false;
        }
        let program = self.program;
        let paths = said.path.iter().filter_map(|path| program.text(*path));
        let paths: Vec<&str> = paths.collect();
        if paths.len() < said.path.len().max(1) {
            self.doubt("", NO_TEXT);
        }
        let (offsets, lengths) = (self.numbers(&said.offset), self.numbers(&said.length));
        for path in &paths {
            let ranges = self.storage.items.entry((*path).to_owned()).or_default();
            let pairs = offsets
                .iter()
                .flat_map(|it| lengths.iter().map(|to| (*it, *to)));
            ranges.extend(pairs);
        }
        let path = paths.last().copied().unwrap_or_default();
        let literal = |ids: &[Id]| {
            let mut ids = ids.iter();
            ids.all(|id| matches!(program.value(*id), Value::Int(_)))
        };
        let told = !said.offset.is_empty() && !said.length.is_empty();
        if !told || !literal(&said.offset) || !literal(&said.length) {
            self.doubt(path, NO_RANGE);
        }
        if said.twice {
            self.doubt(path, TWICE);
        } else if said.odd {
            self.doubt(path, ODD_STATE);
        }
        true
    }

    /// The numbers that these are to Python, as far as they are literal.
    fn numbers(&self, ids: &[Id]) -> Vec<i64> {
        let number = |id: &Id| match self.program.value(*id) {
            Value::Int(number) => Some(*number),
            Value::Bool(truth) => Some(i64::from(*truth)),
            _ => None,
        };
        ids.iter().filter_map(number).collect()
    }

    /// What an object gives as `storage_data` has nothing but items.
    fn tables(&mut self) {
        for table in std::mem::take(&mut self.tables) {
            let items = match self.program.value(table) {
                Value::None => true,
                Value::Dict(pairs) => pairs
                    .iter()
                    .all(|(_, item)| self.objects.contains(&item.index())),
                _ => false,
            };
            if !items {
                self.doubt("", NO_STORAGE);
            }
        }
    }

    fn doubt(&mut self, path: &str, why: &'static str) {
        self.storage.doubtful += 1;
        if self.storage.doubts.len() < TOLD {
            self.storage.doubts.push((path.to_owned(), why));
        }
    }
}

/// Values of one attribute that are kept where it is told again and again.
const KEPT: usize = 4;

/// What is said of the attributes of one object, in order and each value once. The last word counts, unless it was said
/// when the object had taken the one before: so all are looked at.
#[derive(Default)]
struct Said {
    path: Vec<Id>,
    offset: Vec<Id>,
    length: Vec<Id>,
    table: Vec<Id>,
    /// One of them was said twice, and differently.
    twice: bool,
    /// They were said otherwise than by one dict of texts.
    odd: bool,
}

impl Said {
    fn pairs(&mut self, program: &Program, pairs: &[(Id, Id)]) {
        for (key, value) in pairs {
            let known = match program.text(*key) {
                Some("relative_path") => &mut self.path,
                Some("offset") => &mut self.offset,
                Some("length") => &mut self.length,
                Some("storage_data") => &mut self.table,
                Some(_) => continue,
                None => {
                    self.odd = true;
                    continue;
                }
            };
            let same = |id: &Id| program.value(*id) == program.value(*value);
            if known.iter().any(same) {
                continue;
            }
            self.twice |= !known.is_empty();
            if known.len() == KEPT {
                known.remove(0);
            }
            known.push(*value);
        }
    }
}
