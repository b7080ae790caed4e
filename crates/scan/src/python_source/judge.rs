//! A module from top to bottom: what each call does, and when it runs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use domain::scan::{Rule, Weight};
use formats::python::{self, Expr, Kind, Module, Statement, StatementKind};

use super::When;
use super::effects::effect;
use super::fold::{Bound, Names};
use super::loaded::{is_loaded, is_model};
use super::reach::{Functions, bind, calls_of, functions_of, is_main};

/// Remarks that are kept.
const MAX_REMARKS: usize = 64;
/// Source in source that is followed.
const MAX_NESTED: usize = 3;
/// Values that are looked through for one call.
const MAX_LOOKED: u32 = 2_000;
/// Functions that loaders, servers and hubs call because every such file has them.
const CONTRACTS: [&str; 36] = [
    "__init__",
    "__new__",
    "__call__",
    "__del__",
    "__getattr__",
    "__getattribute__",
    "__setattr__",
    "__init_subclass__",
    "__set_name__",
    "__class_getitem__",
    "__reduce__",
    "__reduce_ex__",
    "__setstate__",
    "__post_init__",
    "__enter__",
    "__exit__",
    "__prepare__",
    "initialize",
    "handle",
    "preprocess",
    "inference",
    "postprocess",
    "predict",
    "execute",
    "load_model",
    "model_fn",
    "input_fn",
    "predict_fn",
    "output_fn",
    "forward",
    "from_pretrained",
    "generate",
    "load",
    "load_state_dict",
    "_load_from_state_dict",
    "load_context",
];
/// Programs that models honestly call and that run no code of others.
const TOOLS: [&str; 16] = [
    "ffmpeg",
    "ffprobe",
    "sox",
    "git",
    "nvidia-smi",
    "gcc",
    "g++",
    "cc",
    "c++",
    "nvcc",
    "clang",
    "ninja",
    "cmake",
    "uname",
    "which",
    "ldconfig",
];
/// Where a file has no honest business.
const SENSITIVE: [&str; 16] = [
    ".bashrc",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".ssh",
    "authorized_keys",
    "crontab",
    "/etc/",
    "site-packages",
    "sitecustomize",
    "usercustomize",
    "autostart",
    "LaunchAgents",
    ".aws/",
    ".netrc",
    "/proc/self",
];

/// Something about a module, with its offset in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) rule: Rule,
    pub(super) weight: Weight,
    pub(super) offset: usize,
    pub(super) why: String,
}

/// All remarks on a module whose top runs at `when`.
pub(super) fn remarks(module: &Module, name: &str, when: When) -> Vec<Remark> {
    nested(module, name, when, 0)
}

fn nested(module: &Module, name: &str, when: When, depth: usize) -> Vec<Remark> {
    let mut names = Names::default();
    bind(&module.body, &mut names);
    let mut functions = BTreeMap::new();
    functions_of(&module.body, &mut functions);
    let mut judge = Judge {
        names: &names,
        functions: &functions,
        top: when,
        loaded: depth > 0
            || when < When::Import
            || is_loaded(name)
            || module.body.iter().any(is_model),
        reached: BTreeMap::new(),
        build: matches!(name, "setup.py" | "conftest.py" | "build.py"),
        depth,
        looked: Cell::new(0),
        remarks: Vec::new(),
    };
    judge.reach(&module.body, name);
    judge.statements(&module.body, when);
    if names.steps.are_spent() {
        let why = "its names refer to each other more often than is followed";
        judge.say(Rule::Bomb, Weight::Unknown, 0, why);
    }
    judge.remarks
}

struct Judge<'m, 'n> {
    names: &'n Names<'m>,
    functions: &'n Functions<'m>,
    top: When,
    /// Whether loaders of models run such a file by themselves, and so what its functions do counts although nothing in
    /// it calls them.
    loaded: bool,
    /// When each function runs.
    reached: BTreeMap<&'m str, When>,
    /// Whether the file builds a package and is no part of one.
    build: bool,
    depth: usize,
    /// Values that were looked through for the present call.
    looked: Cell<u32>,
    remarks: Vec<Remark>,
}

