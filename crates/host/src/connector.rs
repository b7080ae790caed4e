//! Who attaches himself to which process as its tracer, as the kernel tells everybody who listens (the proc connector).
//!
//! A debugger stops a process and writes into its memory without a signal that names it: attaching is told here, by whichever call it was done
//! (`PTRACE_ATTACH`, `PTRACE_SEIZE`). From Linux 6.6 on this needs no rights. It tells numbers alone, of the first namespace of processes; who
//! had them is for [`crate::kernel::Table`] or `/proc` to say. Writing without attaching (`process_vm_writev`) is not told.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{CONNECTOR, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The connector's number for processes, and its one kind of message.
const PROCESSES: u32 = 1;
/// The wish to listen.
const LISTEN: u32 = 1;
/// Kinds of events: an answer to a wish, and a tracer that comes or goes.
const ANSWER: u32 = 0;
const TRACED: u32 = 0x100;
/// Bytes before an event: the head of netlink, that of the connector.
const NETLINK_HEAD: usize = 16;
const CONNECTOR_HEAD: usize = 20;
const HEAD: usize = NETLINK_HEAD + CONNECTOR_HEAD;
/// Bytes of an event before what it is about.
const EVENT_HEAD: usize = 16;
/// The kind that netlink gives a message with something in it.
const DONE: u16 = 3;
/// More than the kernel writes at once.
const BUFFER: usize = 4096;
/// How long the kernel may take to answer: it does at once, where it does.
const PATIENCE: Duration = Duration::from_millis(200);
/// Messages that are taken in one call.
const TAKEN_MAX: usize = 4096;

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A call.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        source: io::Error,
    },
    /// It does not answer: it has none, or we are in a namespace of our own.
    #[error(
        "the kernel does not answer: it has no connector for processes, or numbers of processes are others here"
    )]
    Silent,
}

/// A tracer came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traced {
    /// When, on the clock that stands still while the machine sleeps; nanoseconds.
    pub at_ns: u64,
    /// The process that is traced, and its thread.
    pub target: u32,
    /// The thread.
    pub thread: u32,
    /// The tracer's process; `None` when it lets go.
    pub tracer: Option<u32>,
}

/// One message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The answer to a wish: an error number, zero if it is granted.
    Answer(u32),
    /// A tracer.
    Traced(Traced),
    /// Anything else.
    Other,
}

