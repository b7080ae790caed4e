//! Many threads, one sync: who appends while another's batch is on its way to the disk waits and goes with the next.
//!
//! There is no thread of its own for this. The first of those that wait leads: it commits for all of them, hands each its
//! answer, and leaves the lead to the first of those that came meanwhile. A leader waits a moment for those who were just
//! served, as long as they are likely to come back: they make one sync of two. Alone, nobody waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use domain::Digest;

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
    /// Encodes entries, none of which is too large.
    pub(crate) fn new<E: AsRef<[u8]>>(entries: &[E]) -> Self {
        let mut batch = Self::default();
        for entry in entries {
            tile::push_entry(&mut batch.bytes, entry.as_ref());
            batch.leaves.push(leaf(entry.as_ref()));
        }
        batch
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
    members: Vec<Member>,
}

struct Member {
    ticket: Arc<Ticket>,
    entries: u64,
}

/// Where a waiting thread finds out what became of it.
struct Ticket {
    turn: Mutex<Option<Turn>>,
    thread: Thread,
}

enum Turn {
    Lead,
    Done(Result<Appended, LedgerError>),
}

impl Ticket {
    fn tell(&self, turn: Turn) {
        *lock(&self.turn) = Some(turn);
        self.thread.unpark();
    }

    fn wait(&self) -> Turn {
        loop {
            if let Some(turn) = lock(&self.turn).take() {
                return turn;
            }
            std::thread::park();
        }
    }
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
}

impl Inner {
    fn add(&mut self, batch: Batch, ticket: &Arc<Ticket>) {
        let fits = |group: &Group| group.batch.bytes.len() + batch.bytes.len() <= GROUP_BYTES;
        if !self.groups.back().is_some_and(fits) {
            self.groups.push_back(Group::default());
        }
        let Some(group) = self.groups.back_mut() else {
            return;
        };
        group.members.push(Member {
            ticket: Arc::clone(ticket),
            entries: batch.leaves.len() as u64,
        });
        if group.batch.bytes.is_empty() {
            group.batch = batch;
        } else {
            group.batch.bytes.extend_from_slice(&batch.bytes);
            group.batch.leaves.extend_from_slice(&batch.leaves);
        }
    }

    fn members(&self) -> usize {
        self.groups.front().map_or(0, |group| group.members.len())
    }

    /// Whether waiting longer brings nothing: all who appended of late are here again, or the group is full.
    fn is_complete(&self) -> bool {
        self.members() >= self.expected || self.groups.len() > 1
    }
}

impl Queue {
    /// Adds a batch to those that wait, and returns when it was committed, by this thread or by another.
    pub(crate) fn append(
        &self,
        batch: Batch,
        commit: impl FnOnce(&Batch) -> Result<Appended, LedgerError>,
    ) -> Result<Appended, LedgerError> {
        let ticket = Arc::new(Ticket {
            turn: Mutex::new(None),
            thread: std::thread::current(),
        });
        let leads = {
            let mut inner = lock(&self.inner);
            inner.add(batch, &ticket);
            if inner.is_complete()
                && let Some(leader) = inner.waiting.take()
            {
                leader.unpark();
            }
            !std::mem::replace(&mut inner.is_led, true)
        };
        if !leads && let Turn::Done(result) = ticket.wait() {
            return result;
        }
        let group = self.gather();
        let start = Instant::now();
        let result = commit(&group.batch);
        self.hand_over(group.members.len(), start.elapsed());
        serve(group, &ticket, &result);
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

    fn hand_over(&self, members: usize, took: Duration) {
        let mut inner = lock(&self.inner);
        inner.expected = members + inner.members();
        inner.took = took;
        let next = inner.groups.front().and_then(|group| group.members.first());
        match next.map(|member| Arc::clone(&member.ticket)) {
            Some(next) => {
                drop(inner);
                next.tell(Turn::Lead);
            }
            None => inner.is_led = false,
        }
    }
}

/// Tells all members but the leader.
fn serve(group: Group, leader: &Arc<Ticket>, result: &Result<Appended, LedgerError>) {
    let mut first = result.as_ref().map_or(0, |appended| appended.first);
    for member in group.members {
        let own = result
            .clone()
            .map(|appended| Appended { first, ..appended });
        first += member.entries;
        if !Arc::ptr_eq(&member.ticket, leader) {
            member.ticket.tell(Turn::Done(own));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