impl<'m> Judge<'m, '_> {
    /// When the functions of the file run: what is called at a time runs at that time.
    fn reach(&mut self, body: &'m [Statement], name: &str) {
        let mut work: Vec<(&'m str, When)> = Vec::new();
        let mut called = BTreeSet::new();
        calls_of(body, self.functions, &mut called, false);
        work.extend(called.iter().map(|name| (*name, self.top)));
        for function in self.functions.keys() {
            let hub = name == "hubconf.py" && !function.starts_with('_');
            if self.loaded && (CONTRACTS.contains(function) || hub) {
                work.push((function, When::Contract.min(self.top)));
            }
        }
        while let Some((function, when)) = work.pop() {
            if self
                .reached
                .get(function)
                .is_some_and(|known| *known >= when)
            {
                continue;
            }
            self.reached.insert(function, when);
            for body in self.functions.get(function).into_iter().flatten() {
                let mut called = BTreeSet::new();
                calls_of(body, self.functions, &mut called, true);
                work.extend(called.iter().map(|name| (*name, when)));
            }
        }
    }

    fn statements(&mut self, body: &'m [Statement], when: When) {
        for statement in body {
            self.statement(statement, when);
        }
    }

    fn statement(&mut self, statement: &'m Statement, when: When) {
        match &statement.kind {
            StatementKind::Function {
                name,
                evaluated,
                body,
                ..
            } => {
                self.all(evaluated, when);
                let called = self.reached.get(name.as_str()).copied();
                let uncalled = if self.loaded {
                    When::Called
                } else {
                    When::Script
                };
                self.statements(body, called.unwrap_or(uncalled.min(self.top)));
            }
            StatementKind::If {
                test,
                body,
                otherwise,
            } => {
                self.expression(test, when);
                let inner = if is_main(test) { When::Script } else { when };
                self.statements(body, inner);
                self.statements(otherwise, when);
            }
            StatementKind::Class {
                evaluated, body, ..
            }
            | StatementKind::Block { evaluated, body } => {
                self.all(evaluated, when);
                self.statements(body, when);
            }
            StatementKind::Assign { targets, value } => {
                self.expression(value, when);
                for target in targets {
                    self.expression(target, when);
                    self.patch(target, value, when);
                }
            }
            StatementKind::Evaluate(values) => self.all(values, when),
            StatementKind::Import(modules) => {
                for (module, _) in modules {
                    self.import(module, statement.offset);
                }
            }
            StatementKind::From { module, .. } => self.import(module, statement.offset),
        }
    }

    fn import(&mut self, module: &str, offset: usize) {
        if module.starts_with("pyarmor_runtime") || module.starts_with("pytransform") {
            let why = "its code is encrypted and is decrypted as it runs";
            self.say(Rule::RunsCode, Weight::Unknown, offset, why);
        }
    }

    fn all(&mut self, values: &'m [Expr], when: When) {
        for value in values {
            self.expression(value, when);
        }
    }

    fn expression(&mut self, expr: &'m Expr, when: When) {
        match &expr.kind {
            Kind::Lambda(body) => {
                return self.expression(body, when.min(When::Called));
            }
            Kind::Call(called, arguments) => self.call(expr, called, arguments, when),
            Kind::Attribute(base, name) => self.walks(expr, base, name, when),
            _ => {}
        }
        for child in expr.children() {
            self.expression(child, when);
        }
        // A lambda that is called on the spot runs on the spot.
        if let Kind::Call(called, _) = &expr.kind
            && let Kind::Lambda(body) = &called.kind
        {
            self.expression(body, when);
        }
    }

    fn call(
        &mut self,
        expr: &'m Expr,
        called: &'m Expr,
        arguments: &'m [(Option<String>, Expr)],
        when: When,
    ) {
        let Some(path) = self.names.path(called) else {
            return;
        };
        self.looked.set(0);
        if path == "builtins.open"
            || path.ends_with(".write_text")
            || path.ends_with(".write_bytes")
        {
            return self.opens(expr, arguments, when);
        }
        if path == "builtins.setattr" {
            if let [(_, base), _, (_, value), ..] = arguments {
                self.patched(expr, base, value, when);
            }
            return;
        }
        if path == "builtins.getattr" {
            return self.computed(expr, arguments, when);
        }
        self.looked.set(0);
        let Some(rule) = effect(&path) else { return };
        match rule {
            Rule::RunsCode => self.runs_code(expr, &path, arguments, when),
            Rule::RunsCommand => self.runs_command(expr, &path, arguments, when),
            Rule::LoadsMore => self.loads_more(expr, &path, arguments, when),
            Rule::ImportsCode => self.imports(expr, &path, arguments, when),
            Rule::OpensNetwork => self.network(expr, &path, arguments, when),
            _ => self.plainly(rule, expr, &path, when),
        }
    }

    fn plainly(&mut self, rule: Rule, expr: &Expr, path: &str, when: When) {
        let weight = match (rule, when) {
            (Rule::LoadsNative, When::Import) => Weight::Dangerous,
            (Rule::LoadsNative | Rule::DisturbsProcess, When::Contract) | (_, When::Import) => {
                Weight::Unknown
            }
            _ => Weight::Note,
        };
        let weight = if path.contains("cpp_extension") || self.build {
            weight.min(Weight::Unknown)
        } else {
            weight
        };
        self.say(rule, weight, expr.offset, told(path, when));
    }

    fn runs_command(
        &mut self,
        expr: &Expr,
        path: &str,
        arguments: &'m [(Option<String>, Expr)],
        when: When,
    ) {
        let program = arguments.first().and_then(|(_, value)| self.program(value));
        let tool = program.as_deref().is_some_and(|name| TOOLS.contains(&name));
        let weight = match when {
            When::Script => Weight::Note,
            When::Called if tool => Weight::Note,
            When::Called => Weight::Unknown,
            When::Contract | When::Import if tool || self.build => Weight::Unknown,
            When::Contract | When::Import => Weight::Dangerous,
        };
        self.say(Rule::RunsCommand, weight, expr.offset, told(path, when));
    }

    /// The program of a command: the first word of a text, the first item of a list.
    fn program(&self, value: &'m Expr) -> Option<String> {
        let line = match &value.kind {
            Kind::List(items) => self.names.text(items.first()?)?,
            Kind::Format(parts) => self.names.text(parts.first()?)?,
            Kind::Binary("%" | "+", left, _) => self.names.text(left)?,
            Kind::Name(name) => match self.names.bound.get(name.as_str())? {
                Bound::Value(inner) if !matches!(inner.kind, Kind::Name(_)) => {
                    return match &inner.kind {
                        Kind::List(items) => self.names.text(items.first()?),
                        _ => self.names.text(inner),
                    };
                }
                _ => return None,
            },
            Kind::Call(called, _) => match &called.kind {
                Kind::Attribute(base, format) if format == "format" => self.names.text(base)?,
                _ => self.names.text(value)?,
            },
            _ => self.names.text(value)?,
        };
        // A second command behind the first is another program.
        let several = line.contains([';', '|', '&', '`', '$', '\n']);
        let word = line.split_whitespace().next()?;
        (!several).then(|| word.rsplit('/').next().unwrap_or(word).to_owned())
    }

    fn runs_code(
        &mut self,
        expr: &Expr,
        path: &str,
        arguments: &'m [(Option<String>, Expr)],
        when: When,
    ) {
        let code = arguments.first().map(|(_, value)| value);
        let source = code.and_then(|code| self.names.text(code));
        let literal = source.is_some();
        if let Some(source) = source {
            self.follow(&source, expr, when);
            let plain = code.is_some_and(|code| !self.decoded(code, 0));
            if plain && path == "builtins.eval" {
                return;
            }
        }
        let decoded =
            code.is_some_and(|code| self.decoded(code, 0)) || path.starts_with("marshal.");
        let weight = match when {
            When::Script => Weight::Note,
            _ if decoded && when > When::Called => Weight::Dangerous,
            _ if decoded => Weight::Unknown,
            When::Import | When::Contract if !self.build || literal => Weight::Unknown,
            _ => Weight::Note,
        };
        let why = if decoded {
            format!(
                "{}: code that the file brings encoded or fetches",
                told(path, when)
            )
        } else {
            told(path, when)
        };
        self.say(Rule::RunsCode, weight, expr.offset, why);
    }

    /// Source that stands in the source.
    fn follow(&mut self, source: &str, expr: &Expr, when: When) {
        if self.depth >= MAX_NESTED {
            return;
        }
        let module = python::parse(source);
        for remark in nested(&module, "", when, self.depth + 1) {
            let why = format!("in code that it runs: {}", remark.why);
            self.say(remark.rule, remark.weight, expr.offset, why);
        }
    }

    fn loads_more(
        &mut self,
        expr: &Expr,
        path: &str,
        arguments: &'m [(Option<String>, Expr)],
        when: When,
    ) {
        let data = arguments.first().map(|(_, value)| value);
        let brought = data.is_some_and(|data| {
            self.decoded(data, 0)
                || matches!(data.kind, Kind::Bytes(_))
                || self.names.text(data).is_some()
        });
        let pickle = path.contains("pickle") || path.contains("dill");
        let (rule, weight) = if brought && pickle && path.contains("loads") {
            (
                Rule::RunsCode,
                if when > When::Called {
                    Weight::Dangerous
                } else {
                    Weight::Unknown
                },
            )
        } else if when == When::Import {
            (Rule::LoadsMore, Weight::Unknown)
        } else {
            (Rule::LoadsMore, Weight::Note)
        };
        self.say(rule, weight, expr.offset, told(path, when));
    }

    fn imports(
        &mut self,
        expr: &Expr,
        path: &str,
        arguments: &'m [(Option<String>, Expr)],
        when: When,
    ) {
        let name = arguments.first().map(|(_, value)| value);
        let known = name.and_then(|name| self.names.text(name));
        let weight = match known {
            None if name.is_some_and(|name| self.decoded(name, 0)) => Weight::Unknown,
            None if when == When::Import && !self.build && path.contains("import") => {
                Weight::Unknown
            }
            _ => Weight::Note,
        };
        self.say(Rule::ImportsCode, weight, expr.offset, told(path, when));
    }

    fn network(
        &mut self,
        expr: &Expr,
        path: &str,
        arguments: &'m [(Option<String>, Expr)],
        when: When,
    ) {
        let secrets = arguments
            .iter()
            .any(|(_, value)| self.tells_secrets(value, 0));
        let raw = path.starts_with("socket.") || path.starts_with("_socket.");
        let weight = match when {
            When::Import | When::Contract if secrets || raw => Weight::Dangerous,
            When::Import => Weight::Unknown,
            When::Called if secrets || raw => Weight::Unknown,
            _ => Weight::Note,
        };
        let why = if secrets {
            format!(
                "{}, and sends what it knows of this machine",
                told(path, when)
            )
        } else {
            told(path, when)
        };
        self.say(Rule::OpensNetwork, weight, expr.offset, why);
    }

    /// Whether a value tells of the machine, its user or the environment.
    fn tells_secrets(&self, expr: &'m Expr, depth: usize) -> bool {
        if depth > 12 || !self.may_go_on() {
            return false;
        }
        let path = self.names.path(expr).unwrap_or_default();
        let told = [
            "os.environ",
            "os.getenv",
            "getpass.",
            "platform.",
            "socket.gethost",
            "os.uname",
            "os.getlogin",
        ];
        if told.iter().any(|prefix| path.starts_with(prefix)) {
            return true;
        }
        let through = match &expr.kind {
            Kind::Name(name) => match self.names.bound.get(name.as_str()) {
                Some(Bound::Value(value)) => self.tells_secrets(value, depth + 4),
                _ => false,
            },
            _ => false,
        };
        through
            || expr
                .children()
                .into_iter()
                .any(|child| self.tells_secrets(child, depth + 1))
    }

    fn opens(&mut self, expr: &Expr, arguments: &'m [(Option<String>, Expr)], when: When) {
        let sensitive = arguments
            .iter()
            .any(|(_, value)| self.mentions_sensitive(value, 0));
        if sensitive && when > When::Script {
            let weight = if when > When::Called {
                Weight::Dangerous
            } else {
                Weight::Unknown
            };
            let why = "it opens a file that belongs to the user or to the system";
            self.say(Rule::TouchesFiles, weight, expr.offset, why);
        }
    }

    fn mentions_sensitive(&self, expr: &'m Expr, depth: usize) -> bool {
        let text = match &expr.kind {
            Kind::Text(text) => Some(text.clone()),
            _ => self.names.text(expr),
        };
        let here = text.is_some_and(|text| SENSITIVE.iter().any(|place| text.contains(place)));
        here || (depth < 12
            && self.may_go_on()
            && expr
                .children()
                .into_iter()
                .any(|child| self.mentions_sensitive(child, depth + 1)))
    }

    /// `getattr(os, …)` with a name that does not follow from the file.
    fn computed(&mut self, expr: &Expr, arguments: &'m [(Option<String>, Expr)], when: When) {
        const POWERFUL: [&str; 8] = [
            "os",
            "sys",
            "builtins",
            "subprocess",
            "importlib",
            "ctypes",
            "socket",
            "posix",
        ];
        let [(_, base), (_, name), ..] = arguments else {
            return;
        };
        let base = self.names.path(base).unwrap_or_default();
        if POWERFUL.contains(&base.as_str())
            && self.names.text(name).is_none()
            && when > When::Script
        {
            let weight = if when > When::Called {
                Weight::Unknown
            } else {
                Weight::Note
            };
            let why = format!("it takes something out of {base:?} by a name that it computes");
            self.say(Rule::ComputedName, weight, expr.offset, why);
        }
    }

    /// Attributes that lead from any object to all of Python.
    fn walks(&mut self, expr: &Expr, base: &Expr, name: &str, when: When) {
        const STEPS: [&str; 6] = [
            "__subclasses__",
            "__globals__",
            "__builtins__",
            "f_globals",
            "func_globals",
            "__loader__",
        ];
        if !STEPS.contains(&name) {
            return;
        }
        let mut root = base;
        while let Kind::Attribute(next, _) | Kind::Item(next, _) | Kind::Call(next, _) = &root.kind
        {
            root = next;
        }
        let from_nothing = !matches!(root.kind, Kind::Name(_));
        let weight = match when {
            When::Import | When::Contract if from_nothing => Weight::Dangerous,
            When::Import => Weight::Unknown,
            _ => Weight::Note,
        };
        let why = format!("it walks through {name:?}");
        self.say(Rule::ResolvesAttributes, weight, expr.offset, why);
    }

    /// `module.name = value`.
    fn patch(&mut self, target: &'m Expr, value: &'m Expr, when: When) {
        match &target.kind {
            Kind::Attribute(base, _) => self.patched(target, base, value, when),
            Kind::Item(base, _) if self.names.path(base).as_deref() == Some("sys.modules") => {
                let weight = if when == When::Import {
                    Weight::Unknown
                } else {
                    Weight::Note
                };
                let why = "it puts a module of its own in the place of another";
                self.say(Rule::PatchesModule, weight, target.offset, why);
            }
            _ => {}
        }
    }

    fn patched(&mut self, at: &Expr, base: &'m Expr, value: &'m Expr, when: When) {
        let function = match &value.kind {
            Kind::Lambda(_) => true,
            Kind::Name(name) => {
                self.functions.contains_key(name.as_str())
                    || matches!(self.names.bound.get(name.as_str()), Some(Bound::Own))
            }
            _ => false,
        };
        // What is reached by a call is an object of the file's own.
        let Some(path) = self
            .names
            .path(base)
            .filter(|path| function && !path.contains('('))
        else {
            return;
        };
        let weight = if when == When::Import {
            Weight::Unknown
        } else {
            Weight::Note
        };
        let why = format!("it replaces a part of {path:?} for everything that runs afterwards");
        self.say(Rule::PatchesModule, weight, at.offset, why);
    }

    /// Whether a value comes out of an encoding, out of the network, or out of characters put together.
    fn decoded(&self, expr: &'m Expr, depth: usize) -> bool {
        if depth > 10 || !self.may_go_on() {
            return false;
        }
        if let Kind::Call(called, _) = &expr.kind {
            if self.names.path(called).is_some_and(|path| decodes(&path)) {
                return true;
            }
            if let Kind::Name(name) = &called.kind
                && let Some(bodies) = self.functions.get(name.as_str())
                && bodies.iter().any(|body| self.body_decodes(body, depth + 3))
            {
                return true;
            }
        }
        if let Kind::Slice(_, [None, None, Some(step)]) = &expr.kind
            && matches!(step.kind, Kind::Int(-1))
        {
            return true;
        }
        if let Kind::Name(name) = &expr.kind
            && let Some(Bound::Value(value)) = self.names.bound.get(name.as_str())
        {
            return self.decoded(value, depth + 2);
        }
        expr.children()
            .into_iter()
            .any(|child| self.decoded(child, depth + 1))
    }

    /// Whether a value may be looked through further: questions about one call are bounded together.
    fn may_go_on(&self) -> bool {
        self.looked.set(self.looked.get() + 1);
        self.looked.get() < MAX_LOOKED
    }

    fn body_decodes(&self, body: &'m [Statement], depth: usize) -> bool {
        body.iter().take(64).any(|statement| match &statement.kind {
            StatementKind::Evaluate(values) => {
                values.iter().any(|value| self.decoded(value, depth))
            }
            StatementKind::Assign { value, .. } => self.decoded(value, depth),
            _ => false,
        })
    }

    fn say(&mut self, rule: Rule, weight: Weight, offset: usize, why: impl Into<String>) {
        let why = why.into();
        if let Some(known) = self
            .remarks
            .iter_mut()
            .find(|known| known.rule == rule && known.offset == offset)
        {
            if known.weight < weight {
                (known.weight, known.why) = (weight, why);
            }
            return;
        }
        if self.remarks.len() >= MAX_REMARKS {
            self.remarks
                .sort_by_key(|known| std::cmp::Reverse(known.weight));
            if self
                .remarks
                .last()
                .is_none_or(|known| known.weight >= weight)
            {
                return;
            }
            self.remarks.pop();
        }
        self.remarks.push(Remark {
            rule,
            weight,
            offset,
            why,
        });
    }
}

fn told(path: &str, when: When) -> String {
    let when = match when {
        When::Import => "as soon as it is imported",
        When::Contract => "when it is loaded or used",
        When::Called => "when it is called",
        When::Script => "as a program",
    };
    format!("it calls `{path}` {when}")
}

/// Functions that undo an encoding or fetch what follows from no file.
fn decodes(path: &str) -> bool {
    const DECODERS: [&str; 14] = [
        "base64.",
        "binascii.",
        "zlib.decompress",
        "bz2.decompress",
        "lzma.decompress",
        "gzip.decompress",
        "codecs.decode",
        "marshal.loads",
        "builtins.chr",
        "builtins.bytes",
        "builtins.bytearray",
        "requests.",
        "urllib.request.",
        "httpx.",
    ];
    DECODERS.iter().any(|prefix| path.starts_with(prefix))
}
