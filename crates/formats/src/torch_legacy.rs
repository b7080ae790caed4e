//! Torch's formats before ZIP: where their pickles are, and what lies between them.
//!
//! From 0.1.10 to 1.5 a file is five pickles one behind the other (a magic number, a protocol number, facts about the
//! machine, the object, the list of storage keys) and then the storages, each as a count and its bytes. Before that it
//! was a tar archive whose members `storages` and `tensors` have pickles with raw bytes between. Every pickle runs when it
//! is reached, whatever the ones before it gave; so all are found, and the bytes between are accounted for so that none
//! is left where another could hide.

use std::collections::HashMap;
use std::io;

use crate::pickle::{Limits, Program, Value};
use crate::read_at::bytes_at;
use crate::{ReadAt, Walked, Window};

/// The most parts that are listed.
pub const MAX_PARTS: usize = 1 << 16;

/// What a part of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The pickle of the magic number.
    Magic,
    /// The pickle of the protocol number.
    Protocol,
    /// The pickle of facts about the machine.
    SysInfo,
    /// The pickle of the object that was saved.
    Object,
    /// The pickle of the list of storage keys.
    StorageKeys,
    /// In a tar member: a pickle of a count, of one item, or of the views.
    Item,
    /// Raw bytes of a storage or a shape; no loader interprets them further.
    Raw,
    /// Bytes behind all that a loader reads.
    Rest,
}

impl Role {
    /// Whether a loader runs it as a pickle.
    pub const fn is_pickle(self) -> bool {
        !matches!(self, Self::Raw | Self::Rest)
    }
}

/// A range of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub role: Role,
    /// Offset of its first byte.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
}

/// A file as its parts, without holes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// In the order of the file.
    pub parts: Vec<Part>,
    /// Whether every part is what a loader expects there; otherwise the last one is what could not be told.
    pub complete: bool,
}

impl Layout {
    fn add(&mut self, role: Role, offset: u64, size: u64) {
        if size > 0 && self.parts.len() < MAX_PARTS {
            self.parts.push(Part { role, offset, size });
        }
    }
}

/// The parts of a file that starts with the magic number.
pub fn layout(input: &dyn ReadAt, limits: &Limits) -> io::Result<Layout> {
    let mut reader = Reader::new(input, limits);
    let roles = [Role::Magic, Role::Protocol, Role::SysInfo];
    for role in roles {
        if reader.pickle(role)?.is_none() {
            return Ok(reader.give_up());
        }
    }
    let Some(object) = reader.pickle(Role::Object)? else {
        return Ok(reader.give_up());
    };
    let sizes = element_sizes(&object);
    drop(object);
    let Some(keys) = reader.pickle(Role::StorageKeys)? else {
        return Ok(reader.give_up());
    };
    let keys: Vec<Option<u64>> = keys
        .root
        .and_then(|root| keys.items(root))
        .unwrap_or_default()
        .iter()
        .map(|key| keys.text(*key).and_then(|key| sizes.get(key).copied()))
        .collect();
    for element_size in keys {
        if !reader.storage(element_size)? {
            return Ok(reader.give_up());
        }
    }
    Ok(reader.finish())
}

/// The parts of the member `storages` of a tar archive; offsets count from its start.
pub fn tar_storages(member: &Window<'_>, limits: &Limits) -> io::Result<Layout> {
    let mut reader = Reader::new(member, limits);
    let Some(count) = reader.pickle(Role::Item)?.and_then(|program| int(&program)) else {
        return Ok(reader.give_up());
    };
    for _ in 0..count {
        let Some(item) = reader.pickle(Role::Item)? else {
            return Ok(reader.give_up());
        };
        // (key, location, class of the storage)
        let class = item.root.and_then(|root| item.items(root)?.get(2).copied());
        let size = class.and_then(|class| storage_size(&item, class));
        if !reader.storage(size)? {
            return Ok(reader.give_up());
        }
    }
    if reader.pickle(Role::Item)?.is_none() {
        return Ok(reader.give_up());
    }
    Ok(reader.finish())
}

