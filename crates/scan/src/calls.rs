//! What a Python function outside of a framework does when something calls it, as far as its name says.
//!
//! Model files of several formats name functions as `module` and `name`. This is the common answer for those that are no
//! part of the framework that reads the file. Python's own library is known module by module, because no model needs any
//! of it; what belongs to nobody known is the project's own. It says nothing about the frameworks themselves.

use domain::scan::{Rule, Weight};

/// What calling it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The rule that it falls under.
    pub(crate) rule: Rule,
    /// How much that weighs.
    pub(crate) weight: Weight,
}

const fn dangerous(rule: Rule) -> Effect {
    Effect {
        rule,
        weight: Weight::Dangerous,
    }
}

const fn unknown(rule: Rule) -> Effect {
    Effect {
        rule,
        weight: Weight::Unknown,
    }
}

/// Modules of Python's library by what their functions do.
const MODULES: &[(Rule, &[&str])] = &[
    (
        Rule::RunsCommand,
        &[
            "os",
            "posix",
            "nt",
            "subprocess",
            "_posixsubprocess",
            "pty",
            "popen2",
            "commands",
            "pexpect",
            "sh",
            "asyncio",
            "platform",
            "distutils",
            "setuptools",
            "webbrowser",
        ],
    ),
    (
        Rule::RunsCode,
        &[
            "builtins",
            "__builtin__",
            "code",
            "codeop",
            "runpy",
            "timeit",
            "cProfile",
            "profile",
            "pdb",
            "bdb",
            "trace",
            "doctest",
            "marshal",
            "types",
            "idlelib",
            "lib2to3",
            "pydoc",
            "unittest",
            "test",
            "ast",
            "inspect",
            "gc",
        ],
    ),
    (
        Rule::ImportsCode,
        &[
            "importlib",
            "imp",
            "pkgutil",
            "zipimport",
            "pip",
            "ensurepip",
            "venv",
            "site",
            "modulefinder",
            "zipapp",
        ],
    ),
    (
        Rule::LoadsMore,
        &[
            "pickle",
            "_pickle",
            "cPickle",
            "dill",
            "cloudpickle",
            "joblib",
            "shelve",
            "copyreg",
            "jsonpickle",
            "yaml",
        ],
    ),
    (Rule::LoadsNative, &["ctypes", "_ctypes", "cffi", "mmap"]),
    (
        Rule::OpensNetwork,
        &[
            "socket",
            "_socket",
            "ssl",
            "http",
            "urllib",
            "urllib2",
            "ftplib",
            "smtplib",
            "poplib",
            "imaplib",
            "nntplib",
            "telnetlib",
            "xmlrpc",
            "socketserver",
            "requests",
            "httpx",
            "aiohttp",
            "paramiko",
            "urllib3",
        ],
    ),
    (
        Rule::TouchesFiles,
        &[
            "io",
            "_io",
            "shutil",
            "tempfile",
            "pathlib",
            "zipfile",
            "tarfile",
            "gzip",
            "bz2",
            "lzma",
            "fileinput",
            "glob",
            "linecache",
            "logging",
            "sqlite3",
            "dbm",
            "mailbox",
            "mailcap",
            "py_compile",
            "compileall",
        ],
    ),
    (
        Rule::ResolvesAttributes,
        &[
            "operator",
            "_operator",
            "functools",
            "_functools",
            "itertools",
            "inspect",
        ],
    ),
    (
        Rule::DisturbsProcess,
        &[
            "sys",
            "signal",
            "faulthandler",
            "atexit",
            "threading",
            "_thread",
            "multiprocessing",
            "resource",
        ],
    ),
];

