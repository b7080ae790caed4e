//! Asking git about a repository whose maker nobody knows, so that no program that the repository names is run.
//!
//! Git starts programs for its configuration: file-system monitor, hooks, pager, external diff, text conversion, filters
//! of file contents, and, where objects are missing, whatever fetches them. The first ones have a switch. Filters are
//! switched off one by one, by the names that the configuration has; a name that cannot be overridden is an error.
//! Fetching is refused twice, for versions of git that know only one of the ways. Submodules have a configuration of their
//! own: git must not look into them by itself. What a variable of the surroundings says of the repository is not heard
//! either, so that the repository is the one around the folder.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use host::job::Helpers;

/// The most bytes of the names of filters, and the most filters.
const FILTER_BYTES_MAX: u64 = 64 << 10;

/// Switches for every command.
const SWITCHED_OFF: [&str; 9] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    // What is known of files that did not change since they were looked at is held against all that the system says.
    "core.checkStat=default",
    "core.trustctime=true",
    "core.ignoreStat=false",
    "core.untrackedCache=false",
    "protocol.allow=never",
    // All changes, wherever the question comes from.
    "diff.relative=false",
];

/// Variables by which the user, and not the repository, says where git and its own settings are.
const HEARD: [&str; 8] = [
    "GIT_EXEC_PATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_COUNT",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_ATTR_NOSYSTEM",
];

/// What git printed.
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    /// There was more.
    pub(super) cut: bool,
}

/// Git in one folder.
pub(super) struct Git<'a> {
    folder: &'a Path,
    helpers: &'a Helpers,
    /// Further settings, against filters.
    settings: Vec<String>,
}

impl<'a> Git<'a> {
    /// For questions about which no filter has a say: names and objects.
    pub(super) fn of(folder: &'a Path, helpers: &'a Helpers) -> Self {
        Self {
            folder,
            helpers,
            settings: Vec::new(),
        }
    }

    /// For questions for which git reads files: with every filter switched off that the configuration names now.
    pub(super) fn without_filters(folder: &'a Path, helpers: &'a Helpers) -> Result<Self, String> {
        let mut git = Self::of(folder, helpers);
        let words = ["config", "-z", "--name-only", "--get-regexp", "^filter\\."];
        let (output, code) = git.run(&words, FILTER_BYTES_MAX)?;
        // 1: there is none.
        if output.cut || !(code == 0 || code == 1) {
            return Err(
                "its filters of file contents cannot be listed, and none may run".to_owned(),
            );
        }
        for name in output.bytes.split(|byte| *byte == 0) {
            let Ok(name) = std::str::from_utf8(name) else {
                return Err(unswitchable());
            };
            let Some((filter, _)) = name.rsplit_once('.') else {
                continue;
            };
            // `-c` takes the first `=` for the end of the name.
            if filter.contains('=') {
                return Err(unswitchable());
            }
            for what in ["clean=", "smudge=", "process=", "required=false"] {
                git.settings.push(format!("{filter}.{what}"));
            }
        }
        git.settings.sort();
        git.settings.dedup();
        Ok(git)
    }

    /// Asks; an answer with another exit code than 0 is an error.
    pub(super) fn ask(&self, arguments: &[&str], limit: u64) -> Result<Output, String> {
        match self.run(arguments, limit)? {
            (output, 0) => Ok(output),
            (_, 127) => Err("git is not installed".to_owned()),
            _ => Err("not in a git work tree that this user may read".to_owned()),
        }
    }

    /// Runs git. Its exit code comes in band, behind a NUL at the end of the output: the host's event loop reaps every
    /// child of this process and may well be faster than we are.
    fn run(&self, arguments: &[&str], limit: u64) -> Result<(Output, i32), String> {
        let mut child = self.start(arguments)?;
        let mut bytes = Vec::new();
        let read = child.stdout.take().map_or(Ok(0), |stdout| {
            stdout.take(limit + 8).read_to_end(&mut bytes)
        });
        let _ = child.wait();
        self.helpers.remove(child.id());
        read.map_err(|error| format!("git cannot be read: {error}"))?;
        let length = usize::try_from(limit).unwrap_or(usize::MAX);
        // The code and its NUL have less than the eight bytes: then this is the end.
        if bytes.len() >= length.saturating_add(8) {
            bytes.truncate(length);
            return Ok((Output { bytes, cut: true }, 0));
        }
        let end = bytes.iter().rposition(|byte| *byte == 0).unwrap_or(0);
        let code = std::str::from_utf8(bytes.get(end + 1..).unwrap_or_default());
        let code = code.ok().and_then(|text| text.parse().ok()).unwrap_or(-1);
        let cut = end > length;
        bytes.truncate(end.min(length));
        Ok((Output { bytes, cut }, code))
    }

    fn start(&self, arguments: &[&str]) -> Result<Child, String> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "\"$@\"; printf '\\0%d' $?", "sh", "git", "-C"])
            .arg(self.folder);
        for setting in SWITCHED_OFF
            .into_iter()
            .chain(self.settings.iter().map(String::as_str))
        {
            command.args(["-c", setting]);
        }
        for (name, _) in std::env::vars_os() {
            if is_unheard(&name) {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("GIT_OPTIONAL_LOCKS", "0")
            // The object of a name, not one that the repository has put in its place.
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        self.helpers
            .spawn(&mut command)
            .map_err(|error| format!("git cannot be started: {error}"))
    }
}

fn unswitchable() -> String {
    "its configuration names a filter of file contents that cannot be switched off, and none may run".to_owned()
}

/// Whether git would take something of the repository from it.
fn is_unheard(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return name.as_encoded_bytes().starts_with(b"GIT_");
    };
    let is_setting = name.starts_with("GIT_CONFIG_KEY_") || name.starts_with("GIT_CONFIG_VALUE_");
    name.starts_with("GIT_") && !is_setting && !HEARD.contains(&name)
}