/// The parts of the member `tensors` of a tar archive; offsets count from its start.
pub fn tar_tensors(member: &Window<'_>, limits: &Limits) -> io::Result<Layout> {
    let mut reader = Reader::new(member, limits);
    let Some(count) = reader.pickle(Role::Item)?.and_then(|program| int(&program)) else {
        return Ok(reader.give_up());
    };
    for _ in 0..count {
        if reader.pickle(Role::Item)?.is_none() || !reader.shape()? {
            return Ok(reader.give_up());
        }
    }
    Ok(reader.finish())
}

struct Reader<'a> {
    input: &'a dyn ReadAt,
    limits: &'a Limits,
    position: u64,
    layout: Layout,
}

impl<'a> Reader<'a> {
    fn new(input: &'a dyn ReadAt, limits: &'a Limits) -> Self {
        Self {
            input,
            limits,
            position: 0,
            layout: Layout::default(),
        }
    }

    /// The pickle here, added as a part even if it breaks; `None` if it does, because a loader ends there.
    fn pickle(&mut self, role: Role) -> io::Result<Option<Program>> {
        if self.position >= self.input.len() || self.layout.parts.len() >= MAX_PARTS {
            return Ok(None);
        }
        let walked = Walked::at(self.input, self.position, self.limits)?;
        if walked.program.complete {
            self.layout.add(role, self.position, walked.size);
            self.position = walked.end();
            return Ok(Some(walked.program));
        }
        // It breaks; where is for the caller to see, who follows it again.
        let left = self.input.len() - self.position;
        self.layout.add(role, self.position, left);
        self.position = self.input.len();
        Ok(None)
    }

    /// A count of elements, then the elements; false if they are not all there or of unknown size.
    fn storage(&mut self, element_size: Option<u64>) -> io::Result<bool> {
        let count = self.word()?.filter(|count| i64::try_from(*count).is_ok());
        let bytes = count
            .zip(element_size)
            .and_then(|(count, size)| count.checked_mul(size)?.checked_add(8));
        Ok(self.raw(bytes))
    }

    /// The number of dimensions as 4 bytes, 4 more, size and stride of each, an offset.
    fn shape(&mut self) -> io::Result<bool> {
        let dimensions = self.word()?.map(|both| both & 0xffff_ffff);
        let bytes = dimensions.and_then(|count| count.checked_mul(16)?.checked_add(16));
        Ok(self.raw(bytes))
    }

    fn word(&self) -> io::Result<Option<u64>> {
        let left = self.input.len().saturating_sub(self.position);
        let bytes = bytes_at(self.input, self.input.len() - left, left.min(8))?;
        Ok(bytes.try_into().ok().map(u64::from_le_bytes))
    }

    fn raw(&mut self, bytes: Option<u64>) -> bool {
        let left = self.input.len().saturating_sub(self.position);
        match bytes.filter(|bytes| *bytes <= left) {
            Some(bytes) => {
                self.layout.add(Role::Raw, self.position, bytes);
                self.position += bytes;
                true
            }
            None => false,
        }
    }

    /// What could not be told is the rest.
    fn give_up(mut self) -> Layout {
        self.rest();
        self.layout
    }

    fn finish(mut self) -> Layout {
        self.layout.complete = self.layout.parts.len() < MAX_PARTS;
        self.rest();
        self.layout
    }

    fn rest(&mut self) {
        let left = self.input.len().saturating_sub(self.position);
        self.layout.parts.truncate(MAX_PARTS - 1);
        self.layout.add(Role::Rest, self.position, left);
    }
}

fn int(program: &Program) -> Option<u64> {
    match program.root.map(|root| program.value(root)) {
        Some(Value::Int(value)) => u64::try_from(*value).ok(),
        _ => None,
    }
}

/// By key of the storage, from the persistent ids `('storage', class, key, location, count, …)`.
fn element_sizes(program: &Program) -> HashMap<String, u64> {
    let mut sizes = HashMap::new();
    for value in program.values() {
        if let Value::Persistent(name) = value
            && let Some([_, class, key, ..]) = program.items(*name)
            && let (Some(size), Some(key)) = (storage_size(program, *class), program.text(*key))
        {
            sizes.insert(key.to_owned(), size);
        }
    }
    sizes
}

fn storage_size(program: &Program, class: crate::pickle::Id) -> Option<u64> {
    let name = &program.global(class)?.name;
    // Types that have no storage of their own are kept as bytes, and counted so.
    if name == "UntypedStorage" {
        return Some(1);
    }
    crate::checkpoint::storage_dtype(name).map(|(_, size)| size)
}