/// The rest of Python's library: needed by no model, doing nothing that is known to harm.
const LIBRARY: &[&str] = &[
    "abc",
    "argparse",
    "array",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "cmd",
    "codecs",
    "_codecs",
    "collections",
    "configparser",
    "contextlib",
    "copy",
    "csv",
    "ctypes",
    "curses",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "dis",
    "email",
    "encodings",
    "enum",
    "errno",
    "fcntl",
    "filecmp",
    "fnmatch",
    "fractions",
    "getopt",
    "getpass",
    "gettext",
    "graphlib",
    "grp",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "json",
    "keyword",
    "locale",
    "math",
    "mimetypes",
    "numbers",
    "optparse",
    "pickletools",
    "pprint",
    "pwd",
    "pyclbr",
    "queue",
    "quopri",
    "random",
    "re",
    "readline",
    "reprlib",
    "sched",
    "secrets",
    "select",
    "selectors",
    "shlex",
    "smtpd",
    "statistics",
    "string",
    "stringprep",
    "struct",
    "symtable",
    "syslog",
    "termios",
    "textwrap",
    "time",
    "token",
    "tokenize",
    "tomllib",
    "traceback",
    "tracemalloc",
    "tty",
    "turtle",
    "typing",
    "unicodedata",
    "uu",
    "uuid",
    "warnings",
    "wave",
    "weakref",
    "xml",
    "zlib",
    "zoneinfo",
    "tkinter",
    "this",
    "antigravity",
    "concurrent",
    "contextvars",
    "netrc",
    "plistlib",
    "ipaddress",
];

/// Names whose call has an effect wherever they come from.
const NAMES: &[(Rule, &[&str])] = &[
    (
        Rule::RunsCommand,
        &[
            "system",
            "popen",
            "Popen",
            "check_output",
            "spawn",
            "run_command",
            "getoutput",
        ],
    ),
    (
        Rule::RunsCode,
        &[
            "eval",
            "exec",
            "compile",
            "__import__",
            "runcode",
            "py_function",
            "numpy_function",
            "py_func",
        ],
    ),
    (
        Rule::LoadsNative,
        &[
            "load_library",
            "load_op_library",
            "CDLL",
            "load_inline",
            "cpp_extension",
        ],
    ),
    (
        Rule::OpensNetwork,
        &[
            "urlopen",
            "urlretrieve",
            "get_file",
            "download",
            "download_url_to_file",
            "load_state_dict_from_url",
        ],
    ),
    (
        Rule::LoadsMore,
        &[
            "load",
            "loads",
            "load_model",
            "load_weights",
            "model_from_json",
            "read_pickle",
            "unpickle",
            "from_pretrained",
        ],
    ),
    (
        Rule::TouchesFiles,
        &[
            "open",
            "write_file",
            "read_file",
            "fromfile",
            "tofile",
            "savetxt",
            "loadtxt",
            "genfromtxt",
            "memmap",
            "save",
            "savez",
            "remove",
            "unlink",
            "rmtree",
            "rename",
            "copyfile",
            "write_text",
            "write_bytes",
            "read_csv",
            "to_csv",
            "matching_files",
            "delete_recursively",
        ],
    ),
];

/// Libraries that models are trained with: installed, and not needed by name.
const NUMERIC: &[&str] = &[
    "numpy",
    "scipy",
    "torch",
    "jax",
    "tensorflow",
    "pandas",
    "sklearn",
    "PIL",
    "cv2",
    "matplotlib",
    "transformers",
    "torchvision",
    "flax",
    "optax",
    "datasets",
    "huggingface_hub",
    "tf_keras",
];

/// What calling `module.name` does; `None` if the name belongs to nobody known: the project's own code.
pub(crate) fn effect(module: &str, name: &str) -> Option<Effect> {
    let top = module.split('.').next().unwrap_or(module);
    let last = name.rsplit('.').next().unwrap_or(name);
    let listed = |table: &[(Rule, &[&str])], word: &str| {
        let mut rows = table.iter();
        rows.find(|(_, words)| words.contains(&word))
            .map(|(rule, _)| *rule)
    };
    let by_module = listed(MODULES, top);
    if let (Some(_), Some(rule)) = (by_module, listed(NAMES, last)) {
        return Some(dangerous(rule));
    }
    if let Some(rule) = by_module {
        return Some(dangerous(rule));
    }
    if LIBRARY.contains(&top) {
        return Some(unknown(Rule::UnneededCall));
    }
    NUMERIC
        .contains(&top)
        .then(|| listed(NAMES, last).map_or(unknown(Rule::UnneededCall), dangerous))
}