/// Reads one message; `None` if it is none of the connector for processes.
pub fn decode(bytes: &[u8]) -> Option<Message> {
    let length = usize::try_from(word(bytes, 0)?).ok()?;
    let bytes = bytes.get(..length)?;
    let (index, value) = (word(bytes, NETLINK_HEAD)?, word(bytes, NETLINK_HEAD + 4)?);
    if (index, value) != (PROCESSES, PROCESSES) {
        return None;
    }
    let length = usize::from(u16::from_ne_bytes(
        *bytes.get(NETLINK_HEAD + 16..)?.first_chunk()?,
    ));
    let event = bytes.get(HEAD..)?.get(..length)?;
    let at_ns = u64::from_ne_bytes(*event.get(8..)?.first_chunk()?);
    let about = event.get(EVENT_HEAD..)?;
    match word(event, 0)? {
        ANSWER => Some(Message::Answer(word(about, 0)?)),
        TRACED => {
            let tracer = word(about, 12)?;
            Some(Message::Traced(Traced {
                at_ns,
                thread: word(about, 0)?,
                target: word(about, 4)?,
                tracer: (tracer != 0).then_some(tracer),
            }))
        }
        _ => Some(Message::Other),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The wish to hear of everything, or of `kinds` alone.
fn wish(kinds: Option<u32>) -> Vec<u8> {
    let words: Vec<u32> = std::iter::once(LISTEN).chain(kinds).collect();
    let data: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let mut bytes = Vec::new();
    let number = |length: usize| u32::try_from(length).unwrap_or_default();
    bytes.extend(number(HEAD + data.len()).to_ne_bytes());
    bytes.extend(DONE.to_ne_bytes());
    bytes.extend(0u16.to_ne_bytes());
    for word in [0, 0, PROCESSES, PROCESSES, 0, 0, number(data.len())] {
        // The last is a length and flags, of two bytes each: small numbers lie in the first on little ends alone.
        bytes.extend(word.to_ne_bytes());
    }
    let at = NETLINK_HEAD + 16;
    let length = u16::try_from(data.len()).unwrap_or_default().to_ne_bytes();
    for (place, byte) in bytes
        .iter_mut()
        .skip(at)
        .zip(length.into_iter().chain([0, 0]))
    {
        *place = byte;
    }
    bytes.extend(data);
    bytes
}

/// Hears of tracers from the moment it is made to the moment it is dropped.
#[derive(Debug)]
pub struct Connector {
    socket: OwnedFd,
    buffer: Vec<u8>,
    overflows: u64,
}

impl Connector {
    /// Listens. It has proved then that the kernel answers.
    pub fn listen() -> Result<Self, ConnectorError> {
        let refused = |what| {
            move |error: Errno| ConnectorError::Refused {
                what,
                source: error.into(),
            }
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::DGRAM;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(CONNECTOR))
            .map_err(refused("a socket for notices of processes"))?;
        let group = SocketAddrNetlink::new(0, PROCESSES);
        rustix::net::bind(&socket, &group).map_err(refused("listening to notices of processes"))?;
        let mut connector = Self {
            socket,
            buffer: vec![0; BUFFER],
            overflows: 0,
        };
        let ask = |kinds| rustix::net::send(&connector.socket, &wish(kinds), SendFlags::empty());
        // Without a choice of kinds an answer comes. A kernel that knows no such choice leaves the second wish out: then we choose.
        ask(None).map_err(refused("asking for notices of processes"))?;
        connector.is_answered()?;
        let ask = |kinds| rustix::net::send(&connector.socket, &wish(kinds), SendFlags::empty());
        ask(Some(TRACED)).map_err(refused("asking for notices of processes"))?;
        Ok(connector)
    }

    fn is_answered(&mut self) -> Result<(), ConnectorError> {
        let until = Instant::now() + PATIENCE;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let time = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
            let _ = poll(&mut ready, Some(&time)); // an interrupted wait is asked again
            while let Some(message) = self.next()? {
                match message {
                    Message::Answer(0) => return Ok(()),
                    Message::Answer(number) => {
                        let number = i32::try_from(number).unwrap_or_default();
                        return Err(ConnectorError::Refused {
                            what: "listening to notices of processes",
                            source: io::Error::from_raw_os_error(number),
                        });
                    }
                    Message::Traced(_) | Message::Other => {}
                }
            }
        }
        Err(ConnectorError::Silent)
    }

    /// All that came since the last time, some thousand at most.
    pub fn take(&mut self, mut each: impl FnMut(Traced)) {
        for _ in 0..TAKEN_MAX {
            match self.next() {
                Ok(Some(Message::Traced(traced))) => each(traced),
                Ok(Some(Message::Answer(_) | Message::Other)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// How often the kernel's queue was full: each time at least one notice was lost.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// The next message; `None` if there is none now.
    fn next(&mut self) -> Result<Option<Message>, ConnectorError> {
        loop {
            let received =
                rustix::net::recvfrom(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty());
            match received {
                Ok((_, length, from)) => {
                    // From the kernel alone: anybody can send to anybody.
                    let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                    if from.is_none_or(|from| from.pid() != 0) {
                        continue;
                    }
                    let bytes = self.buffer.get(..length).unwrap_or_default();
                    return Ok(Some(decode(bytes).unwrap_or(Message::Other)));
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => self.overflows += 1,
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => {
                    return Err(ConnectorError::Refused {
                        what: "hearing notices of processes",
                        source: error.into(),
                    });
                }
            }
        }
    }
}

impl AsFd for Connector {
    /// Readable as soon as there is something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u32, about: &[u32]) -> Vec<u8> {
        let mut event: Vec<u8> = [kind, 1].into_iter().flat_map(u32::to_ne_bytes).collect();
        event.extend(77u64.to_ne_bytes());
        event.extend(about.iter().flat_map(|word| word.to_ne_bytes()));
        event.resize(40, 0);
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(HEAD + event.len()).unwrap().to_ne_bytes());
        bytes.extend([3, 0, 0, 0]);
        for word in [0, 0, PROCESSES, PROCESSES, 5, 0] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(u16::try_from(event.len()).unwrap().to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(event);
        bytes
    }

    #[test]
    fn a_tracer_that_comes_and_goes_is_read() {
        let traced = |tracer| {
            Message::Traced(Traced {
                at_ns: 77,
                target: 41,
                thread: 42,
                tracer,
            })
        };
        let came = message(TRACED, &[42, 41, 8, 7]);
        assert_eq!(decode(&came), Some(traced(Some(7))));
        let went = message(TRACED, &[42, 41, 0, 0]);
        assert_eq!(decode(&went), Some(traced(None)));
        assert_eq!(decode(&message(ANSWER, &[1])), Some(Message::Answer(1)));
        assert_eq!(decode(&message(2, &[42, 41])), Some(Message::Other));
    }

    #[test]
    fn what_is_cut_off_or_of_another_connector_is_none() {
        let whole = message(TRACED, &[42, 41, 8, 7]);
        for end in 0..whole.len() {
            assert_eq!(decode(whole.get(..end).unwrap()), None);
        }
        let mut other = whole.clone();
        if let Some(byte) = other.get_mut(NETLINK_HEAD) {
            *byte = 9;
        }
        assert_eq!(decode(&other), None);
        // A length that goes beyond the message.
        let mut long = whole;
        if let Some(byte) = long.get_mut(NETLINK_HEAD + 17) {
            *byte = 9;
        }
        assert_eq!(decode(&long), None);
    }

    #[test]
    fn a_wish_says_how_long_it_is() {
        for (kinds, length) in [(None, 4), (Some(TRACED), 8)] {
            let wish = wish(kinds);
            assert_eq!(word(&wish, 0), Some(36 + length));
            assert_eq!(word(&wish, NETLINK_HEAD), Some(PROCESSES));
            let data = u16::from_ne_bytes(*wish.get(32..).unwrap().first_chunk().unwrap());
            assert_eq!((u32::from(data), word(&wish, HEAD)), (length, Some(LISTEN)));
        }
    }

    /// What Linux 6.18 told of one process that attached itself to another (`PTRACE_SEIZE`), and of that one's end.
    #[test]
    #[cfg(target_endian = "little")]
    fn recorded_messages_are_read() {
        let head = "4c0000000300000002000000000000000100000001000000020000000000000028000000";
        let event =
            "000100000100000083d3b10d3d0d0000905200009052000067520000675200000000000000000000";
        let bytes = |text: &str| -> Vec<u8> {
            let digits: Vec<char> = text.chars().collect();
            let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
            digits.chunks(2).map(byte).collect()
        };
        let Some(Message::Traced(traced)) = decode(&bytes(&format!("{head}{event}"))) else {
            panic!("no tracer")
        };
        assert_eq!((traced.target, traced.tracer), (21_136, Some(21_095)));
        assert_eq!(traced.at_ns, 14_555_873_923_971);
    }
}
