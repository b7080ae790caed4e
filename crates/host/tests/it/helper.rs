//! The helper processes, and the tests' handle on them.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use taintline_host::exits::ExitStatus;
use taintline_host::identity::ProcessId;
use taintline_host::job::{HostEvent, Job, Outcome, prepare};

const PLAN: &str = "TAINTLINE_HOST_TEST_PLAN";
const PATIENCE: Duration = Duration::from_secs(30);

/// What the helper is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) argv: Vec<String>,
    pub(crate) changes: Vec<(String, Option<String>)>,
    pub(crate) grace_ms: u64,
    pub(crate) notes: PathBuf,
    /// A file into which the job writes the number of a process to watch.
    pub(crate) watch: PathBuf,
    /// The supervisor has a child of its own while the job runs.
    #[serde(default)]
    pub(crate) own_child: bool,
    /// So many helpers whose program is not there are started meanwhile.
    #[serde(default)]
    pub(crate) missing_helpers: Option<u32>,
}

/// A line of the helper's notes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Note {
    Started(ProcessId, Option<u32>),
    Watching(ProcessId),
    Event(HostEvent),
    Ended(Outcome),
    Failed(u8, String),
    /// The handlers are as they were before the job.
    HandlersRestored(bool),
}

#[test]
#[ignore = "a helper process: supervises a job and notes what it sees"]
fn supervise() {
    let Ok(plan) = std::env::var(PLAN) else {
        panic!("started by other tests only");
    };
    let plan: Plan = serde_json::from_str(&plan).unwrap();
    prepare().subreaper.unwrap();
    let before = handlers();
    let argv: Vec<OsString> = plan.argv.iter().map(OsString::from).collect();
    let mut changes: Vec<(OsString, Option<OsString>)> = vec![(PLAN.into(), None)];
    for (name, value) in &plan.changes {
        changes.push((name.into(), value.as_ref().map(OsString::from)));
    }
    match Job::start(&argv, &changes, None) {
        Err(error) => note(&plan, &Note::Failed(error.shell_code(), error.to_string())),
        Ok(job) => follow(&plan, job),
    }
    note(&plan, &Note::HandlersRestored(handlers() == before));
}

fn follow(plan: &Plan, mut job: Job) {
    note(plan, &Note::Started(job.process().clone(), job.helper()));
    let (watcher, for_thread) = (job.watcher(), plan.clone());
    std::thread::spawn(move || {
        let text = await_text(&for_thread.watch);
        let process = ProcessId::of(text.parse().unwrap()).unwrap();
        watcher.watch(&process).unwrap();
        note(&for_thread, &Note::Watching(process));
    });
    let mut own = plan.own_child.then(|| {
        job.helpers()
            .spawn(Command::new("sleep").arg("60"))
            .unwrap()
    });
    let failing = plan.missing_helpers.map(|count| {
        let helpers = job.helpers();
        std::thread::spawn(move || {
            for _ in 0..count {
                // With a user named, the standard library forks by itself and takes the dead child.
                let mut command = Command::new("/no/such/program");
                command.uid(rustix::process::geteuid().as_raw());
                let error = helpers.spawn(&mut command).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            }
        })
    });
    let grace = Duration::from_millis(plan.grace_ms);
    let outcome = job.run(grace, &mut |event| note(plan, &Note::Event(event)));
    if let Some(own) = &mut own {
        own.kill().unwrap();
    }
    if let Some(failing) = failing {
        failing.join().unwrap();
    }
    note(plan, &Note::Ended(outcome.unwrap()));
}

fn handlers() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let is_signal = |line: &&str| line.starts_with("SigCgt") || line.starts_with("SigBlk");
    status.lines().filter(is_signal).map(String::from).collect()
}

fn note(plan: &Plan, note: &Note) {
    append(&plan.notes, &serde_json::to_string(note).unwrap());
}

fn append(path: &Path, line: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Waits for a whole line.
pub(crate) fn await_text(path: &Path) -> String {
    await_some(&path.display().to_string(), || {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.strip_suffix('\n')?.to_owned())
    })
}

/// Looks until there is something.
pub(crate) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A command line that runs one of the helpers of this binary.
pub(crate) fn helper_line(name: &str) -> Vec<String> {
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap().to_owned();
    [
        own.as_str(),
        "--exact",
        name,
        "--ignored",
        "--nocapture",
        "--quiet",
    ]
    .map(String::from)
    .to_vec()
}

/// A supervisor in a process group of its own, and its notes.
pub(crate) struct Supervised {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) plan: Plan,
    prefix: Vec<String>,
    child: Option<Child>,
}

impl Supervised {
    pub(crate) fn new(argv: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan {
            argv: argv.iter().map(ToString::to_string).collect(),
            changes: Vec::new(),
            grace_ms: 20_000,
            notes: folder.path().join("notes"),
            watch: folder.path().join("watch"),
            own_child: false,
            missing_helpers: None,
        };
        Self {
            folder,
            plan,
            prefix: Vec::new(),
            child: None,
        }
    }