/// Names by which Python code reaches what it was not given.
const REACHES: &[&str] = &[
    "__globals__",
    "__builtins__",
    "__subclasses__",
    "__bases__",
    "__mro__",
    "__base__",
    "__getattribute__",
    "__reduce__",
    "__code__",
    "__loader__",
    "__spec__",
    "getattr",
    "setattr",
    "globals",
    "locals",
    "vars",
    "modules",
    "import_module",
    "b64decode",
    "fromhex",
    "breakpoint",
    "f_globals",
    "f_builtins",
    "gi_frame",
];
/// Names of modules and functions that tensors' libraries use as well.
const INNOCENT: &[&str] = &[
    "types",
    "test",
    "io",
    "array",
    "platform",
    "compile",
    "load",
    "save",
    "code",
    "sh",
    "profile",
    "trace",
    "operator",
    "functools",
    "itertools",
    "run",
    "site",
    "copyreg",
    "asyncio",
    "logging",
    "glob",
    "ast",
    "remove",
    "download",
    "inspect",
    "signal",
    "threading",
    "resource",
    "rename",
    "commands",
    "gc",
];

/// Whether an identifier in somebody's bytecode or source reaches for more than arithmetic, and which rule that is.
pub(crate) fn hostile_identifier(word: &str) -> Option<Rule> {
    if REACHES.contains(&word) {
        return Some(Rule::ResolvesAttributes);
    }
    if INNOCENT.contains(&word) {
        return None;
    }
    let tables = NAMES.iter().chain(MODULES);
    let mut rows = tables.filter(|(_, words)| words.contains(&word));
    rows.next().map(|(rule, _)| *rule)
}

/// Whether a text that should be a value is Python or shell that does something; the reason, if so.
///
/// Some loaders evaluate values of metadata. The test asks for a call together with a name that reaches for more.
pub(crate) fn is_code(text: &str) -> bool {
    const CALLS: &[&str] = &[
        "__import__(",
        "eval(",
        "exec(",
        "os.system(",
        "os.popen(",
        "subprocess.",
        "importlib.",
        "pickle.loads(",
        "builtins.",
        "__subclasses__(",
        "__globals__",
        "compile(",
        "open(",
        "socket.socket(",
        "pty.spawn(",
    ];
    let dense: String = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .collect();
    dense.contains('(') && CALLS.iter().any(|call| dense.contains(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_calls_are_told_by_what_they_do() {
        let of = |module, name| effect(module, name).map(|effect| (effect.rule, effect.weight));
        assert_eq!(
            of("os", "system"),
            Some((Rule::RunsCommand, Weight::Dangerous))
        );
        assert_eq!(
            of("builtins", "eval"),
            Some((Rule::RunsCode, Weight::Dangerous))
        );
        assert_eq!(
            of("numpy", "load"),
            Some((Rule::LoadsMore, Weight::Dangerous))
        );
        assert_eq!(
            of("math", "sqrt"),
            Some((Rule::UnneededCall, Weight::Unknown))
        );
        assert_eq!(of("my_project.layers", "Gate"), None);
    }

    #[test]
    fn plain_texts_are_no_code() {
        assert!(is_code("__import__('os').system('x')") && is_code("eval ( 'x' )"));
        for text in [
            "{0: 'person', 1: 'car'}",
            "exported (v2) by torch",
            "open the gate",
            "f(x) = x",
        ] {
            assert!(!is_code(text), "{text}");
        }
    }
}
