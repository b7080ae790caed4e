//! One scan: list, look up, read what is not known, put together.
//!
//! Equal files (hard links, links into one cache) are read once. What an interested caller names first is read first, then
//! everything small, then large files by size, so that a scan that is stopped or runs out of its budget has read the code
//! and lacks the libraries, and so that two threads end at the same time. Nothing that goes wrong with a file ends the
//! scan: it becomes a [`Node::Unread`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use domain::{Digest, Node, PathText};
use hashing::Engine;

use crate::cache::Cache;
use crate::digests;
use crate::file::{FileKey, Hashed};
use crate::gap::Gap;
use crate::layout::{Layout, Resolved, id_of, resolve};
use crate::packages;
use crate::snapshot::{CacheLie, Snapshot, Totals};
use crate::trees;
use crate::walk::{Bounds, Found, What, walk};

/// The most names that one scan lists; the rest is a gap.
pub const MAX_ENTRIES: u64 = 1_000_000;

/// The bytes that one scan reads unless it is told otherwise: a link from a package into a data set must not keep a run
/// from starting.
pub const DEFAULT_BUDGET_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// Files up to this size are read before all larger ones.
const SMALL: u64 = 1024 * 1024;

/// How to scan.
#[derive(Clone)]
pub struct Options<'a> {
    /// Paths to read before all others, such as those that a run has loaded.
    pub first: Vec<PathBuf>,
    /// Threads that list and read; at least one.
    pub threads: usize,
    /// The most bytes to read; files beyond it are gaps. What the cache knows costs nothing.
    pub budget_bytes: Option<u64>,
    /// The most names to list.
    pub max_entries: u64,
    /// Asked before each folder and file and once per buffer of a large file; `true` ends the scan with gaps.
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
    /// How many of 1,000 files that the cache knows are read all the same.
    pub sample_rehash_per_mille: u32,
    /// All of them are read again.
    pub deep: bool,
    /// Decides which; must be new and secret each time, or a liar knows which files to spare.
    pub sample_seed: u64,
    /// Now. A cache record is made only of files that had not changed for [`crate::RACY_WINDOW`] by then.
    pub began: SystemTime,
}

impl Options<'_> {
    /// Two threads, [`DEFAULT_BUDGET_BYTES`], 5 per mille of the cached files read again.
    pub fn new(began: SystemTime, sample_seed: u64) -> Self {
        Self {
            first: Vec::new(),
            threads: 2,
            budget_bytes: Some(DEFAULT_BUDGET_BYTES),
            max_entries: MAX_ENTRIES,
            should_stop: &|| false,
            sample_rehash_per_mille: 5,
            deep: false,
            sample_seed,
            began,
        }
    }
}

/// Lists and hashes an environment. Never fails: what could not be read is in [`Snapshot::unread`].
pub fn scan(layout: &Layout, cache: &mut Cache, options: &Options<'_>) -> Snapshot {
    let resolved = resolve(layout);
    let threads = options.threads.clamp(1, 64);
    let bounds = Bounds {
        threads,
        max_entries: options.max_entries,
        should_stop: options.should_stop,
    };
    let found = walk(&resolved, &bounds);
    let mut work = Work::plan(&found, cache, options);
    work.read(options, threads);
    if !work.lies.is_empty() {
        // One lie and no other record is believed.
        cache.clear();
        work.distrust();
        work.read(options, threads);
    }
    work.learn(cache, options.began);
    assemble(resolved, &found, &work)
}

/// What is known of one version of one file.
enum Known {
    /// From the cache.
    Cached(Digest),
    /// From the cache, and chosen to be read again.
    Doubted(Digest),
    Wanted,
    Read(Hashed),
    Gap(Gap),
}

struct Slot {
    key: FileKey,
    /// The first name that it was found under.
    found: usize,
    /// Where it is, once it is to be read.
    path: PathBuf,
    known: Known,
}

struct Work<'a> {
    found: &'a [Found],
    slots: Vec<Slot>,
    /// For each found name, its slot.
    slot_of: Vec<Option<usize>>,
    first: HashSet<(u64, u64)>,
    lies: Vec<(usize, Digest, Digest)>,
    spent: AtomicU64,
    read_files: u64,
    read_bytes: u64,
}

