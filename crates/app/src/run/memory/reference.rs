//! What source files compile to, asked of the job's own interpreter in a process beside the job.
//!
//! The interpreter that the job named compiles (another one would make other instructions), isolated, without site
//! packages, without the job's variables, at the lowest priority. Nothing of a file is executed. It is slow for what it is,
//! and it may hang on a file made for that: the thread waits for it, the recorder never does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Digest, PathText};
use host::job::Helpers;
use serde::Deserialize;

use super::kept::Kept;
use crate::run::event::Event;

/// Longest answer about one file, in bytes.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// The functions of a file by their digest, and what its scopes bind.
#[derive(Debug, Clone, Default)]
pub(in crate::run) struct Table {
    /// Digest of the source.
    pub(super) source: Option<Digest>,
    /// Change time of the file, microseconds since 1970.
    pub(super) changed_us: i64,
    /// Digest of code → places and lines.
    pub(super) codes: BTreeMap<String, Vec<(String, u32)>>,
    /// Place → how many definitions it has.
    pub(super) definitions: BTreeMap<String, u32>,
    /// Place → how often its scope binds it.
    pub(super) bound: BTreeMap<String, u32>,
    /// Places of the classes that have a decorator.
    pub(super) decorated: BTreeSet<String>,
    /// Whether its code makes code from text.
    pub(super) makes: bool,
}

/// A table, or why there is none.
pub(in crate::run) type Answered = Result<Table, String>;

/// A line of the helper.
#[derive(Deserialize)]
pub(super) struct Line {
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    changed: i64,
    #[serde(default)]
    defs: Vec<(String, u32, String)>,
    #[serde(default)]
    bound: BTreeMap<String, u32>,
    #[serde(default)]
    decorated: BTreeSet<String>,
    #[serde(default)]
    makes: bool,
    #[serde(default)]
    error: Option<String>,
}

impl Table {
    fn of(line: Line) -> Answered {
        if let Some(error) = line.error {
            return Err(error);
        }
        let mut table = Self {
            source: line.source.and_then(|text| text.parse().ok()),
            changed_us: line.changed / 1000,
            bound: line.bound,
            decorated: line.decorated,
            makes: line.makes,
            ..Self::default()
        };
        for (place, number, digest) in line.defs {
            *table.definitions.entry(place.clone()).or_default() += 1;
            table.codes.entry(digest).or_default().push((place, number));
        }
        Ok(table)
    }

    /// Whether `place` is a function that is written there once and bound by nothing else in its file.
    pub(super) fn defines_once(&self, place: &str) -> bool {
        self.definitions.get(place) == Some(&1) && self.bound.get(place) == Some(&1)
    }
}

/// Which interpreter compiles, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::run) struct Compiler {
    /// `sys.executable` of the process.
    pub(super) executable: PathBuf,
    /// Its version, as it says.
    pub(super) python: String,
    /// `sys.flags.optimize` of the process.
    pub(super) optimize: u8,
}

/// One interpreter that compiles, on a thread of its own.
pub(super) struct Reference {
    ask: Sender<Question>,
    child: Arc<Mutex<Option<Child>>>,
    /// Whether a file is being compiled: only then is the child known to live, and its number its own.
    compiling: Arc<AtomicBool>,
}

impl Reference {
    /// Starts the thread; the helper starts with the first question that the cache has no answer to.
    pub(super) fn start(worker: Worker, events: Sender<Event>) -> Self {
        let (ask, asked) = mpsc::channel();
        let child = Arc::clone(&worker.child);
        let compiling = Arc::clone(&worker.compiling);
        let spawned = std::thread::Builder::new()
            .name("reference".to_owned())
            .spawn(move || worker.work(&asked, &events));
        drop(spawned);
        Self {
            ask,
            child,
            compiling,
        }
    }

    /// Asks about a file; the answer comes as an event, once however often it is asked for.
    pub(super) fn ask(&self, path: &PathText, urgent: bool) {
        let path = path.clone();
        let _ = self.ask.send(Question { path, urgent });
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = child.as_mut()
            && self.compiling.load(Ordering::Acquire)
        {
            let _ = child.kill();
        }
    }
}

/// What is asked of the thread.
struct Question {
    path: PathText,
    /// It goes before what is asked for completeness.
    urgent: bool,
}

/// What is to be compiled, in order.
#[derive(Default)]
struct Queue {
    urgent: VecDeque<PathText>,
    rest: VecDeque<PathText>,
    asked: BTreeSet<PathText>,
}

impl Queue {
    fn put(&mut self, question: Question) {
        let Question { path, urgent } = question;
        if self.asked.insert(path.clone()) {
            let queue = if urgent {
                &mut self.urgent
            } else {
                &mut self.rest
            };
            queue.push_back(path);
        } else if urgent && let Some(at) = self.rest.iter().position(|known| *known == path) {
            self.urgent.extend(self.rest.remove(at));
        }
    }

