//! Comparing: what was signed with what is there, every difference named.
//!
//! Two signed lists may be there: the model signature's files, and the seal's entries, which say more. Both are held
//! against one reading of the folder. What could not be looked at is a gap, never a match. A file that the caller knows to
//! be unchanged since its bytes were checked ([`Known`]) is not read again; whether to trust that is the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use domain::PathText;

use crate::chunks::{FileTree, piece_size};
use crate::difference::{Difference, MAX_RANGES, What};
use crate::index::Kind;
use crate::manifest::{Content, Entry, Manifest};
use crate::measure::{
    Before, FileState, Hashed, Model, NotListed, Seen, SeenKind, Shard, Tally, Task, Unread, Wanted,
};
use crate::name::{Name, collisions};
use crate::oms::{HashType, Serialized, Signed};

/// What is held against the folder. At least one is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// The model signature.
    pub signed: Option<&'a Signed>,
    /// The seal.
    pub sealed: Option<&'a Manifest>,
}

/// States of files whose bytes were checked before.
pub type Known = BTreeMap<Name, FileState>;

/// How the folder is read.
pub struct Reading<'a> {
    /// Threads.
    pub threads: usize,
    /// What need not be read again.
    pub known: &'a Known,
    /// With a seal, the BLAKE3 tree alone is made of each file, and no SHA-256.
    pub tree_only: bool,
    /// Asked before a file is read: whether its state may be among [`Compared::states`]. Without it, every state is.
    pub before: Option<Before<'a>>,
}

/// A place that could not be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompared {
    /// Which.
    pub path: PathText,
    /// Why.
    pub why: Why,
}

/// Why something was not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It could not be listed.
    #[error(transparent)]
    Listed(#[from] NotListed),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] Unread),
    /// The digests are of a kind that is not made here.
    #[error("its digest is BLAKE2b, which is not computed here")]
    Algorithm,
    /// Only the tree was computed, and no seal says which it should be.
    #[error("the digest that is signed was not computed")]
    NotComputed,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Compared {
    /// By path.
    pub differences: Vec<Difference>,
    /// By path.
    pub not_compared: Vec<NotCompared>,
    /// What no signature covers.
    pub excluded: Tally,
    /// Files that are signed.
    pub files: u64,
    /// Bytes of the files that were read or known.
    pub bytes: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Files that were known and not read.
    pub files_known: u64,
    /// What the kernel said of each entry when it was compared; of links, of the link itself. Of files, those that were
    /// known and those that [`Reading::before`] lets be remembered.
    pub states: BTreeMap<Name, (Kind, FileState)>,
    /// Files with other names, somewhere, through which they can be changed.
    pub hard_links: u64,
    /// Names that are one where case plays no role.
    pub collisions: Vec<Vec<Name>>,
    /// Empty files of which a signature over ranges can say nothing: it has no range for them.
    pub empty: u64,
}

/// What is signed under one name.
#[derive(Default, Clone, Copy)]
struct Want<'a> {
    /// Digest of a whole file.
    digest: Option<&'a [u8]>,
    /// Some of its ranges are signed.
    sharded: bool,
    entry: Option<&'a Entry>,
}

/// Compares. `excluded` is what the statements leave out.
pub fn compare(
    model: &Model,
    expected: Expected<'_>,
    excluded: &[Name],
    reading: &Reading<'_>,
) -> Compared {
    let wants = wants(model, expected);
    let listing = model.list(excluded);
    let mut all = Comparison {
        model,
        expected,
        wants: &wants,
        reading,
        out: Compared {
            excluded: listing.excluded,
            collisions: collisions(listing.entries.iter().map(|seen| &seen.name)),
            ..Compared::default()
        },
    };
    let unlisted: BTreeSet<String> = listing
        .unlisted
        .iter()
        .map(|it| it.path.as_str().to_owned())
        .collect();
    for it in listing.unlisted {
        all.unlisted(it.path, it.why);
    }
    all.one_file_for_a_folder();
    let mut tasks = Vec::new();
    let mut present = BTreeSet::new();
    for seen in listing.entries {
        tasks.extend(all.look(&seen));
        present.insert(seen.name);
    }
    for name in wants.keys().filter(|name| !present.contains(**name)) {
        // Where nothing could be listed nothing is known to be missing; that place is told as not compared.
        if !is_at_or_below(name, &unlisted) {
            all.differs(name, What::Missing);
        }
    }
    all.read(tasks);
    all.shards();
    let mut out = all.out;
    out.differences
        .sort_by(|left, right| left.path.cmp(&right.path));
    out.not_compared
        .sort_by(|left, right| left.path.cmp(&right.path));
    out
}

