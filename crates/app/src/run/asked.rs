//! Questions of the job before it loads something, with `--refuse-dangerous`: each is answered when the file is examined.
//!
//! The job waits for the answer, so only what a loader would interpret is read, and the answer never waits for the
//! recorder. A question that cannot be understood, a file that cannot be read and a part that was not examined are answered
//! with a refusal: whoever asked for this protection wants no exceptions to it. A question that comes while too many are
//! open waits for its turn in the socket's queue; the job's side has a limit of its own for how long.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::scan::Weight;
use domain::sensor::{Answer, Ask, FRAME_BYTES_MAX, PROTOCOL};
use host::identity::ProcessId;

use super::event::{Event, ExaminedFile};
use super::examined::in_words;
use super::listener::admit;
use super::question::{Learnt, Limits, learn};

/// Questions that are answered at a time.
const OPEN_MAX: usize = 256;
/// How long a question may take to arrive, and its answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before the next attempt where the system gives no connection: it has run out of something.
const PAUSE: Duration = Duration::from_millis(50);

/// Room for so many questions.
#[derive(Default)]
struct Room {
    taken: Mutex<usize>,
    left: Condvar,
}

impl Room {
    /// Waits for a place; it is free again when what is returned is dropped.
    fn place(self: &Arc<Self>, most: usize) -> Place {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self
            .left
            .wait_while(taken, |taken| *taken >= most)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Place(Arc::clone(self))
    }
}

/// One place; however its holder ends, by a fault too, it is given back.
struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(1);
        drop(taken);
        self.0.left.notify_one();
    }
}

/// Answers questions until the process ends. `command` is the process that those who ask must descend from.
pub(super) fn serve(listener: UnixListener, command: ProcessId, events: Sender<Event>) {
    let room = Arc::<Room>::default();
    let spawned = std::thread::Builder::new()
        .name("questions".to_owned())
        .spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    std::thread::sleep(PAUSE);
                    continue;
                };
                let place = room.place(OPEN_MAX);
                match admit(&stream, &command) {
                    Ok(peer) => answer_in_background(stream, peer.id.pid, place, events.clone()),
                    // Nobody of this job, and nobody that is waited for.
                    Err(why) => drop(stream.set_nonblocking(true).and_then(|()| {
                        say(&stream, &refusal(&format!("it is not answered: {why}")))
                    })),
                }
            }
        });
    drop(spawned); // without a thread no question is answered, and a sensor without an answer refuses
}

fn answer_in_background(stream: UnixStream, pid: u32, place: Place, events: Sender<Event>) {
    let spare = stream.try_clone();
    let spawned = std::thread::Builder::new()
        .name("question".to_owned())
        .spawn(move || {
            // An asker that went away needs no answer.
            let _ = answer(&stream, pid, &events);
            drop(place);
        });
    if let (Err(error), Ok(spare)) = (spawned, spare) {
        let refused = refusal(&format!("nobody is there to examine it: {error}"));
        let _ = spare
            .set_write_timeout(Some(PATIENCE))
            .and_then(|()| say(&spare, &refused));
    }
}

fn answer(stream: &UnixStream, pid: u32, events: &Sender<Event>) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    let mut length = [0; 4];
    hear(stream, &mut length, until)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_BYTES_MAX {
        return say(stream, &refusal("the question is too long"));
    }
    let mut frame = vec![0; length as usize];
    hear(stream, &mut frame, until)?;
    let answer = match serde_json::from_slice::<Ask>(&frame) {
        Ok(ask) if ask.protocol == PROTOCOL => judge(&ask, pid, events),
        _ => refusal("the question was not understood"),
    };
    say(stream, &answer)
}

/// Fills `buffer`, however slowly its bytes come, but not after `until`.
fn hear(mut stream: &UnixStream, buffer: &mut [u8], until: Instant) -> io::Result<()> {
    let mut rest = buffer;
    while !rest.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = match stream.read(rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        rest = rest.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

fn say(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let text = serde_json::to_vec(answer)?;
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
    let Learnt { path, examination } = learn(ask, pid, Limits::default());
    let dangerous = examination.weight() == Some(Weight::Dangerous);
    let mut why = in_words(&examination).unwrap_or_default();
    // What was not examined could be anything.
    if !dangerous && !examination.is_complete() {
        why = match examination.gaps.first() {
            Some(gap) => format!(
                "it could not be examined completely: {} ({})",
                gap.what, gap.kind
            ),
            None => "it holds more than is listed".to_owned(),
        };
    }
    let refuse = dangerous || !examination.is_complete();
    if path != ask.name && !why.is_empty() {
        why = format!("{path}: {why}");
    }
    if refuse {
        let examined = ExaminedFile {
            ticket: None,
            deed: ask.loader.clone(),
            data: false,
            path,
            refused: true,
            examination,
        };
        let _ = events.send(Event::Examined(Box::new(examined)));
    }
    Answer { refuse, why }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use domain::PathText;

    use super::*;

    fn exchange(question: &[u8]) -> (Answer, Vec<Event>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (events, heard) = mpsc::channel();
        let asked = std::thread::scope(|scope| {
            scope.spawn(move || answer(&theirs, std::process::id(), &events));
            (&ours).write_all(question).unwrap();
            let mut said = Vec::new();
            (&ours).read_to_end(&mut said).unwrap();
            said
        });
        (
            serde_json::from_slice(&asked[4..]).unwrap(),
            heard.iter().collect(),
        )
    }

    fn question(path: &std::path::Path) -> Vec<u8> {
        let ask = Ask {
            protocol: PROTOCOL,
            path: Some(PathText::from(path)),
            descriptor: None,
            offset: 0,
            name: PathText::from(path),
            loader: "pickle.load".to_owned(),
        };
        framed(&serde_json::to_vec(&ask).unwrap())
    }

    fn framed(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text].concat()
    }

    #[test]
    fn what_gives_only_data_may_be_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plain.pkl");
        std::fs::write(&path, b"\x80\x04K\x01.").unwrap();
        let (answer, events) = exchange(&question(&path));
        assert!(!answer.refuse, "{}", answer.why);
        assert!(events.is_empty());
    }

    #[test]
    fn what_was_not_examined_is_refused_and_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("short.pkl");
        std::fs::write(&path, b"\x80\x04K\x01").unwrap();
        for path in [path.as_path(), &folder.path().join("gone")] {
            let (answer, events) = exchange(&question(path));
            assert!(answer.refuse);
            assert!(
                answer.why.contains("could not be examined"),
                "{}",
                answer.why
            );
            let [Event::Examined(file)] = events.as_slice() else {
                panic!("{} events", events.len());
            };
            assert!(file.refused && !file.examination.is_complete());
        }
    }

    #[test]
    fn a_question_that_is_none_is_answered_with_a_refusal() {
        let long = (FRAME_BYTES_MAX + 1).to_le_bytes();
        for question in [&framed(b"{}"), &framed(b"\xff"), &long[..]] {
            let (answer, _) = exchange(question);
            assert!(answer.refuse);
            assert!(answer.why.contains("the question"), "{}", answer.why);
        }
    }

    #[test]
    fn a_place_is_given_back_however_its_holder_ends() {
        let room = Arc::<Room>::default();
        let place = room.place(1);
        let lost = std::thread::spawn(move || {
            let _held = place;
            panic!("a fault while a question is answered");
        });
        assert!(lost.join().is_err());
        drop(room.place(1));
        assert_eq!(*room.taken.lock().unwrap(), 0);
    }
}
