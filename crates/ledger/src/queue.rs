//! Many threads, one sync: who appends while another's batch is on its way to the disk waits and goes with the next.
//!
//! There is no thread of its own for this. The first of those that wait leads: it commits for all of them, hands each its
//! answer, and leaves the lead to the first of those that came meanwhile. A leader waits a moment for those who were just
//! served, as long as they are likely to come back: they make one sync of two. Alone, nobody waits.
//!
//! With a thousand threads, waking them is what costs: a group has one word that all of it wait on, and its leader wakes
//! them with one call.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use domain::Digest;
use rustix::thread::futex;

use crate::tile;
use crate::tree::leaf;
use crate::writer::{Appended, LedgerError};

/// The most bytes of entries in one group; what has more goes alone.
pub(crate) const GROUP_BYTES: usize = 1 << 20;

/// While others come, a leader looks so often in the time of one commit whether they still do.
const LOOKS: u32 = 8;

/// Entries as the write-ahead file has them, with their leaves.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) leaves: Vec<Digest>,
}

impl Batch {
    /// Adds entries, none of which is too large, with their leaves.
    fn add<E: AsRef<[u8]>>(&mut self, entries: &[E], leaves: &[Digest]) {
        for entry in entries {
            tile::push_entry(&mut self.bytes, entry.as_ref());
        }
        self.leaves.extend_from_slice(leaves);
    }

    /// Empty, with its memory.
    fn emptied(mut self) -> Self {
        self.bytes.clear();
        self.leaves.clear();
        self
    }

    /// How many bytes each entry has.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            rest = tail.get(length..)?;
            Some(length)
        })
    }
}

/// What is committed together.
#[derive(Default)]
struct Group {
    batch: Batch,
    members: usize,
    fate: Arc<Fate>,
}

/// Where the threads of a group find out what became of it.
#[derive(Default)]
struct Fate {
    /// It is the turn of this group: its first member leads. Nobody else waits for that.
    turn: Signal,
    /// The result is there.
    done: Signal,
    result: OnceLock<Result<Appended, LedgerError>>,
}

/// What happens once, waited for by any number of threads.
#[derive(Default)]
struct Signal(AtomicU32);

impl Signal {
    fn give(&self) {
        self.0.store(1, Ordering::Release);
        // Waking fails only on an address that is none.
        let _ = futex::wake(&self.0, futex::Flags::PRIVATE, i32::MAX.unsigned_abs());
    }

    fn wait(&self) {
        while self.0.load(Ordering::Acquire) == 0 {
            // Woken for another reason, or given meanwhile: the loop looks again.
            let _ = futex::wait(&self.0, futex::Flags::PRIVATE, 0, None);
        }
    }
}

impl Fate {
    /// What became of the entries that begin `offset` entries behind the group's first; `None` before it is told.
    fn result(&self, offset: u64) -> Option<Result<Appended, LedgerError>> {
        let own = |appended: Appended| Appended {
            first: appended.first.saturating_add(offset),
            ..appended
        };
        Some(self.result.get()?.clone().map(own))
    }
}

/// A thread's place among those that wait.
struct Place {
    fate: Arc<Fate>,
    /// Entries of the group before its own.
    offset: u64,
}

/// Those who wait, in groups.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    groups: VecDeque<Group>,
    is_led: bool,
    /// A leader who waits for others.
    waiting: Option<Thread>,
    /// How many the last group had, with those who came while it was committed; and how long that took.
    expected: usize,
    took: Duration,
    /// The memory of a group that is over: growing it anew would be done while all others wait.
    spare: Batch,
}

impl Inner {
    fn add<E: AsRef<[u8]>>(&mut self, entries: &[E], leaves: &[Digest]) -> Place {
        let bytes: usize = entries.iter().map(|entry| entry.as_ref().len() + 2).sum();
        let fits = |group: &Group| group.batch.bytes.len() + bytes <= GROUP_BYTES;
        if !self.groups.back().is_some_and(fits) {
            self.groups.push_back(Group {
                batch: std::mem::take(&mut self.spare),
                ..Group::default()
            });
        }
        let Some(group) = self.groups.back_mut() else {
            // A group was just added.
            return Place {
                fate: Arc::default(),
                offset: 0,
            };
        };
        let place = Place {
            fate: Arc::clone(&group.fate),
            offset: group.batch.leaves.len() as u64,
        };
        group.members += 1;
        group.batch.add(entries, leaves);
        place
    }

    fn members(&self) -> usize {
        self.groups.front().map_or(0, |group| group.members)
    }

    /// Whether waiting longer brings nothing: all who appended of late are here again, or the group is full.
    fn is_complete(&self) -> bool {
        self.members() >= self.expected || self.groups.len() > 1
    }
}

