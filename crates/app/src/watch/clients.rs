//! The supervisors that talk to the daemon: a thread that hears each of them, a thread that speaks to it, and nothing that waits.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use host::identity::ProcessId;
use host::pass::{self, Frames};
use host::peer::Peer;

use super::wire::{FromDaemon, ToDaemon};

/// Supervisors at once, of all users and of one.
const CLIENTS_MAX: usize = 256;
const CLIENTS_OF_USER_MAX: usize = 64;
/// Messages that may wait for a supervisor that does not read.
const WAITING_MAX: usize = 2_048;
/// A supervisor that does not read for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Number of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Client(usize);

/// What is heard of supervisors.
pub(super) enum Heard {
    /// One came.
    Came(Client, Visitor),
    /// One said something.
    Said(Client, ToDaemon, Option<OwnedFd>),
    /// One is gone.
    Left(Client),
}

/// Whoever connected.
pub(super) struct Visitor {
    pub(super) id: ProcessId,
    pub(super) uid: u32,
    pub(super) groups: Vec<u32>,
    outbox: SyncSender<FromDaemon>,
    /// Messages that it did not get.
    lost: u64,
}

impl Visitor {
    /// Says something, if there is room. What was not said before is counted and told first.
    pub(super) fn tell(&mut self, message: FromDaemon) {
        if self.lost > 0 {
            let lost = FromDaemon::Lost {
                what: "what the host's daemon saw".to_owned(),
                count: self.lost,
            };
            if self.outbox.try_send(lost).is_err() {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        match self.outbox.try_send(message) {
            Err(TrySendError::Full(_)) => self.lost += 1,
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

/// Where supervisors find the daemon. The socket is taken away again on drop.
pub(super) struct Door {
    path: PathBuf,
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Door {
    /// Opens it to everybody: who they are is asked of the kernel. A socket that nobody listens at is taken away first.
    pub(super) fn open(path: &Path) -> io::Result<(Self, UnixListener)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if let Ok(meta) = path.symlink_metadata() {
            if !meta.file_type().is_socket() {
                let why = format!("{} is there and is no socket", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
            if UnixStream::connect(path).is_ok() {
                let why = format!("a daemon listens at {} already", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let door = Self {
            path: path.to_owned(),
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok((door, listener))
    }
}

/// Hears supervisors until the process ends; `wake` is called after each word.
pub(super) fn serve(
    listener: UnixListener,
    heard: Sender<Heard>,
    wake: impl Fn() + Clone + Send + 'static,
) {
    let spawned = std::thread::Builder::new()
        .name("door".to_owned())
        .spawn(move || {
            let all = Arc::new(AtomicUsize::new(0));
            let by_user: Arc<std::sync::Mutex<HashMap<u32, usize>>> = Arc::default();
            let mut number = 0;
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    std::thread::sleep(Duration::from_millis(50)); // out of descriptors
                    continue;
                };
                number += 1;
                let Ok(peer) = Peer::of(&stream) else {
                    continue;
                };
                let seat = Seat::take(&all, &by_user, peer.uid);
                let Some(seat) = seat else { continue };
                let _ = admit(
                    stream,
                    &peer,
                    Client(number),
                    seat,
                    heard.clone(),
                    wake.clone(),
                );
            }
        });
    drop(spawned); // without a thread nobody is heard; the daemon tells what it sees all the same
}

/// A place among the connections, given back on drop.
struct Seat {
    all: Arc<AtomicUsize>,
    by_user: Arc<std::sync::Mutex<HashMap<u32, usize>>>,
    uid: u32,
}

impl Seat {
    fn take(
        all: &Arc<AtomicUsize>,
        by_user: &Arc<std::sync::Mutex<HashMap<u32, usize>>>,
        uid: u32,
    ) -> Option<Self> {
        let mut users = by_user.lock().ok()?;
        let of_user = users.entry(uid).or_default();
        if *of_user >= CLIENTS_OF_USER_MAX || all.load(Ordering::Relaxed) >= CLIENTS_MAX {
            return None;
        }
        *of_user += 1;
        all.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            all: Arc::clone(all),
            by_user: Arc::clone(by_user),
            uid,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        if let Ok(mut users) = self.by_user.lock() {
            if let Some(count) = users.get_mut(&self.uid) {
                *count -= 1;
            }
            users.retain(|_, count| *count > 0);
        }
    }
}

fn admit(
    stream: UnixStream,
    peer: &Peer,
    client: Client,
    seat: Seat,
    heard: Sender<Heard>,
    wake: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let (outbox, messages) = sync_channel(WAITING_MAX);
    let visitor = Visitor {
        id: peer.id.clone(),
        uid: peer.uid,
        groups: groups(peer),
        outbox,
        lost: 0,
    };
    let speaker = stream.try_clone()?;
    speaker.set_write_timeout(Some(PATIENCE))?;
    let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
    spawn("speaker").spawn(move || speak(&speaker, &messages))?;
    if heard.send(Heard::Came(client, visitor)).is_err() {
        return Ok(());
    }
    spawn("hearer").spawn(move || {
        let _seat = seat;
        let mut frames = Frames::new(stream);
        while let Ok(Some(frame)) = frames.next(ToDaemon::takes_file) {
            let Ok(message) = serde_json::from_slice(&frame.bytes) else {
                break;
            };
            if heard
                .send(Heard::Said(client, message, frame.file))
                .is_err()
            {
                return;
            }
            wake();
        }
        let _ = heard.send(Heard::Left(client));
        wake();
    })?;
    Ok(())
}

/// The groups of a visitor: those that it has now, if it is still who connected.
fn groups(peer: &Peer) -> Vec<u32> {
    let mut groups = host::identity::groups(peer.id.pid).unwrap_or_default();
    if ProcessId::of(peer.id.pid).ok().as_ref() != Some(&peer.id) {
        groups.clear();
    }
    if !groups.contains(&peer.gid) {
        groups.push(peer.gid);
    }
    groups
}

fn speak(stream: &UnixStream, messages: &Receiver<FromDaemon>) {
    for message in messages {
        let Ok(frame) = serde_json::to_vec(&message) else {
            continue;
        };
        if pass::send(stream, &frame, None).is_err() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}