impl<'a> Work<'a> {
    fn plan(found: &'a [Found], cache: &Cache, options: &Options<'_>) -> Self {
        let mut slots: Vec<Slot> = Vec::with_capacity(found.len());
        let mut by_id: HashMap<(u64, u64), usize> = HashMap::with_capacity(found.len());
        let mut slot_of = Vec::with_capacity(found.len());
        for (index, entry) in found.iter().enumerate() {
            let What::File { key, .. } = &entry.what else {
                slot_of.push(None);
                continue;
            };
            let next = slots.len();
            let slot = by_id.entry((key.device, key.inode)).or_insert(next);
            // A file that changed between two of its names is two files.
            if slots.get(*slot).is_none_or(|it| it.key != *key) {
                *slot = next;
                slots.push(Slot {
                    key: *key,
                    found: index,
                    path: PathBuf::new(),
                    known: known(key, cache, options),
                });
            }
            slot_of.push(Some(*slot));
        }
        let first = options
            .first
            .iter()
            .filter_map(|path| rustix::fs::stat(path).ok())
            .map(|stat| id_of(&stat));
        Self {
            found,
            slots,
            slot_of,
            first: first.collect(),
            lies: Vec::new(),
            spent: AtomicU64::new(0),
            read_files: 0,
            read_bytes: 0,
        }
    }

    /// Reads all slots that are wanted or doubted.
    fn read(&mut self, options: &Options<'_>, threads: usize) {
        let order = self.order();
        for index in &order {
            if let Some(slot) = self.slots.get_mut(*index)
                && let Some(entry) = self.found.get(slot.found)
            {
                slot.path = entry.path();
            }
        }
        let next = AtomicUsize::new(0);
        let results = std::thread::scope(|scope| {
            let this = &*self;
            let worker = || this.read_some(&order, &next, options);
            let workers: Vec<_> = (1..threads.min(order.len()))
                .map(|_| scope.spawn(worker))
                .collect();
            let mut results = worker();
            for worker in workers {
                match worker.join() {
                    Ok(more) => results.extend(more),
                    Err(payload) => std::panic::resume_unwind(payload),
                }
            }
            results
        });
        for (index, result) in results {
            self.settle(index, result);
        }
    }

    fn order(&self) -> Vec<usize> {
        let waits = |slot: &Slot| matches!(slot.known, Known::Wanted | Known::Doubted(_));
        let mut order: Vec<usize> = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| waits(slot))
            .map(|(index, _)| index)
            .collect();
        order.sort_by_cached_key(|index| {
            self.slots.get(*index).map(|slot| {
                let later = !self.first.contains(&(slot.key.device, slot.key.inode));
                let large = if slot.key.size > SMALL {
                    slot.key.size
                } else {
                    0
                };
                (later, large > 0, std::cmp::Reverse(large))
            })
        });
        order
    }

    fn read_some(
        &self,
        order: &[usize],
        next: &AtomicUsize,
        options: &Options<'_>,
    ) -> Vec<(usize, Result<Hashed, Gap>)> {
        let next_file = || {
            loop {
                let index = *order.get(next.fetch_add(1, Ordering::Relaxed))?;
                let Some(slot) = self.slots.get(index) else {
                    continue;
                };
                let path = if (options.should_stop)() {
                    Err(Gap::Stopped)
                } else if !self.afford(slot.key.size, options.budget_bytes) {
                    Err(Gap::Budget)
                } else {
                    Ok(slot.path.as_path())
                };
                return Some((index, path));
            }
        };
        digests::digest_all(Engine::best(), next_file, options.should_stop)
    }

    fn afford(&self, size: u64, budget: Option<u64>) -> bool {
        let Some(budget) = budget else { return true };
        let grown = |spent: u64| spent.checked_add(size).filter(|total| *total <= budget);
        self.spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .is_ok()
    }

    fn settle(&mut self, index: usize, result: Result<Hashed, Gap>) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if let Ok(hashed) = &result {
            self.read_files += 1;
            self.read_bytes += hashed.key.size;
        }
        slot.known = match (&slot.known, result) {
            // The same version by all that the kernel says, and other bytes.
            (Known::Doubted(cached), Ok(hashed))
                if hashed.key == slot.key && hashed.digest != *cached =>
            {
                self.lies.push((index, *cached, hashed.digest));
                Known::Read(hashed)
            }
            // It could not be read again for want of time or budget: no worse than one that was not chosen.
            (Known::Doubted(cached), Err(Gap::Stopped | Gap::Budget)) => Known::Cached(*cached),
            (_, Ok(hashed)) => Known::Read(hashed),
            (_, Err(gap)) => Known::Gap(gap),
        };
    }

    fn distrust(&mut self) {
        for slot in &mut self.slots {
            if matches!(slot.known, Known::Cached(_)) {
                slot.known = Known::Wanted;
            }
        }
    }

    fn learn(&self, cache: &mut Cache, began: SystemTime) {
        for slot in &self.slots {
            if let Known::Read(hashed) = &slot.known {
                cache.put(hashed.key, hashed.digest, began);
            }
        }
    }

    fn node(&self, index: usize, entry: &Found) -> Node {
        let slot = self
            .slot_of
            .get(index)
            .copied()
            .flatten()
            .and_then(|slot| self.slots.get(slot));
        match (&entry.what, slot) {
            (What::Link { target }, _) => Node::Link {
                target: target.clone(),
            },
            (What::Unread(gap), _) => unread(gap),
            (What::File { mode, .. }, Some(slot)) => match &slot.known {
                Known::Cached(digest) | Known::Doubted(digest) => Node::File {
                    size: slot.key.size,
                    mode: *mode,
                    digest: *digest,
                },
                Known::Read(hashed) => Node::File {
                    size: hashed.key.size,
                    mode: *mode,
                    digest: hashed.digest,
                },
                Known::Gap(gap) => unread(gap),
                Known::Wanted => unread(&Gap::Stopped),
            },
            (What::File { .. }, None) => unread(&Gap::Stopped),
        }
    }
}

