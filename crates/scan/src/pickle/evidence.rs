//! Arguments that say what an unknown call is for.
//!
//! Nobody vouches for a function of a project, and often that is all there is to say. But honest reducers are given
//! numbers, names and states; a shell command, an address to connect to or a piece of source text among the arguments of
//! a call is none of these. Only literal arguments are read, and nothing is concluded from their absence.

use domain::scan::Rule;
use formats::pickle::{Call, Id, Program, Value};

/// What was found.
pub(super) struct Evidence {
    pub(super) rule: Rule,
    pub(super) what: &'static str,
}

/// Values that are looked at among the arguments of one call.
const MAX_VALUES: usize = 64;
/// Characters of one text that are looked at.
const MAX_CHARACTERS: usize = 4096;

/// What the arguments of `call` say.
pub(super) fn of(program: &Program, call: &Call) -> Option<Evidence> {
    let mut waiting = vec![call.args];
    waiting.extend(call.keywords);
    let mut seen = 0;
    while let Some(id) = waiting.pop() {
        seen += 1;
        if seen > MAX_VALUES {
            return None;
        }
        let found = match program.value(id) {
            Value::Text(text) => in_text(text),
            Value::Bytes(bytes) => in_bytes(bytes),
            Value::Tuple(items) | Value::List(items) => {
                waiting.extend(items.iter().rev());
                address(program, items)
            }
            Value::Dict(pairs) => {
                waiting.extend(pairs.iter().map(|(_, value)| *value));
                None
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn in_text(text: &str) -> Option<Evidence> {
    let head: String = text.chars().take(MAX_CHARACTERS).collect();
    let text = head.trim();
    if is_command(text) {
        return Some(Evidence {
            rule: Rule::RunsCommand,
            what: "a command for a shell",
        });
    }
    if is_source(text) {
        return Some(Evidence {
            rule: Rule::RunsCode,
            what: "source text",
        });
    }
    if is_address(text) {
        return Some(Evidence {
            rule: Rule::OpensNetwork,
            what: "an address to connect to",
        });
    }
    is_system_path(text).then_some(Evidence {
        rule: Rule::TouchesFiles,
        what: "the path of a file of the system",
    })
}

fn in_bytes(bytes: &[u8]) -> Option<Evidence> {
    if matches!(bytes, [0x80, 2..=5, .., b'.']) && bytes.len() > 12 {
        return Some(Evidence {
            rule: Rule::LoadsMore,
            what: "another pickle",
        });
    }
    // What `marshal` makes of a code object: its type with the flag of a reference.
    if matches!(bytes, [0xe3, 0, 0, 0, 0, ..]) {
        return Some(Evidence {
            rule: Rule::RunsCode,
            what: "compiled code",
        });
    }
    let head = bytes.get(..MAX_CHARACTERS).unwrap_or(bytes);
    str::from_utf8(head).ok().and_then(in_text)
}

/// Programs that commands begin with.
#[rustfmt::skip]
const PROGRAMS: &[&str] = &[
    "sh", "bash", "zsh", "dash", "ksh", "curl", "wget", "nc", "ncat", "netcat", "python", "python3", "perl", "ruby",
    "powershell", "powershell.exe", "pwsh", "cmd", "cmd.exe", "rm", "chmod", "chown", "touch", "cat", "echo", "id",
    "whoami", "uname", "calc", "calc.exe", "xcalc", "mkfifo", "crontab", "ssh", "scp", "telnet", "socat", "nohup",
    "sudo", "kill", "ls", "cp", "mv", "env", "export", "printenv", "base64", "certutil", "mshta", "open", "ping",
    "nslookup", "dig", "tee", "dd", "pip", "pip3", "git", "gcc",
];

/// The grammar of a shell that no other text has.
const GRAMMAR: &[&str] = &[
    "/dev/tcp/",
    "| sh",
    "|sh",
    "| bash",
    "|bash",
    ">/dev/null",
    "bash -i",
    "sh -c",
    "2>&1",
];

/// A first word that is a program, or the grammar of a shell around words.
fn is_command(text: &str) -> bool {
    if GRAMMAR.iter().any(|part| text.contains(part)) {
        return true;
    }
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    let program = first.rsplit(['/', '\\']).next().unwrap_or(first);
    if !PROGRAMS.contains(&program.to_ascii_lowercase().as_str()) {
        return false;
    }
    let by_path = first.len() > program.len();
    let joined = ["&&", "||", "$(", "`", ">>", "; "]
        .iter()
        .any(|part| text.contains(part));
    let alone = ["id", "whoami", "calc", "calc.exe", "sh", "bash"].contains(&text);
    by_path || joined || alone || words.take(4).any(is_shell_word)
}

/// An option, a path, a variable, an address, a file name: what commands have and sentences have not.
fn is_shell_word(word: &str) -> bool {
    word.starts_with(['-', '/', '$', '~', '>', '|', '&', '\'', '"'])
        || word.contains("://")
        || word.trim_end_matches('.').contains(['.', '_'])
        || word.chars().all(char::is_uppercase)
}

/// Source text of Python that does something.
fn is_source(text: &str) -> bool {
    let calls = [
        "__import__(",
        "exec(",
        "eval(",
        "compile(",
        "os.system",
        "os.popen",
        "subprocess.",
        "socket.socket",
        "urlopen(",
        "getattr(",
        "globals()",
        "__builtins__",
        "__subclasses__",
        "importlib.",
        "builtins.",
        "pty.spawn",
        "ctypes.",
        "open('",
        "open(\"",
        "breakpoint()",
        "print(",
    ];
    let starts = ["import ", "from ", "def ", "class ", "lambda ", "lambda:"];
    let import = starts.iter().any(|start| text.starts_with(start))
        && (text.contains(" import ") || text.starts_with("import ") || text.contains(':'));
    calls.iter().any(|part| text.contains(part)) || (import && !text.contains(". "))
}

fn is_address(text: &str) -> bool {
    let schemes = [
        "http://",
        "https://",
        "ftp://",
        "ftps://",
        "tcp://",
        "udp://",
        "ws://",
        "wss://",
        "ldap://",
        "gopher://",
        "smb://",
        "\\\\",
    ];
    let lower = text.to_ascii_lowercase();
    if schemes.iter().any(|scheme| lower.starts_with(scheme)) {
        return true;
    }
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_host(text: &str) -> bool {
    text == "localhost" || text.parse::<std::net::IpAddr>().is_ok()
}

/// A pair of a host and a port.
fn address(program: &Program, items: &[Id]) -> Option<Evidence> {
    let is_pair = items.windows(2).any(|pair| {
        let [host, port] = pair else {
            return false;
        };
        let port = matches!(program.value(*port), Value::Int(1..=65535));
        port && program.text(*host).is_some_and(is_host)
    });
    is_pair.then_some(Evidence {
        rule: Rule::OpensNetwork,
        what: "an address to connect to",
    })
}

fn is_system_path(text: &str) -> bool {
    let starts = [
        "/etc/",
        "/proc/",
        "/root/",
        "/var/spool/",
        "/dev/",
        "/boot/",
        "/sys/",
        "~/.",
        "C:\\Windows",
        "c:\\windows",
        "/usr/lib/",
        "/lib/",
        "/bin/",
        "/usr/bin/",
    ];
    let parts = [
        ".ssh/",
        "/.bashrc",
        "/.profile",
        "/.aws/",
        "authorized_keys",
        "/.netrc",
        "crontab",
        "site-packages/",
        "/.config/",
    ];
    let one_line = !text.contains('\n');
    one_line
        && (starts.iter().any(|start| text.starts_with(start))
            || parts.iter().any(|part| text.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_source_addresses_and_paths_are_told_from_names_and_prose() {
        let hostile = [
            "curl http://x/y | sh",
            "echo MARKER",
            "/bin/sh -c id",
            "import os; os.system('echo MARKER')",
            "__import__('x').y()",
            "https://host/path",
            "10.0.0.1:4444",
            "/etc/passwd",
            "~/.ssh/id_rsa",
            "touch /tmp/MARKER",
            "echo MARKER > /tmp/x",
        ];
        for text in hostile {
            assert!(in_text(text).is_some(), "{text}");
        }
        let honest = [
            "",
            "weight",
            "layer.0.bias",
            "cat",
            "echo chamber",
            "find",
            "a class of things",
            "import",
            "open",
            "cuda:0",
            "mean",
            "latin1",
            "open mouth",
            "ls",
            "2024-01-01",
            "12:30",
            "models/best.pt",
            "cat dog bird",
            "from left to right",
        ];
        for text in honest {
            assert!(in_text(text).is_none(), "{text}");
        }
    }
}
