//! What the engines of chat templates offer, and which names no template needs.

use domain::scan::Weight;

/// Functions that renderers of chat templates offer, and those that badly written templates expect of Python.
const FUNCTIONS: [&str; 32] = [
    "raise_exception",
    "strftime_now",
    "range",
    "namespace",
    "dict",
    "cycler",
    "joiner",
    "loop",
    "caller",
    "super",
    "lipsum",
    "len",
    "str",
    "int",
    "float",
    "bool",
    "list",
    "tuple",
    "set",
    "min",
    "max",
    "sum",
    "abs",
    "enumerate",
    "zip",
    "sorted",
    "reversed",
    "isinstance",
    "tojson",
    "gettext",
    "_",
    "repr",
];

/// Methods of texts, lists, dicts, dates and loops.
const METHODS: [&str; 72] = [
    "append",
    "capitalize",
    "casefold",
    "center",
    "changed",
    "clear",
    "copy",
    "count",
    "cycle",
    "date",
    "encode",
    "endswith",
    "expandtabs",
    "extend",
    "find",
    "format",
    "get",
    "index",
    "insert",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isoformat",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "items",
    "join",
    "keys",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "next",
    "partition",
    "pop",
    "popitem",
    "remove",
    "removeprefix",
    "removesuffix",
    "replace",
    "reset",
    "reverse",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "setdefault",
    "sort",
    "split",
    "splitlines",
    "startswith",
    "strftime",
    "strip",
    "swapcase",
    "title",
    "to_dict",
    "tojson",
    "translate",
    "union",
    "update",
    "upper",
    "values",
    "zfill",
];

/// Functions of Python that a template has no honest way to call.
const POWERS: [&str; 32] = [
    "__import__",
    "import_module",
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "getattr",
    "setattr",
    "delattr",
    "globals",
    "locals",
    "vars",
    "breakpoint",
    "system",
    "popen",
    "Popen",
    "spawn",
    "check_output",
    "check_call",
    "getoutput",
    "run_module",
    "urlopen",
    "urlretrieve",
    "loads",
    "read_text",
    "write_text",
    "unlink",
    "rmtree",
    "mro",
    "load_module",
    "exec_module",
];

/// Attributes of functions, frames and code that lead out of a sandbox and have no underscores.
const INNARDS: [&str; 24] = [
    "format_map",
    "mro",
    "func_globals",
    "func_code",
    "func_closure",
    "func_defaults",
    "im_func",
    "im_self",
    "im_class",
    "gi_frame",
    "gi_code",
    "gi_yieldfrom",
    "cr_frame",
    "cr_code",
    "ag_frame",
    "ag_code",
    "f_globals",
    "f_locals",
    "f_builtins",
    "f_back",
    "f_code",
    "tb_frame",
    "tb_next",
    "co_code",
];

/// Names that template engines of web servers offer and that lead to their machinery.
const DOORS: [&str; 8] = [
    "self",
    "request",
    "config",
    "url_for",
    "get_flashed_messages",
    "lipsum",
    "session",
    "g",
];

/// Names that a renderer fills with the conversation.
const MESSAGES: [&str; 7] = [
    "messages",
    "conversation",
    "conversations",
    "history",
    "chat_history",
    "chat",
    "dialog",
];

/// Names that a renderer fills with what a user says.
const SAID: [&str; 12] = [
    "message",
    "prompt",
    "query",
    "question",
    "user_message",
    "user_input",
    "user_prompt",
    "input",
    "instruction",
    "text",
    "content",
    "user",
];

/// Keys of a message under which its text stands.
const TEXT_KEYS: [&str; 8] = [
    "content", "text", "value", "parts", "input", "prompt", "query", "message",
];

/// Keys of parts of a message, which templates ask for to tell texts from pictures.
const PART_KEYS: [&str; 20] = [
    "text",
    "image",
    "images",
    "image_url",
    "video",
    "video_url",
    "audio",
    "audio_url",
    "input_audio",
    "type",
    "content",
    "file",
    "document",
    "name",
    "role",
    "thinking",
    "arguments",
    "function",
    "parameters",
    "value",
];

/// How an attribute of this name weighs; `None` for ordinary ones.
pub(super) fn attribute(name: &str) -> Option<Weight> {
    let name = name.trim();
    let inner = name.contains("__") || INNARDS.contains(&name);
    if inner {
        return Some(Weight::Dangerous);
    }
    name.starts_with('_').then_some(Weight::Unknown)
}

/// Where `text` names internals of Python, if it does: a word with two underscores at both ends.
pub(super) fn internals(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find("__") {
        let start = from + at;
        let rest = text.get(start..)?;
        let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric());
        let word = rest.get(..end.unwrap_or(rest.len()))?;
        let inner = word.trim_matches('_');
        if word.ends_with("__") && inner.chars().next().is_some_and(char::is_lowercase) {
            return Some(start);
        }
        from = start + word.len();
    }
    None
}

pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

pub(super) fn is_method(name: &str) -> bool {
    METHODS.contains(&name)
}

pub(super) fn is_power(name: &str) -> bool {
    POWERS.contains(&name)
}

pub(super) fn is_door(name: &str) -> bool {
    DOORS.contains(&name)
}

pub(super) fn is_messages(name: &str) -> bool {
    MESSAGES.contains(&name)
}

pub(super) fn is_said(name: &str) -> bool {
    SAID.contains(&name)
}

pub(super) fn is_text_key(name: &str) -> bool {
    TEXT_KEYS.contains(&name)
}

pub(super) fn is_part_key(name: &str) -> bool {
    PART_KEYS.contains(&name)
}