fn known(key: &FileKey, cache: &Cache, options: &Options<'_>) -> Known {
    match cache.get(key) {
        Some(digest) if is_sampled(key, options) => Known::Doubted(digest),
        Some(digest) => Known::Cached(digest),
        None => Known::Wanted,
    }
}

fn unread(gap: &Gap) -> Node {
    Node::Unread {
        reason: gap.to_string(),
    }
}

/// Files above this size are chosen as much more rarely as they are larger, so that no single library makes a scan slow.
const SAMPLED_EVENLY: u64 = 4 * 1024 * 1024;

/// Whether a file that the cache knows is read again: a keyed mix of its identity, so that it differs from scan to scan.
fn is_sampled(key: &FileKey, options: &Options<'_>) -> bool {
    if options.deep {
        return true;
    }
    let mut mixed = options.sample_seed;
    for word in [key.device, key.inode] {
        mixed = (mixed ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    let all = 1000 * key.size.max(SAMPLED_EVENLY) / SAMPLED_EVENLY;
    mixed % all < u64::from(options.sample_rehash_per_mille)
}

fn assemble(resolved: Resolved, found: &[Found], work: &Work<'_>) -> Snapshot {
    // Made at once of all names: one by one costs twice the time.
    let mut flat = Vec::with_capacity(found.len());
    let mut compiled_flat = Vec::with_capacity(found.len());
    let mut papers = Vec::new();
    for (name, gap) in &resolved.gaps {
        let path = PathText::from_bytes(format!("{name}/.").as_bytes());
        flat.push((path, unread(gap)));
    }
    for (index, entry) in found.iter().enumerate() {
        let path = entry.logical.clone();
        let node = work.node(index, entry);
        if is_compiled(path.as_str()) {
            compiled_flat.push((path, node));
            continue;
        }
        if matches!(node, Node::File { .. }) && packages::is_paper(path.as_str()) {
            papers.push((path.clone(), entry.path()));
        }
        flat.push((path, node));
    }
    let mut flat = BTreeMap::from_iter(flat);
    let compiled_flat = BTreeMap::from_iter(compiled_flat);
    let papers = packages::collect(papers, &mut flat);
    let mut stored = Vec::new();
    let root = trees::build(&flat, &mut stored);
    let compiled = trees::build(&compiled_flat, &mut stored);
    let lies = work.lies.iter().filter_map(|(slot, cached, read)| {
        let entry = work
            .slot_of
            .iter()
            .position(|of| *of == Some(*slot))
            .and_then(|index| found.get(index))?;
        Some(CacheLie {
            path: entry.logical.clone(),
            remembered: *cached,
            read: *read,
        })
    });
    let (files, bytes) = root.totals();
    let (compiled_files, compiled_bytes) = compiled.totals();
    Snapshot {
        totals: Totals {
            files: files + compiled_files,
            bytes: bytes + compiled_bytes,
            read_files: work.read_files,
            read_bytes: work.read_bytes,
        },
        cache_lies: lies.collect(),
        packages: papers.packages,
        hooks: papers.hooks,
        claims: papers.claims,
        places: resolved.places,
        root,
        compiled,
        trees: stored,
        flat,
        compiled_flat,
    }
}

/// Byte code that the interpreter writes by itself, under its final or its temporary name. Byte code that lies outside of
/// `__pycache__` is not this: it was put there, and it is imported even where no source is beside it.
fn is_compiled(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return false;
    };
    if folder != "__pycache__" && !folder.ends_with("/__pycache__") {
        return false;
    }
    let stem = name
        .rsplit_once(".pyc.")
        .filter(|(_, digits)| digits.bytes().all(|byte| byte.is_ascii_digit()));
    stem.is_some() || name.strip_suffix(".pyc").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_byte_code_that_python_itself_writes_is_set_apart() {
        for yes in [
            "p/__pycache__/a.cpython-311.pyc",
            "p/t/__pycache__/a.cpython-311.pyc.140234",
        ] {
            assert!(is_compiled(yes), "{yes}");
        }
        for no in [
            "p/a.pyc",
            "p/__pycache__/a.py",
            "p/x__pycache__/a.pyc",
            "p/__pycache__/a.pyc.py",
            "p/__pycache__/b/a.pyc",
        ] {
            assert!(!is_compiled(no), "{no}");
        }
    }
}
