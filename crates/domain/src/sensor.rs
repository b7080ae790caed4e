//! What the in-process sensor says to the supervisor.
//!
//! Each message is one frame: a `u32` little-endian length, then that many bytes of JSON, an [`Envelope`]. The envelope's
//! `seq` counts every message that the sensor *meant* to send, also those that it dropped when its queue was full, so that
//! the supervisor sees a gap as a gap. All of it is a claim by the process under suspicion.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::memory::MemoryFact;
use crate::{PathText, StepRecord};

/// Version of this protocol.
pub const PROTOCOL: u32 = 1;

/// Longest frame that is accepted, in bytes.
pub const FRAME_BYTES_MAX: u32 = 1 << 20;

/// One message with its place and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Count of messages meant to be sent by this process, from 0.
    pub seq: u64,
    /// Wall clock of the process, microseconds since 1970.
    pub at_us: i64,
    /// What is said.
    pub body: Message,
}

/// How a checkpoint was read or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// `torch.save` / `torch.load`.
    Torch,
    /// `safetensors`.
    Safetensors,
    /// `torch.distributed.checkpoint`: a folder.
    Distributed,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// First message of a process: it is about to import torch.
    Hello(Hello),
    /// Torch is imported and the hooks are set.
    Ready(Ready),
    /// Files of modules that were imported since the last such message.
    Modules {
        /// Absolute paths.
        files: Vec<PathText>,
        /// Folders, or zip files, that they were looked for and found in.
        #[serde(default)]
        folders: BTreeSet<PathText>,
    },
    /// A file was opened, the first time in this mode.
    Opened {
        /// Absolute path.
        path: PathText,
        /// Opened for writing, appending or updating.
        write: bool,
    },
    /// A checkpoint was written completely.
    Saved {
        /// Absolute path.
        path: PathText,
        /// Last finished optimizer step of this process.
        step: Option<u64>,
        /// How.
        way: Way,
    },
    /// A checkpoint is about to be read.
    Loading {
        /// Absolute path.
        path: PathText,
        /// Last finished optimizer step of this process.
        step: Option<u64>,
        /// How.
        way: Way,
    },
    /// A file was renamed or replaced.
    Renamed {
        /// Absolute path before.
        from: PathText,
        /// Absolute path after.
        to: PathText,
    },
    /// What stands in memory, as far as it is new.
    Memory {
        /// Last finished optimizer step of this process.
        step: Option<u64>,
        /// `sys.flags.optimize`: what is compiled otherwise has other code.
        optimize: u8,
        /// The facts.
        facts: Vec<MemoryFact>,
    },
    /// An optimizer step is done.
    Step(Box<StepRecord>),
    /// Where in the memory of this process it is told how far the training has come: see [`Progress`].
    Progress {
        /// Address of [`Progress::BYTES`] bytes.
        address: u64,
    },
    /// Something was read over the network: its content is not recorded.
    Network {
        /// URL without user, query and fragment, or `host:port`.
        target: String,
        /// `etag` where it could be seen.
        etag: Option<String>,
    },
    /// Something that the sensor could not see or do.
    Gap {
        /// What is missing.
        what: String,
        /// Why.
        why: String,
    },
    /// The interpreter ends in good order.
    Bye {
        /// Messages dropped because the queue was full.
        dropped: u64,
        /// Type name of the exception that ended the program, if one did.
        exception: Option<String>,
    },
}

/// How far the training of a process has come, as it stands in its memory: read from outside, because a process that hangs says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps that were told.
    pub steps: u64,
    /// Phases since then.
    pub phases: u64,
    /// The phase: those of [`Phase`](crate::Phase) in their order, then the sensor's own, behind a forward and behind a backward pass.
    pub phase: u64,
}

impl Progress {
    /// What the memory begins with.
    pub const MARK: u64 = u64::from_le_bytes(*b"tl-place");
    /// Its length: the mark, and three numbers in the machine's own order.
    pub const BYTES: usize = 4 * size_of::<u64>();

    /// Reads it; `None` for other memory.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let [mark, steps, phases, phase] = numbers else {
            return None;
        };
        let number = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        (rest.is_empty() && number(mark) == Self::MARK).then(|| Self {
            steps: number(steps),
            phases: number(phases),
            phase: number(phase),
        })
    }
}

/// A question before something is loaded, on a connection of its own: one frame with this, then one with an [`Answer`].
/// Frames are as those of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What is loaded: the file at this absolute path …
    #[serde(default)]
    pub path: Option<PathText>,
    /// … or what this open descriptor of the asking process refers to.
    #[serde(default)]
    pub descriptor: Option<u32>,
    /// Offset in bytes at which loading starts.
    #[serde(default)]
    pub offset: u64,
    /// What a person would call it.
    pub name: PathText,
    /// The function that loads it: `torch.load`, `pickle.loads`.
    pub loader: String,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it must not be loaded.
    pub refuse: bool,
    /// Why, in words for the person who started the job.
    pub why: String,
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Python's version, such as `3.11.7`, with its implementation, such as `cpython`.
    pub python: String,
    /// `sys.executable`.
    pub executable: PathText,
    /// `sys.prefix`.
    pub prefix: PathText,
    /// `sys.base_prefix`.
    pub base_prefix: PathText,
    /// `sys.orig_argv` (where it exists, else `sys.argv`), as given: may hold secrets, is never stored in clear.
    pub argv: Vec<PathText>,
    /// Working directory.
    pub cwd: PathText,
    /// `sys.path`.
    pub sys_path: Vec<PathText>,
    /// Roots of the environment by logical name: `stdlib`, `platstdlib`, `purelib`, `platlib`, `usersite`.
    pub roots: Vec<(String, PathText)>,
    /// `RANK`.
    pub rank: Option<u32>,
    /// `LOCAL_RANK`.
    pub local_rank: Option<u32>,
    /// `WORLD_SIZE`.
    pub world_size: Option<u32>,
    /// The `sitecustomize` that was there before ours and was run after it.
    pub chained: Option<PathText>,
}

/// What torch is and what could be hooked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `torch.__version__`.
    pub torch: String,
    /// `torch.get_num_threads()`.
    pub threads: u32,
    /// Accelerators that torch can use, 0 without one.
    pub accelerators: u32,
    /// `torch.are_deterministic_algorithms_enabled()`.
    pub deterministic: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        let envelope = Envelope {
            seq: 7,
            at_us: 1,
            body: Message::Saved {
                path: PathText::from_bytes(b"/tmp/a\xff.pt"),
                step: Some(3),
                way: Way::Torch,
            },
        };
        let text = serde_json::to_string(&envelope).unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap(), envelope);
    }
}
