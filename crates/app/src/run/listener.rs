//! The socket at which in-process sensors report: accept, check who speaks, read frames, pass them on.
//!
//! A peer must run under our user and descend from the command that we started; anybody else is refused and told as a gap.
//! A frame that is too long or no message ends that connection, not the run. Each connection has a thread of its own,
//! bounded in number: a job of 64 ranks on one host is at home here, a fork bomb is not.

use std::io::Read as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use domain::sensor::{Envelope, FRAME_BYTES_MAX};
use host::identity::ProcessId;
use host::peer::{self, Descent, Peer};

use super::event::{Connection, Event};

const CONNECTIONS_MAX: usize = 1024;

/// Accepts connections until the process ends. `command` is the process that peers must descend from.
pub(super) fn serve(listener: UnixListener, command: ProcessId, events: Sender<Event>) {
    let numbers = AtomicU32::new(0);
    let open = Arc::new(AtomicUsize::new(0));
    let spawned = std::thread::Builder::new()
        .name("listener".to_owned())
        .spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let connection = Connection(numbers.fetch_add(1, Ordering::Relaxed));
                let refused = match admit(&stream, &command) {
                    Ok(_) if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX => {
                        format!("more than {CONNECTIONS_MAX} connections")
                    }
                    Ok(peer) => {
                        open.fetch_add(1, Ordering::Relaxed);
                        if events
                            .send(Event::Joined {
                                connection,
                                process: peer.id,
                            })
                            .is_err()
                        {
                            return;
                        }
                        read_in_background(stream, connection, events.clone(), Arc::clone(&open));
                        continue;
                    }
                    Err(why) => why,
                };
                let _ = events.send(Event::Refused { why: refused });
            }
        });
    drop(spawned); // without a thread no sensor is heard, and the end of the run says that no step was recorded
}

pub(super) fn admit(stream: &UnixStream, command: &ProcessId) -> Result<Peer, String> {
    let peer = Peer::of(stream).map_err(|error| format!("its identity cannot be read: {error}"))?;
    match peer::descends_from(&peer.id, command) {
        Descent::Yes => Ok(peer),
        Descent::No => Err(format!("process {} is not of this run", peer.id.pid)),
        Descent::Unknown => Err(format!(
            "process {} ended before its descent could be seen",
            peer.id.pid
        )),
    }
}

fn read_in_background(
    stream: UnixStream,
    connection: Connection,
    events: Sender<Event>,
    open: Arc<AtomicUsize>,
) {
    let spawned = std::thread::Builder::new()
        .name("sensor".to_owned())
        .spawn(move || {
            let why = read_frames(stream, connection, &events);
            open.fetch_sub(1, Ordering::Relaxed);
            let _ = events.send(Event::Left { connection, why });
        });
    drop(spawned);
}

/// Reads until the peer hangs up. Returns why, when it was not the peer's end of the connection.
fn read_frames(
    mut stream: UnixStream,
    connection: Connection,
    events: &Sender<Event>,
) -> Option<String> {
    let mut frame = Vec::new();
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).is_err() {
            return None;
        }
        let length = u32::from_le_bytes(length);
        if length > FRAME_BYTES_MAX {
            return Some(format!("a frame of {length} bytes"));
        }
        frame.resize(length as usize, 0);
        if stream.read_exact(&mut frame).is_err() {
            return Some("a frame that was cut off".to_owned());
        }
        match serde_json::from_slice::<Envelope>(&frame) {
            Ok(envelope) => {
                if events
                    .send(Event::Said {
                        connection,
                        envelope: Box::new(envelope),
                    })
                    .is_err()
                {
                    return None;
                }
            }
            Err(error) => return Some(format!("a frame that is no message: {error}")),
        }
    }
}