impl Queue {
    /// Adds entries, none of which is too large, to those that wait, and returns when they were committed, by this thread
    /// or by another.
    pub(crate) fn append<E: AsRef<[u8]>>(
        &self,
        entries: &[E],
        commit: impl FnOnce(&Batch) -> Result<Appended, LedgerError>,
    ) -> Result<Appended, LedgerError> {
        // One is what most have: it needs no memory.
        let (one, all);
        let leaves: &[Digest] = if let [entry] = entries {
            one = [leaf(entry.as_ref())];
            &one
        } else {
            all = entries.iter().map(|entry| leaf(entry.as_ref()));
            &all.collect::<Vec<_>>()
        };
        let (place, is_led) = {
            let mut inner = lock(&self.inner);
            let place = inner.add(entries, leaves);
            if inner.is_complete()
                && let Some(leader) = inner.waiting.take()
            {
                leader.unpark();
            }
            (place, std::mem::replace(&mut inner.is_led, true))
        };
        let Place { fate, offset } = place;
        if is_led && offset > 0 {
            fate.done.wait();
        } else if is_led {
            fate.turn.wait();
        }
        if let Some(result) = fate.result(offset) {
            return result;
        }
        let lead = Lead {
            queue: self,
            group: self.gather(),
            start: Instant::now(),
        };
        let result = commit(&lead.group.batch);
        let _ = lead.group.fate.result.set(result.clone());
        result
    }

    /// Waits for those that are likely to come, and takes the first group. Its first member is the leader.
    ///
    /// Waiting is worth it as long as they come faster than a commit without waiting carries them.
    fn gather(&self) -> Group {
        let start = Instant::now();
        let mut before = None;
        loop {
            let mut inner = lock(&self.inner);
            inner.waiting = None;
            let members = inner.members();
            let came = members - before.unwrap_or(0).min(members);
            let look = inner.took / LOOKS;
            let is_slow = before.is_some() && came * (LOOKS as usize) < members;
            if inner.is_complete() || is_slow || start.elapsed() > inner.took {
                return inner.groups.pop_front().unwrap_or_default();
            }
            before = Some(members);
            inner.waiting = Some(std::thread::current());
            drop(inner);
            std::thread::park_timeout(look);
        }
    }

    fn hand_over(&self, members: usize, took: Duration, batch: Batch) {
        let batch = batch.emptied();
        let mut inner = lock(&self.inner);
        inner.spare = batch;
        inner.expected = members + inner.members();
        inner.took = took;
        match inner.groups.front().map(|group| Arc::clone(&group.fate)) {
            Some(next) => {
                drop(inner);
                next.turn.give();
            }
            None => inner.is_led = false,
        }
    }
}

/// A group while it is committed. However that ends, the next one gets its turn and nobody waits for ever.
struct Lead<'a> {
    queue: &'a Queue,
    group: Group,
    start: Instant,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let batch = std::mem::take(&mut self.group.batch);
        let fate = &self.group.fate;
        self.queue
            .hand_over(self.group.members, self.start.elapsed(), batch);
        let _ = fate.result.set(Err(LedgerError::Abandoned));
        fate.done.give();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head at `size`.
    fn appended(first: u64, size: u64) -> Appended {
        Appended {
            log: "log".to_owned(),
            first,
            head: crate::tree_head::TreeHead {
                size,
                root: crate::tree::empty_root(),
            },
        }
    }

    #[test]
    fn everybody_of_a_group_gets_the_place_of_his_own_entries() {
        let (queue, size) = (Queue::default(), Mutex::new(0_u64));
        let commit = |batch: &Batch| {
            std::thread::sleep(Duration::from_millis(1));
            let mut size = lock(&size);
            let first = *size;
            *size += batch.leaves.len() as u64;
            Ok(appended(first, *size))
        };
        let places: Vec<_> = std::thread::scope(|scope| {
            let work = |thread: usize| {
                let (queue, commit) = (&queue, &commit);
                scope.spawn(move || {
                    (0..20)
                        .map(|round| {
                            let count = 1 + (thread + round) % 3;
                            let entries = vec![[7_u8; 9]; count];
                            (queue.append(&entries, commit).unwrap().first, count as u64)
                        })
                        .collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> = (0..40).map(work).collect();
            threads
                .into_iter()
                .flat_map(|it| it.join().unwrap())
                .collect()
        });
        let mut places = places;
        places.sort_unstable();
        let mut next = 0;
        for (first, count) in places {
            assert_eq!(first, next);
            next += count;
        }
        assert_eq!(next, *lock(&size));
    }

    #[test]
    fn a_leader_that_dies_leaves_nobody_waiting() {
        let queue = Queue::default();
        let entered = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let dying = scope.spawn(|| {
                queue.append(&[b"a"], |_| -> Result<Appended, LedgerError> {
                    entered.wait();
                    std::thread::sleep(Duration::from_millis(20));
                    panic!("as if by a fault of its own")
                })
            });
            entered.wait();
            // Waits behind it, and is led by itself then.
            let next = queue.append(&[b"b"], |_| Ok(appended(0, 1)));
            assert_eq!(next.unwrap().first, 0);
            assert!(dying.join().is_err());
        });
        let later = queue.append(&[b"c"], |_| Ok(appended(1, 2)));
        assert_eq!(later.unwrap().first, 1);
    }
}
