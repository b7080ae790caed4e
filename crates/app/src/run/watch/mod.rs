//! What happens to files while the run is going: the environment's, the project's own that were loaded, mapped libraries.
//!
//! The scan at the start and the one at the end see two states. What is changed for a minute, loaded by a worker and put back
//! is in neither. So one thread hears from the kernel what is written to ([`ground`] knows what is watched, [`thread`] hears and
//! looks), and the recorder holds each state of a file against the first ([`cases`]), tells what came and went, and has the
//! environment scanned again when something stays ([`told`]).
//!
//! Events say that something happened, not who did it and not what was in the file in between: a file is read the moment its
//! writer closes it, and what was undone before that is told as written to, its content in between as unknown. Writes through
//! a mapping give no event, so that sizes and times are looked at as well: of files in use every few seconds, of all others
//! in a round that takes minutes. Fanotify would say who, and needs privilege: it was left to the daemon.
//!
//! The thread takes what the kernel has for it, reads at most so much a second, and remembers at most so many files. What goes
//! beyond is told as a limit. The job waits for none of it.

mod again;
mod cases;
mod ground;
mod loaded;
mod look;
#[cfg(test)]
mod tests;
mod thread;
mod told;
mod words;

use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use domain::entry::Identity;
use domain::{Digest, PathText};
use environment::Layout;
use host::watch::{Waker, Watcher, What};

use super::event::Event;
use super::fault::{Duty, Lost};

pub(super) use again::Again;
pub(super) use told::State;

/// A scan waits this long at most until its folders are watched.
const COVER: Duration = Duration::from_secs(20);

/// What happened to a file since it was last looked at, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Touch(u16);

impl Touch {
    /// Bytes were written.
    const WRITTEN: Self = Self(1);
    /// A writer closed it.
    const CLOSED: Self = Self(2);
    /// Mode, owner, times.
    const ATTRIBUTES: Self = Self(4);
    /// It came under this name.
    const COME: Self = Self(8);
    /// It went from this name.
    const GONE: Self = Self(16);
    /// It was different when it was looked at, and nothing had been heard where something should have been.
    const UNHEARD: Self = Self(32);
    /// It was different when it was looked at, where nothing could be heard.
    const LOOKED: Self = Self(64);
    /// Its size or modification time is another one.
    const MOVED: Self = Self(128);
    /// It is another file under the same name.
    const REPLACED: Self = Self(256);

    fn of(what: What) -> Self {
        let of = |is: bool, touch: Self| if is { touch } else { Self::default() };
        of(what.is_written(), Self::WRITTEN)
            // What took another's name was written before.
            .and(of(what.is_closed() || what.was_moved_here(), Self::CLOSED))
            .and(of(what.has_other_attributes(), Self::ATTRIBUTES))
            .and(of(what.has_come(), Self::COME))
            .and(of(what.has_gone(), Self::GONE))
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    /// Whether its bytes may have been others in between.
    fn may_have_changed(self) -> bool {
        self.has(Self::WRITTEN.and(Self::COME).and(Self::GONE))
    }
}

/// What is at a path now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Now {
    /// Nothing.
    Gone,
    /// A file.
    File {
        /// Of its bytes; absent when they could not be read.
        digest: Option<Digest>,
        /// Its bytes, where they are few.
        content: Option<Vec<u8>>,
        /// Why it has no digest.
        why: Option<String>,
    },
    /// Something else that is not read: a link that leads nowhere, a pipe.
    Other,
    /// The folder that was here is gone with so many files.
    FolderGone(usize),
    /// A folder is here again, with so many files.
    FolderBack(usize),
}

/// A file, seen after something happened to it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: PathText,
    /// When the first of it was heard, microseconds since 1970.
    pub(super) at_us: i64,
    pub(super) touch: Touch,
    /// How it was when it was last looked at; absent when it was not there or not known.
    pub(super) before: Option<Identity>,
    pub(super) identity: Option<Identity>,
    pub(super) now: Now,
}

/// What is watched of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Folders.
    pub(super) folders: usize,
    /// Of these, the ones that the kernel tells of.
    pub(super) watched: usize,
    /// Why not all.
    pub(super) why: Option<String>,
    /// Roots that others write to without an event.
    pub(super) shared: Vec<PathText>,
}

/// What the watching thread tells the recorder.
#[derive(Debug)]
pub(super) enum Report {
    /// An environment is watched from here on.
    Covered(Coverage),
    /// A file was touched.
    Seen(Seen),
    /// So many touched files were not followed: too many at once.
    Flood {
        /// How many.
        files: u64,
    },
    /// More names than are remembered: some are not followed.
    TooMany,
    /// Events were lost; everything is looked at.
    Lost,
    /// It is over: everything was looked at a last time.
    Over,
}

/// What the watching thread is asked.
enum Order {
    /// Watch the folders of an environment; answered when they are.
    Cover(Box<Layout>, Sender<()>),
    /// These files of environments are in use.
    InUse(Vec<PathText>),
    /// Watch one file, which was so when it was read.
    Alone(PathBuf, Identity),
    /// Look at everything a last time.
    End,
}

/// The watching thread, from outside.
pub(super) struct Watching {
    orders: Sender<Order>,
    waker: Option<Waker>,
    over: bool,
}

/// Asks for environments to be watched, from any thread.
#[derive(Clone)]
pub(super) struct Cover {
    orders: Sender<Order>,
    waker: Option<Waker>,
}

impl Cover {
    /// Has the folders watched and waits until they are, so that what is read afterwards cannot change unheard.
    pub(super) fn cover(&self, layout: &Layout) {
        let (done, answer) = mpsc::channel();
        let order = Order::Cover(Box::new(layout.clone()), done);
        if self.orders.send(order).is_ok() {
            self.waker.iter().for_each(Waker::wake);
            let _ = answer.recv_timeout(COVER); // a scan that begins before is no worse than one unwatched
        }
    }
}

impl Watching {
    /// Starts the thread.
    pub(super) fn start(events: &Sender<Event>) -> Self {
        let (orders, queue) = mpsc::channel();
        let watcher = Watcher::new();
        let waker = watcher.as_ref().ok().map(Watcher::waker);
        let duty = Duty::new(events, Lost::Watching);
        let events = events.clone();
        let mut tell = move |report| {
            events
                .send(Event::Watched(Box::new(report)))
                .map_err(|_| thread::NobodyHears)
        };
        let ground = ground::Ground::new(watcher, host::watch::watches_of_a_user());
        let spawned = std::thread::Builder::new()
            .name("watch".to_owned())
            // At the job's own priority: what is undone after a moment must be read in that moment, and reading is bounded.
            .spawn(move || {
                let _duty = duty;
                thread::Thread::new(ground, queue).run(&mut tell);
            });
        Self {
            orders,
            waker,
            over: spawned.is_err(),
        }
    }

    pub(super) fn coverer(&self) -> Cover {
        Cover {
            orders: self.orders.clone(),
            waker: self.waker.clone(),
        }
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            self.waker.iter().for_each(Waker::wake);
        }
    }

    /// These files of environments are in use.
    pub(super) fn in_use(&self, files: Vec<PathText>) {
        if !files.is_empty() {
            self.order(Order::InUse(files));
        }
    }

    /// Asks for the last look. It has ended when [`Report::Over`] came.
    pub(super) fn end(&self) {
        self.order(Order::End);
    }
}