    pub(crate) fn shell(script: &str) -> Self {
        let mut new = Self::new(&["sh", "-c", script]);
        new.plan
            .changes
            .push(("D".into(), Some(new.folder.path().display().to_string())));
        new
    }

    /// The job is a process that notes each signal (see [`hear`]).
    pub(crate) fn hearing() -> Self {
        let line = helper_line("helper::hear");
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let mut new = Self::new(&words);
        let heard = new.path("heard").display().to_string();
        new.plan.changes.push((PLAN.into(), Some(heard)));
        new
    }

    pub(crate) fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
        self
    }

    pub(crate) fn grace_ms(mut self, grace: u64) -> Self {
        self.plan.grace_ms = grace;
        self
    }

    pub(crate) fn with_missing_helpers(mut self, count: u32) -> Self {
        self.plan.missing_helpers = Some(count);
        self
    }

    pub(crate) fn with_own_child(mut self) -> Self {
        self.plan.own_child = true;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn start(self) -> Self {
        self.start_with(Stdio::null(), true)
    }

    pub(crate) fn start_with(mut self, input: Stdio, own_group: bool) -> Self {
        let mut line = self.prefix.clone();
        line.extend(helper_line("helper::supervise"));
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .env(PLAN, serde_json::to_string(&self.plan).unwrap())
            .current_dir(self.folder.path())
            .stdin(input)
            .stdout(Stdio::null());
        if own_group {
            command.process_group(0);
        }
        self.child = Some(command.spawn().unwrap());
        self
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap())
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        let text = std::fs::read_to_string(&self.plan.notes).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn events(&self) -> Vec<HostEvent> {
        let events = self.notes().into_iter().filter_map(|note| match note {
            Note::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    pub(crate) fn await_note<T>(&self, what: &str, look: impl FnMut(Note) -> Option<T>) -> T {
        let mut look = look;
        await_some(what, || self.notes().into_iter().find_map(&mut look))
    }

    pub(crate) fn job(&self) -> ProcessId {
        self.await_note("the start", |note| match note {
            Note::Started(process, _) => Some(process),
            _ => None,
        })
    }

    pub(crate) fn echo(&self) -> Option<u32> {
        self.await_note("the start", |note| match note {
            Note::Started(_, echo) => Some(echo),
            _ => None,
        })
    }

    /// Waits for the end of the helper.
    pub(crate) fn outcome(&mut self) -> Outcome {
        assert!(self.child.as_mut().unwrap().wait().unwrap().success());
        assert!(self.notes().contains(&Note::HandlersRestored(true)));
        self.await_note("the outcome", |note| match note {
            Note::Ended(outcome) => Some(outcome),
            _ => None,
        })
    }

    pub(crate) fn status(&mut self) -> ExitStatus {
        self.outcome().status
    }

    /// Waits for the helper and gives why the job could not be started.
    pub(crate) fn failure(&mut self) -> (u8, String) {
        assert!(self.child.as_mut().unwrap().wait().unwrap().success());
        assert!(self.notes().contains(&Note::HandlersRestored(true)));
        self.await_note("the failure", |note| match note {
            Note::Failed(code, text) => Some((code, text)),
            _ => None,
        })
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && matches!(child.try_wait(), Ok(None))
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
#[ignore = "a helper process: notes each signal and its sender, and ends at SIGTERM"]
fn hear() {
    use signal_hook::iterator::SignalsInfo;
    use signal_hook::iterator::exfiltrator::WithOrigin;
    let path = PathBuf::from(std::env::var_os(PLAN).unwrap());
    let numbers = [
        libc_int(Signal::INT),
        libc_int(Signal::HUP),
        libc_int(Signal::USR1),
        libc_int(Signal::TERM),
    ];
    let mut signals = SignalsInfo::<WithOrigin>::new(numbers).unwrap();
    append(&path, "ready");
    for origin in &mut signals {
        let sender = origin.process.map_or(0, |process| process.pid);
        append(&path, &format!("{} {sender}", origin.signal));
        if origin.signal == libc_int(Signal::TERM) {
            return;
        }
    }
}

fn libc_int(signal: Signal) -> i32 {
    signal.as_raw()
}

#[test]
#[ignore = "a helper process: connects to a socket and stays until it is closed"]
fn connect() {
    use std::io::Read as _;
    let path = std::env::var_os(PLAN).unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    let _ = stream.read(&mut [0; 1]);
}

/// Starts the helper that connects to a socket.
pub(crate) fn connecting(path: &Path) -> Child {
    let line = helper_line("helper::connect");
    Command::new(&line[0])
        .args(&line[1..])
        .env(PLAN, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