fn wants<'a>(model: &'a Model, expected: Expected<'a>) -> BTreeMap<&'a Name, Want<'a>> {
    let mut wants: BTreeMap<&Name, Want<'_>> = BTreeMap::new();
    let resources = expected.signed.map(|signed| signed.resources.as_slice());
    for resource in resources.unwrap_or_default() {
        let Some(name) = resource.name.as_ref().or(model.single()) else {
            continue; // one file was signed, and here is a folder: told by `compare`
        };
        let want = wants.entry(name).or_default();
        match resource.shard {
            None => want.digest = Some(&resource.digest),
            Some(_) => want.sharded = true,
        }
    }
    let entries = expected.sealed.map(|manifest| &manifest.entries);
    for (name, entry) in entries.into_iter().flatten() {
        wants.entry(name).or_default().entry = Some(entry);
    }
    wants
}

struct Comparison<'a> {
    model: &'a Model,
    expected: Expected<'a>,
    wants: &'a BTreeMap<&'a Name, Want<'a>>,
    reading: &'a Reading<'a>,
    out: Compared,
}

fn text(name: &Name) -> PathText {
    PathText::from_bytes(name.as_str().as_bytes())
}

/// Whether one of `places` is the name or lies above it; `.` lies above all.
fn is_at_or_below(name: &Name, places: &BTreeSet<String>) -> bool {
    if places.is_empty() {
        return false;
    }
    let text = text(name);
    let text = text.as_str();
    let ends = text.match_indices('/').map(|(at, _)| at);
    let mut above = ends.filter_map(|end| text.get(..end));
    places.contains(".") || places.contains(text) || above.any(|it| places.contains(it))
}

fn kind(seen: &SeenKind) -> &'static str {
    match seen {
        SeenKind::File => "a file",
        SeenKind::Folder => "a folder",
        SeenKind::Link { .. } => "a link",
        SeenKind::Other(kind) => kind,
    }
}

