//! A world of its own for a test: home, store, keys and sensor in one temporary folder, and the binary to run in it.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

/// A temporary folder with everything that the binary looks for.
pub(crate) struct World {
    folder: tempfile::TempDir,
    /// Working directory of the commands.
    pub(crate) work: PathBuf,
}

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// Exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

impl Done {
    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.out.clone()).expect("standard output is UTF-8")
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.err.clone()).expect("standard error is UTF-8")
    }

    /// The same, after it was made sure that the exit code is `code`.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.text(), self.error_text());
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        let all = format!("{}{}", self.text(), self.error_text());
        for word in words {
            assert!(all.contains(word), "{word:?} is not in:\n{all}");
        }
        self
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.err).into_owned()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["data", "cache", "runtime", "home", "project", "sensor"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python");
        for part in ["startup", "taintline"] {
            symlink(python.join(part), at("sensor").join(part)).unwrap();
        }
        let work = at("project");
        Self { folder, work }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.work.join(".taintline")
    }

    /// The binary with these arguments, ready to be changed further.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taintline"));
        command.args(arguments).current_dir(&self.work);
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| {
            name.to_string_lossy().starts_with("TAINTLINE_")
                || name.to_string_lossy().starts_with("GIT_")
        }) {
            command.env_remove(name);
        }
        for (name, folder) in [
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_RUNTIME_DIR", "runtime"),
            ("HOME", "home"),
            ("TAINTLINE_SENSOR_DIR", "sensor"),
        ] {
            command.env(name, self.folder().join(folder));
        }
        command.env_remove("PYTHONPATH");
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn taintline<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Done {
        finish(&mut self.command(arguments))
    }

    /// `taintline run -- /bin/sh -c SCRIPT`.
    pub(crate) fn sh(&self, script: &str) -> Done {
        self.taintline(["run", "--", "/bin/sh", "-c", script])
    }

    /// What a reading command gives with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let done = self.taintline(arguments.iter().chain(&["--json"])).ends(0);
        serde_json::from_slice(&done.out).unwrap()
    }

    /// The names of all runs, oldest first.
    pub(crate) fn run_names(&self) -> Vec<String> {
        let runs = self.json(&["runs"]);
        let runs = runs["runs"].as_array().unwrap().clone();
        runs.iter()
            .map(|run| run["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Starts a run of a shell script, with pipes to it.
    pub(crate) fn start(&self, script: &str) -> Running {
        self.start_with(script, |_| ())
    }

    /// The same, with a command that is changed before it starts.
    pub(crate) fn start_with(&self, script: &str, change: impl FnOnce(&mut Command)) -> Running {
        let mut command = self.command(["run", "--", "/bin/sh", "-c", script]);
        change(&mut command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            bytes
        });
        Running {
            child,
            stdin,
            stdout,
            errors: Some(errors),
        }
    }
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    errors: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Waits for the job's next line.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Sends a signal to the supervisor alone.
    pub(crate) fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    pub(crate) fn finish(mut self) -> Done {
        drop(self.stdin.take());
        let mut out = Vec::new();
        self.stdout.read_to_end(&mut out).unwrap();
        let status = self.child.wait().unwrap();
        let err = self.errors.take().unwrap().join().unwrap();
        Done {
            code: status.code().unwrap_or(-1),
            out,
            err,
        }
    }

    /// Kills the supervisor, not the job, and waits until it is gone.
    pub(crate) fn kill_supervisor(&mut self) {
        self.signal("KILL");
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }
}

/// `kill -NAME PID`.
pub(crate) fn kill(name: &str, pid: u32) {
    let status = Command::new("/bin/kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: output.stderr,
    }
}

/// Every regular file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Whether `needle` occurs in `hay`.
pub(crate) fn holds(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Arguments as the system passes them.
pub(crate) fn words(words: &[&[u8]]) -> Vec<OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    words
        .iter()
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}
