//! Questions of the job before it loads something, with `--refuse-dangerous`: each is answered when the file is examined.
//!
//! The job waits for the answer, so only what a loader would interpret is read, and the answer never waits for the
//! recorder. A question that cannot be understood or a file that cannot be read is answered with a refusal: whoever asked
//! for this protection wants no exceptions to it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use domain::scan::{Examination, Weight};
use domain::sensor::{Answer, Ask, FRAME_BYTES_MAX, PROTOCOL};
use host::identity::ProcessId;

use super::event::{Event, ExaminedFile};
use super::examined::{in_words, of_file};
use super::listener::admit;

/// Questions that are answered at a time.
const OPEN_MAX: usize = 256;
/// How long a question may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers questions until the process ends. `command` is the process that those who ask must descend from.
pub(super) fn serve(listener: UnixListener, command: ProcessId, events: Sender<Event>) {
    let open = Arc::new(AtomicUsize::new(0));
    let spawned = std::thread::Builder::new()
        .name("questions".to_owned())
        .spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let Ok(peer) = admit(&stream, &command) else {
                    continue;
                };
                if open.load(Ordering::Relaxed) >= OPEN_MAX {
                    continue;
                }
                open.fetch_add(1, Ordering::Relaxed);
                let (events, open) = (events.clone(), Arc::clone(&open));
                let spawned = std::thread::Builder::new()
                    .name("question".to_owned())
                    .spawn(move || {
                        // An asker that went away needs no answer.
                        let _ = answer(stream, peer.id.pid, &events);
                        open.fetch_sub(1, Ordering::Relaxed);
                    });
                drop(spawned);
            }
        });
    drop(spawned); // without a thread no question is answered, and a sensor without an answer refuses
}

fn answer(mut stream: UnixStream, pid: u32, events: &Sender<Event>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Ok(());
    }
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame)?;
    let answer = match serde_json::from_slice::<Ask>(&frame) {
        Ok(ask) if ask.protocol == PROTOCOL => judge(&ask, pid, events),
        _ => refusal("the question was not understood"),
    };
    let text = serde_json::to_vec(&answer)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_le_bytes()[..], &text].concat())
}

fn refusal(why: &str) -> Answer {
    Answer {
        refuse: true,
        why: why.to_owned(),
    }
}

fn judge(ask: &Ask, pid: u32, events: &Sender<Event>) -> Answer {
    let examination = match examine(ask, pid) {
        Ok(examination) => examination,
        Err(error) => return refusal(&format!("it cannot be examined: {error}")),
    };
    let refuse = examination.weight() == Some(Weight::Dangerous);
    let why = in_words(&examination).unwrap_or_default();
    if refuse {
        let examined = ExaminedFile {
            ticket: None,
            deed: ask.loader.clone(),
            data: false,
            path: ask.name.clone(),
            refused: true,
            examination,
        };
        let _ = events.send(Event::Examined(Box::new(examined)));
    }
    Answer { refuse, why }
}

fn examine(ask: &Ask, pid: u32) -> io::Result<Examination> {
    let path = match (ask.descriptor, &ask.path) {
        (Some(descriptor), _) => PathBuf::from(format!("/proc/{pid}/fd/{descriptor}")),
        (None, Some(path)) => PathBuf::from(std::ffi::OsString::from_vec(path.to_bytes())),
        (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        options.read(true),
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    let file = options.open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return folder(ask, pid);
    }
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(of_file(&file, meta.len(), ask.offset, &ask.name))
}

/// A checkpoint in many files: the heaviest of them answers.
fn folder(ask: &Ask, pid: u32) -> io::Result<Examination> {
    let top = ask.path.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
    let top = PathBuf::from(std::ffi::OsString::from_vec(top.to_bytes()));
    let mut heaviest = Examination::default();
    for entry in std::fs::read_dir(top)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let path = domain::PathText::from(entry.path().as_path());
        let one = Ask {
            path: Some(path.clone()),
            name: path,
            ..ask.clone()
        };
        let found = examine(&one, pid)?;
        if found.weight() > heaviest.weight() {
            heaviest = found;
        }
    }
    Ok(heaviest)
}