impl Comparison<'_> {
    fn differs(&mut self, name: &Name, what: What) {
        let path = text(name);
        self.out.differences.push(Difference { path, what });
    }

    /// A signature of one file says nothing of a folder.
    fn one_file_for_a_folder(&mut self) {
        let resources = self.expected.signed.map(|signed| &signed.resources);
        let is_one = resources.is_some_and(|all| all.iter().any(|it| it.name.is_none()));
        if is_one && self.model.single().is_none() {
            let (signed, found) = ("a file", "a folder");
            let what = What::Kind { signed, found };
            let path = PathText::from_bytes(b".");
            self.out.differences.push(Difference { path, what });
        }
    }

    fn unlisted(&mut self, path: PathText, why: NotListed) {
        // A name that no signature can hold was not signed.
        if why == NotListed::Name {
            let what = What::Extra {
                kind: "a name that no signature can hold",
            };
            self.out.differences.push(Difference { path, what });
        } else {
            let why = why.into();
            self.out.not_compared.push(NotCompared { path, why });
        }
    }

    /// Holds what was listed against what is signed; a task where bytes are left to be compared.
    fn look(&mut self, seen: &Seen) -> Option<Task> {
        let Some(want) = self.wants.get(&seen.name).copied() else {
            // A model signature alone says nothing of folders.
            let is_covered = seen.kind != SeenKind::Folder || self.expected.sealed.is_some();
            if is_covered && self.has_no_range(seen) {
                self.out.empty += 1;
            } else if is_covered {
                let kind = kind(&seen.kind);
                self.differs(&seen.name, What::Extra { kind });
            }
            return None;
        };
        let is_link = matches!(seen.kind, SeenKind::Link { .. });
        let through_link = is_link
            && self
                .expected
                .signed
                .is_none_or(|signed| signed.allow_symlinks);
        if let Some(signed) = wrong_kind(seen, want, through_link) {
            let found = kind(&seen.kind);
            self.differs(&seen.name, What::Kind { signed, found });
            return None;
        }
        self.look_at_entry(seen, want.entry);
        let content = want.entry.and_then(Entry::content);
        if want.digest.is_none() && content.is_none() {
            let kind = match seen.kind {
                SeenKind::Folder => Some(Kind::Folder),
                SeenKind::Link { .. } => Some(Kind::Link),
                SeenKind::File | SeenKind::Other(_) => None,
            };
            if let Some(kind) = kind {
                self.out
                    .states
                    .insert(seen.name.clone(), (kind, seen.state));
            }
            return None;
        }
        self.out.files += 1;
        if !is_link {
            self.out.hard_links += u64::from(seen.state.links > 1);
            // Other lengths are other bytes: nothing needs to be read.
            if let Some(signed) = content
                .map(|content| content.size)
                .filter(|size| *size != seen.state.size)
            {
                let found = seen.state.size;
                self.differs(&seen.name, What::Size { signed, found });
                return None;
            }
            if self.reading.known.get(&seen.name) == Some(&seen.state) {
                self.out.files_known += 1;
                self.out.bytes = self.out.bytes.saturating_add(seen.state.size);
                self.out
                    .states
                    .insert(seen.name.clone(), (Kind::File, seen.state));
                return None;
            }
        }
        Some(Task {
            name: seen.name.clone(),
            through_link,
            size: seen.state.size,
        })
    }

    /// An empty file under a signature over ranges: there is no range of it that could be signed.
    fn has_no_range(&self, seen: &Seen) -> bool {
        let signed = self.expected.signed;
        let is_sharded = signed.is_some_and(|it| matches!(it.serialized, Serialized::Shards(_)));
        let has_seal = self.expected.sealed.is_some();
        is_sharded && !has_seal && seen.kind == SeenKind::File && seen.state.size == 0
    }

    fn look_at_entry(&mut self, seen: &Seen, entry: Option<&Entry>) {
        match (entry, &seen.kind) {
            (Some(Entry::File { mode, .. } | Entry::Folder { mode }), _)
                if *mode != seen.state.mode =>
            {
                let (signed, found) = (*mode, seen.state.mode);
                self.differs(&seen.name, What::Mode { signed, found });
            }
            (Some(Entry::Link { target: signed, .. }), SeenKind::Link { target: found })
                if signed != found =>
            {
                let (signed, found) = (signed.clone(), found.clone());
                self.differs(&seen.name, What::Target { signed, found });
            }
            _ => {}
        }
    }

    fn read(&mut self, tasks: Vec<Task>) {
        let hash = self.expected.signed.map(|signed| signed.hash);
        let has_seal = self.expected.sealed.is_some();
        if hash == Some(HashType::Blake2b) && !has_seal {
            for task in tasks {
                let (path, why) = (text(&task.name), Why::Algorithm);
                self.out.not_compared.push(NotCompared { path, why });
            }
            return;
        }
        let tree_only = self.reading.tree_only && has_seal;
        let wanted = Wanted {
            sha256: !tree_only && (has_seal || hash == Some(HashType::Sha256)),
            tree: has_seal || hash == Some(HashType::Blake3),
        };
        let (threads, before) = (self.reading.threads, self.reading.before);
        let results = self.model.hash(&tasks, wanted, threads, before);
        for (task, result) in tasks.into_iter().zip(results) {
            match result {
                Ok(hashed) => self.hold_against(&task.name, &hashed, task.through_link),
                Err(Unread::System(rustix::io::Errno::NOENT)) => {
                    self.differs(&task.name, What::Missing);
                }
                Err(Unread::NotAFile(found)) => {
                    let signed = "a file";
                    self.differs(&task.name, What::Kind { signed, found });
                }
                Err(why) => {
                    let path = text(&task.name);
                    let why = why.into();
                    self.out.not_compared.push(NotCompared { path, why });
                }
            }
        }
    }

    fn hold_against(&mut self, name: &Name, hashed: &Hashed, through_link: bool) {
        let size = hashed.state.size;
        self.out.bytes = self.out.bytes.saturating_add(size);
        self.out.bytes_read = self.out.bytes_read.saturating_add(size);
        let want = self.wants.get(name).copied().unwrap_or_default();
        let content = want.entry.and_then(Entry::content);
        let hash = self.expected.signed.map(|signed| signed.hash);
        let found: Option<&[u8]> = match hash {
            Some(HashType::Sha256) => hashed
                .sha256
                .as_ref()
                .map(|digest| digest.as_bytes().as_slice()),
            Some(HashType::Blake3) => hashed
                .tree
                .as_ref()
                .map(|tree| tree.root.as_bytes().as_slice()),
            Some(HashType::Blake2b) | None => None,
        };
        if want.digest.is_some() && found.is_none() && content.is_none() {
            let is_blake2b = hash == Some(HashType::Blake2b);
            let why = if is_blake2b {
                Why::Algorithm
            } else {
                Why::NotComputed
            };
            let path = text(name);
            self.out.not_compared.push(NotCompared { path, why });
            return;
        }
        let by_signature = want
            .digest
            .zip(found)
            .is_some_and(|(signed, found)| signed != found);
        let by_seal = content.is_some_and(|content| !is_content(content, hashed));
        if by_signature || by_seal {
            let ranges = content.zip(hashed.tree.as_ref());
            let ranges = ranges
                .map(|(content, found)| ranges_of(content, found))
                .unwrap_or_default();
            let what = match content {
                Some(content) if content.size != size => What::Size {
                    signed: content.size,
                    found: size,
                },
                _ => What::Content { ranges },
            };
            self.differs(name, what);
        }
        // The mode that counts is that of the descriptor that was read.
        if let Some(Entry::File { mode, .. }) = want.entry
            && *mode != hashed.state.mode
            && !self
                .out
                .differences
                .iter()
                .rev()
                .any(|it| is_mode_of(it, name))
        {
            let (signed, found) = (*mode, hashed.state.mode);
            self.differs(name, What::Mode { signed, found });
        }
        if !through_link && (hashed.before || self.reading.before.is_none()) {
            self.out
                .states
                .insert(name.clone(), (Kind::File, hashed.state));
        }
    }

    /// Signatures over ranges: each range, and that they make the whole file.
    fn shards(&mut self) {
        let Some(signed) = self.expected.signed else {
            return;
        };
        let Serialized::Shards(_) = signed.serialized else {
            return;
        };
        let of = |name: Option<&Name>| name.or(self.model.single()).cloned();
        let mut shards: Vec<(Shard, &[u8])> = signed
            .resources
            .iter()
            .filter_map(|it| {
                let (start, end) = it.shard?;
                let name = of(it.name.as_ref())?;
                Some((
                    Shard {
                        name,
                        range: start..end,
                    },
                    it.digest.as_slice(),
                ))
            })
            .collect();
        shards.sort_by(|(left, _), (right, _)| {
            (&left.name, left.range.start).cmp(&(&right.name, right.range.start))
        });
        let differing: BTreeSet<PathText> = self
            .out
            .differences
            .iter()
            .map(|it| it.path.clone())
            .collect();
        shards.retain(|(shard, _)| !differing.contains(&text(&shard.name)));
        for group in shards.chunk_by(|(left, _), (right, _)| left.name == right.name) {
            self.shards_of_one(group, signed);
        }
    }

    fn shards_of_one(&mut self, group: &[(Shard, &[u8])], signed: &Signed) {
        let Some((first, _)) = group.first() else {
            return;
        };
        let name = first.name.clone();
        self.out.files += 1;
        if signed.hash != HashType::Sha256 {
            let (path, why) = (text(&name), Why::Algorithm);
            self.out.not_compared.push(NotCompared { path, why });
            return;
        }
        let mut end = 0;
        for (shard, _) in group {
            if shard.range.start != end {
                self.differs(
                    &name,
                    What::Content {
                        ranges: std::iter::once(end..shard.range.start).collect(),
                    },
                );
                return;
            }
            end = shard.range.end;
        }
        let size = self.model.size_of(&name, signed.allow_symlinks);
        if let Some(found) = size.filter(|size| *size != end) {
            self.differs(&name, What::Size { signed: end, found });
            return;
        }
        let ranges: Vec<Shard> = group.iter().map(|(shard, _)| shard.clone()).collect();
        let digests = self.model.hash_shards(&ranges, signed.allow_symlinks);
        let mut bad = Vec::new();
        for ((shard, wanted), found) in group.iter().zip(digests) {
            match found {
                Ok(found) if found.as_bytes() == wanted => {}
                Ok(_) => bad.push(shard.range.clone()),
                Err(why) => {
                    let (path, why) = (text(&name), why.into());
                    self.out.not_compared.push(NotCompared { path, why });
                    return;
                }
            }
        }
        self.out.bytes = self.out.bytes.saturating_add(end);
        self.out.bytes_read = self.out.bytes_read.saturating_add(end);
        if !bad.is_empty() {
            self.differs(
                &name,
                What::Content {
                    ranges: joined(bad),
                },
            );
        }
    }
}