    fn next(&mut self) -> Option<PathText> {
        self.urgent.pop_front().or_else(|| self.rest.pop_front())
    }

    /// The next file; waits for one. `None` when nobody asks any more, whatever is left.
    fn wait(&mut self, asked: &Receiver<Question>) -> Option<PathText> {
        loop {
            match asked.try_recv() {
                Ok(question) => self.put(question),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => match self.next() {
                    Some(path) => return Some(path),
                    None => self.put(asked.recv().ok()?),
                },
            }
        }
    }
}

/// What the thread works with.
pub(super) struct Worker {
    script: PathBuf,
    compiler: Compiler,
    kept: Kept,
    helpers: Helpers,
    child: Arc<Mutex<Option<Child>>>,
    compiling: Arc<AtomicBool>,
    pipes: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Worker {
    pub(super) fn new(compiler: Compiler, sensor: &Path, cache: PathBuf, helpers: Helpers) -> Self {
        let folder = sensor.join("taintline");
        Self {
            kept: Kept::new(cache, &compiler, &folder),
            script: folder.join("_memory_reference.py"),
            compiler,
            helpers,
            child: Arc::default(),
            compiling: Arc::default(),
            pipes: None,
        }
    }

    fn work(mut self, asked: &Receiver<Question>, events: &Sender<Event>) {
        crate::run::lower_priority();
        let mut queue = Queue::default();
        while let Some(path) = queue.wait(asked) {
            let answered = self.table(&path);
            self.compiling.store(false, Ordering::Release);
            let compiler = self.compiler.clone();
            if events
                .send(Event::Compiled(compiler, path, Box::new(answered)))
                .is_err()
            {
                break;
            }
        }
        self.pipes = None; // its input ends, so it ends
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = child.as_mut() {
            self.helpers.remove(child.id());
        }
    }

    fn table(&mut self, path: &PathText) -> Answered {
        let source = Kept::source(path);
        if let Some((source, changed_us)) = source
            && let Some(line) = self.kept.read(&source)
            && let Ok(mut table) = Table::of(line)
            && table.source == Some(source)
        {
            table.changed_us = changed_us;
            return Ok(table);
        }
        let (table, told) = self.answer(path)?;
        if let Some((source, _)) = source
            && table.source == Some(source)
        {
            self.kept.write(&source, &told);
        }
        Ok(table)
    }

    /// The helper's answer, and its words.
    fn answer(&mut self, path: &PathText) -> Result<(Table, Vec<u8>), String> {
        let broken = |error: std::io::Error| format!("the interpreter that compiles: {error}");
        if self.pipes.is_none() {
            self.pipes = Some(self.begin().map_err(broken)?);
        }
        let Some((input, output)) = &mut self.pipes else {
            return Err("the interpreter that compiles did not start".to_owned());
        };
        let mut line: String = path
            .to_bytes()
            .iter()
            .fold(String::new(), |mut text, byte| {
                use std::fmt::Write as _;
                let _ = write!(text, "{byte:02x}");
                text
            });
        line.push('\n');
        self.compiling.store(true, Ordering::Release);
        input.write_all(line.as_bytes()).map_err(broken)?;
        input.flush().map_err(broken)?;
        let mut told = Vec::new();
        output
            .take(ANSWER_BYTES_MAX)
            .read_until(b'\n', &mut told)
            .map_err(broken)?;
        let line: Line = serde_json::from_slice(&told)
            .map_err(|_| "the interpreter that compiles gave no answer".to_owned())?;
        Ok((Table::of(line)?, told))
    }

    fn begin(&self) -> std::io::Result<(ChildStdin, BufReader<ChildStdout>)> {
        let mut command = Command::new(&self.compiler.executable);
        command
            .args(["-I", "-S", "-B", "-X", "utf8"])
            .arg(&self.script)
            .arg(self.compiler.optimize.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = self.helpers.spawn(&mut command)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let (input, output) = pipes.ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok((input, BufReader::new(output)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_mean_something_is_compiled_first_and_nothing_twice() {
        let mut queue = Queue::default();
        for (path, urgent) in [
            ("/a", false),
            ("/b", false),
            ("/c", true),
            ("/b", true),
            ("/a", false),
        ] {
            let path = PathText::from_text(path);
            queue.put(Question { path, urgent });
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order, ["/c", "/b", "/a"].map(PathText::from_text));
        let path = PathText::from_text("/c");
        queue.put(Question { path, urgent: true });
        assert_eq!(queue.next(), None);
    }
}
