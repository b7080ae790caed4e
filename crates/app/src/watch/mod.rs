//! `taintline watch`: a daemon that sees who does what to the files and processes of runs, for everybody on a host.
//!
//! Runs ask it to watch over them; it records in a ledger of its own, which none of them can reach, and tells them what concerns them. It
//! watches nothing that no run asked for, tells nobody of what his account could not find by itself, and holds nobody up.

mod clients;
mod daemon;
mod explain;
mod ground;
mod growing;
mod hands;
mod limits;
mod past;
mod reach;
mod senses;
mod state;
mod telling;
mod who;
pub(crate) mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use domain::watched::Sense;
use ledger::Store;

pub use explain::explain;
pub(crate) use hands::asleep_ns;
pub(crate) use who::{Doer, looked_up};

use self::clients::{Door, Heard};
use self::daemon::Daemon;
use self::past::Past;
use self::senses::Senses;
use crate::error::AppError;
use crate::journal::Journal;
use crate::place::Surroundings;
use crate::settings::Settings;

/// Where the daemon's store is, unless something else is said.
const STORE: &str = "/var/lib/taintline";

/// How to watch.
#[derive(Debug, Clone)]
pub struct WatchRequest {
    /// Places and variables.
    pub surroundings: Surroundings,
    /// Where runs find the daemon.
    pub socket: Option<PathBuf>,
    /// For how many days folders are watched behind the last run that asked for them.
    pub keep_days: u32,
    /// The highest tier of means to use, 1 or 2.
    pub tier: u8,
}

/// What a daemon says when it is ready.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where runs find it.
    pub socket: String,
    /// Its store.
    pub store: String,
    /// What it can see, and what not.
    pub senses: Vec<Sense>,
    /// Folders of earlier runs that are watched from the start.
    pub folders: usize,
}

/// Why nobody can watch here.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Not root.
    #[error(
        "only root can see who changes files and who signals processes of others; without it `taintline run` sees what its own user can. `taintline watch --explain` says more"
    )]
    NotRoot,
    /// Neither files nor signals can be seen.
    #[error("nothing can be seen on this host: {0}")]
    Blind(String),
    /// The socket.
    #[error("no socket for runs at {path}: {source}")]
    Socket {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Watches until `stop` is set or a signal asks to end. `ready` is called once, when everything is in place.
pub fn watch(request: &WatchRequest, ready: &mut dyn FnMut(&Ready)) -> Result<(), AppError> {
    if !rustix::process::geteuid().is_root() {
        return Err(WatchError::NotRoot.into());
    }
    let mut surroundings = request.surroundings.clone();
    if surroundings.store.is_none() {
        surroundings.store = Some(PathBuf::from(STORE).join("store"));
    }
    let settings = Settings::load(&surroundings)?;
    let socket = socket(request);
    let (_door, listener) = Door::open(&socket).map_err(|source| WatchError::Socket {
        path: surroundings.shown(&socket),
        source,
    })?;
    let place = surroundings.store_to_write();
    let store = open_store(&place)?;
    let writer = crate::writing::open(&store, &surroundings.keys()?)?;
    let stop = Arc::new(AtomicBool::new(false));
    host::sched::stop_on_interrupt(&stop);
    let senses = Senses::open(request.tier);
    if let Some(why) = senses.blind() {
        return Err(WatchError::Blind(why).into());
    }
    let oldest_us = host::clock::wall_us() - i64::from(request.keep_days) * 86_400_000_000;
    let past = Past::read(&store, oldest_us)?;
    let journal = Journal::of_daemon(store, writer, new_id()?);
    let mut daemon = Daemon::new(journal, senses, settings.record.heartbeat_seconds);
    let folders = daemon.begin(past);
    let (heard, words) = mpsc::channel::<Heard>();
    let waker = host::pass::Waker::new().map_err(AppError::Host)?;
    let wake = waker.clone();
    clients::serve(listener, heard, move || wake.wake());
    ready(&Ready {
        socket: surroundings.shown(&socket),
        store: surroundings.shown(&place),
        senses: daemon.senses().to_vec(),
        folders,
    });
    daemon.run(&words, &waker, &stop);
    Ok(())
}

/// The store is made with a folder that root alone can enter: what is in it is about people.
fn open_store(place: &std::path::Path) -> Result<Store, AppError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if !place.exists() {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(place);
        made.map_err(AppError::Host)?;
    }
    Ok(Store::open_or_create(place)?)
}

fn socket(request: &WatchRequest) -> PathBuf {
    let variables = &request.surroundings.variables;
    let named = variables
        .iter()
        .find(|(name, _)| name == wire::SOCKET_VARIABLE);
    let chosen = request.socket.clone();
    let path = chosen.or_else(|| named.map(|(_, path)| PathBuf::from(path)));
    path.unwrap_or_else(|| PathBuf::from(wire::SOCKET))
}

fn new_id() -> Result<domain::RunId, AppError> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|_| AppError::NoRandomness)?;
    let ms = u64::try_from(host::clock::wall_us() / 1000).unwrap_or(0);
    Ok(domain::RunId::new(ms, random))
}