/// What was signed, where another kind of thing is there.
fn wrong_kind(seen: &Seen, want: Want<'_>, through_link: bool) -> Option<&'static str> {
    match (want.entry, &seen.kind) {
        (Some(Entry::File { .. }) | None, SeenKind::File)
        | (Some(Entry::Folder { .. }), SeenKind::Folder)
        | (Some(Entry::Link { .. }), SeenKind::Link { .. }) => None,
        (None, SeenKind::Link { .. }) if through_link => None,
        (entry, _) => Some(entry.map_or("a file", Entry::kind)),
    }
}

fn is_mode_of(it: &Difference, name: &Name) -> bool {
    matches!(it.what, What::Mode { .. }) && it.path == text(name)
}

/// What was made of the file is what was signed; what was not made is not asked.
fn is_content(signed: &Content, found: &Hashed) -> bool {
    signed.size == found.state.size
        && found.sha256.is_none_or(|digest| digest == signed.sha256)
        && found.tree.as_ref().is_none_or(|tree| *tree == signed.tree)
}

/// The pieces that differ, as ranges of bytes.
fn ranges_of(signed: &Content, found: &FileTree) -> Vec<Range<u64>> {
    let size = piece_size(signed.size);
    let pieces = signed.tree.pieces.iter().zip(&found.pieces);
    let starts = pieces.zip((0_u64..).step_by(usize::try_from(size).unwrap_or(usize::MAX)));
    let differing = starts.filter(|((signed, found), _)| signed != found);
    joined(
        differing
            .map(|(_, start)| start..(start + size).min(signed.size))
            .collect(),
    )
}

/// Neighbours as one range, and not more ranges than are told.
fn joined(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let is_full = all.len() == MAX_RANGES;
        match all.last_mut() {
            Some(last) if last.end == range.start || is_full => last.end = range.end,
            _ => all.push(range),
        }
    }
    all
}
