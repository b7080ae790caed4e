//! What runs in the job's memory, held against what its files compile to and against whose files they are.
//!
//! The sensor tells facts (`domain::memory`): claims. Here each is joined with two things that the job does not have in its
//! hands: the code that its own interpreter makes of the file, in a process beside it ([`reference`]), and the scan of the
//! environment, which says to which package a file belongs. A fact waits until both are known; [`judge`] is pure.
//! What was told is kept as a blob whether it means anything or not, so that two runs can be compared.

mod judge;
mod kept;
mod reference;
mod waiting;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use domain::entry::{Kind, Load};
use domain::memory::MemoryFact;
use domain::{Body, PathText, Rule, Tier};
use host::job::Helpers;
use ledger::Store;

use self::judge::Judge;
use self::reference::{Reference, Table, Worker};
use self::waiting::{Waiting, is_urgent};
use super::environment::Owned;
use super::event::{Connection, Event};
use super::process::Member;
use super::recorder::Recorder;

pub(super) use self::reference::{Answered, Compiler};

/// Facts of one process that are kept.
const FACTS_MAX: usize = 200_000;
/// Files that are compiled for one interpreter.
const FILES_MAX: usize = 20_000;
/// Findings about memory in one run; the rest is counted.
const FINDINGS_MAX: usize = 40;

/// Why a module was not compared: the next run goes on, because what was compiled is kept.
const PENDING: &str = "not compiled before the run ended";

/// How the code of modules begins its path that are part of the interpreter itself.
const FROZEN: &str = "<frozen ";

/// Whose a piece of code is, by the file that it says it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// The sensor's own.
    Ours,
    /// Python's own library.
    Stdlib,
    /// An installed package's.
    Package(String),
    /// A file among the packages that none of them owns.
    Nobody,
    /// A file outside of every environment: the project's.
    Project,
    /// No file.
    Nowhere,
}

/// A fact with who told it and when.
struct Told {
    connection: Connection,
    compiler: Compiler,
    step: Option<u64>,
    /// When its process said hello, microseconds since 1970.
    began_us: i64,
    cwd: PathBuf,
    fact: MemoryFact,
}

/// All that is known of the memory of a run's processes.
pub(super) struct Memory {
    sensor: PathBuf,
    cache: PathBuf,
    helpers: Helpers,
    events: Sender<Event>,
    references: BTreeMap<Compiler, Reference>,
    tables: BTreeMap<Compiler, BTreeMap<PathText, Option<Answered>>>,
    waiting: Waiting,
    /// Facts as JSON lines, by process.
    kept: HashMap<Connection, (usize, Vec<u8>)>,
    /// What was found already, by any process: the rule, where, and which code.
    told: BTreeSet<(judge::Key, Option<(PathText, String)>)>,
    untold: u64,
    gaps: BTreeSet<String>,
    outstanding: usize,
    /// Modules that were not compared because the code of their files was not there in time.
    pending: BTreeSet<String>,
}

impl Memory {
    pub(super) fn new(
        sensor: &Path,
        store: &Store,
        helpers: Helpers,
        events: Sender<Event>,
    ) -> Self {
        Self {
            cache: store.root().join("cache/compiled"),
            sensor: sensor.to_owned(),
            helpers,
            events,
            references: BTreeMap::new(),
            tables: BTreeMap::new(),
            waiting: Waiting::default(),
            kept: HashMap::new(),
            told: BTreeSet::new(),
            untold: 0,
            gaps: BTreeSet::new(),
            outstanding: 0,
            pending: BTreeSet::new(),
        }
    }

    /// Files that are still to be compiled.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// A file was compiled.
    pub(super) fn compiled(&mut self, compiler: Compiler, path: PathText, answered: Answered) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.waiting.answered(&compiler, &path);
        self.tables
            .entry(compiler)
            .or_default()
            .insert(path, Some(answered));
    }

    /// Keeps a fact, and has the files compiled that it needs.
    fn hear(&mut self, told: Told) {
        let urgent = is_urgent(&told.fact);
        let files: BTreeSet<_> = judge::files(&told.fact)
            .into_iter()
            .filter_map(|path| absolute(&told.cwd, path))
            .collect();
        let mut missing = Vec::new();
        for path in files {
            let known = self.tables.entry(told.compiler.clone()).or_default();
            let asked = match known.get(&path) {
                Some(Some(_)) => continue,
                Some(None) => true,
                None if known.len() >= FILES_MAX => continue,
                None => false,
            };
            if !asked {
                known.insert(path.clone(), None);
                self.outstanding += 1;
            }
            if !asked || urgent {
                self.ask(&told.compiler, &path, urgent);
            }
            missing.push(path);
        }
        self.waiting.add(told, missing);
    }

    fn ask(&mut self, compiler: &Compiler, path: &PathText, urgent: bool) {
        if !self.references.contains_key(compiler) {
            let worker = Worker::new(
                compiler.clone(),
                &self.sensor,
                self.cache.clone(),
                self.helpers.clone(),
            );
            let reference = Reference::start(worker, self.events.clone());
            self.references.insert(compiler.clone(), reference);
        }
        if let Some(reference) = self.references.get(compiler) {
            reference.ask(path, urgent);
        }
    }

    fn keep(&mut self, connection: Connection, fact: &MemoryFact) {
        let (count, lines) = self.kept.entry(connection).or_default();
        *count += 1;
        if *count <= FACTS_MAX && serde_json::to_writer(&mut *lines, fact).is_ok() {
            lines.push(b'\n');
        }
    }
}

/// Whether an interpreter was started with its program as text: `-c` among its own options, not among the program's words.
fn is_from_text(argv: &[PathText]) -> bool {
    let mut words = argv.iter().skip(1).map(PathText::as_str);
    while let Some(word) = words.next() {
        match word {
            "-W" | "-X" => drop(words.next()),
            word if word.starts_with("-W") || word.starts_with("-X") => {}
            word if !word.starts_with('-') || word.starts_with("--") || word == "-" => {
                return false;
            }
            // Options of one letter can stand together; the last one may be this.
            word if word.contains('c') && !word.contains('m') => return true,
            word if word.contains('m') => return false,
            _ => {}
        }
    }
    false
}

/// The path of code as an absolute one; `None` for what names no file.
fn absolute(cwd: &Path, path: &PathText) -> Option<PathText> {
    let text = path.as_str();
    if text.starts_with('/') || text.starts_with(FROZEN) {
        return Some(path.clone());
    }
    if text.is_empty() || text.starts_with('<') {
        return None;
    }
    let bytes = [cwd.as_os_str().as_encoded_bytes(), b"/", &path.to_bytes()].concat();
    Some(PathText::from_bytes(&bytes))
}

impl Recorder<'_> {
    /// A process told what stands in its memory.
    pub(super) fn heard_memory(
        &mut self,
        connection: Connection,
        step: Option<u64>,
        optimize: u8,
        facts: Vec<MemoryFact>,
    ) {
        let Some(member) = self.members.get(&connection) else {
            return;
        };
        let Some(hello) = &member.hello else { return };
        let path = |text: &PathText| {
            use std::os::unix::ffi::OsStringExt as _;
            PathBuf::from(std::ffi::OsString::from_vec(text.to_bytes()))
        };
        let compiler = Compiler {
            executable: path(&hello.executable),
            python: hello.python.clone(),
            optimize,
        };
        let (began_us, cwd) = (member.hello_us, path(&hello.cwd));
        for fact in facts {
            self.memory.keep(connection, &fact);
            let told = Told {
                connection,
                compiler: compiler.clone(),
                step,
                began_us,
                cwd: cwd.clone(),
                fact,
            };
            self.memory.hear(told);
        }
    }

    /// Judges the facts for which all is known; `last` judges the rest with what is.
    pub(super) fn judge_memory(&mut self, last: bool) {
        if self.memory.waiting.is_empty() {
            return;
        }
        if self.environments.outstanding() > 0 {
            if last {
                let why = "whose code it is was not known: the scan of the environment did not end";
                self.gap("what stands in memory", why);
            }
            return;
        }
        for told in self.memory.waiting.take(last) {
            self.judge_fact(&told);
        }
    }

    fn judge_fact(&mut self, told: &Told) {
        let judged = {
            let whose = |path: &PathText| self.whose(&told.cwd, path);
            let none = BTreeMap::new();
            let tables = self.memory.tables.get(&told.compiler).unwrap_or(&none);
            let table = |path: &PathText| -> Result<&Table, String> {
                let path = absolute(&told.cwd, path).ok_or("it names no file")?;
                match tables.get(&path) {
                    Some(Some(Ok(table))) => self.comparable(told.began_us, &path, table),
                    Some(Some(Err(why))) => Err(why.clone()),
                    Some(None) | None => Err(PENDING.to_owned()),
                }
            };
            let program = self
                .members
                .get(&told.connection)
                .and_then(|member| member.hello.as_ref())
                .is_some_and(|hello| is_from_text(&hello.argv));
            Judge {
                whose: &whose,
                table: &table,
                program_has_no_file: program,
            }
            .judge(&told.fact)
        };
        for why in judged.gaps {
            if why.1.ends_with(PENDING) {
                self.memory.pending.insert(why.0);
            } else if self.memory.gaps.len() < 200 && self.memory.gaps.insert(why.0.clone()) {
                self.gap(&why.0, &why.1);
            }
        }
        let rank = self.members.get(&told.connection).and_then(Member::rank);
        for found in judged.found {
            // That code was set in place and that it is other code is one finding; other code at the same name is another.
            let code = found.code.as_ref();
            let code = code.filter(|_| found.key.0 != Rule::CodeInMemory);
            let code = code.map(|(code, _)| (code.file.clone(), code.digest.clone()));
            if !self.memory.told.insert((found.key.clone(), code)) {
                continue;
            }
            if self.memory.told.len() > FINDINGS_MAX {
                self.memory.untold += 1;
                continue;
            }
            let finding = words::finding(&found, told.step, rank);
            self.finding(finding);
            self.flush();
        }
    }

    /// The table if the file is still the one that was imported.
    fn comparable<'t>(
        &self,
        began_us: i64,
        path: &PathText,
        table: &'t Table,
    ) -> Result<&'t Table, String> {
        if table.changed_us <= began_us {
            return Ok(table);
        }
        let recorded = match self.environments.node(path) {
            Some((_, domain::Node::File { digest, .. })) => Some(digest),
            _ => self.loose.get(path).map(|(digest, _)| *digest),
        };
        if recorded.is_some() && recorded == table.source {
            return Ok(table);
        }
        Err("the file changed since the process began".to_owned())
    }

    fn whose(&self, cwd: &Path, path: &PathText) -> Whose {
        let Some(path) = absolute(cwd, path) else {
            return Whose::Nowhere;
        };
        if path.as_str().starts_with(FROZEN) {
            return Whose::Stdlib;
        }
        let bytes = path.to_bytes();
        let ours = self.memory.sensor.as_os_str().as_encoded_bytes();
        if bytes
            .strip_prefix(ours)
            .is_some_and(|rest| rest.starts_with(b"/"))
        {
            return Whose::Ours;
        }
        match self.environments.owner(&path) {
            Some(Owned::Stdlib) => Whose::Stdlib,
            Some(Owned::Package(name)) => Whose::Package(name),
            Some(Owned::Nobody) => Whose::Nobody,
            None if super::files::exists(&path) => Whose::Project,
            None => Whose::Nowhere,
        }
    }

    /// What was told, as one blob a process.
    pub(super) fn record_memory(&mut self) {
        if self.memory.untold > 0 {
            let what = format!("{} more findings about memory", self.memory.untold);
            self.gap(
                &what,
                "only the first are told one by one; the record has the facts",
            );
        }
        let pending = std::mem::take(&mut self.memory.pending);
        if !pending.is_empty() {
            let what = format!("functions of {} modules in memory", pending.len());
            self.gap(
                &what,
                "pending: their files were not compiled before the run ended; the next run goes on with them",
            );
        }
        for (connection, (count, lines)) in std::mem::take(&mut self.memory.kept) {
            let Some(member) = self.members.get(&connection) else {
                continue;
            };
            let (process, rank) = (member.process.clone(), member.rank());
            let digest = self.journal.blob(&lines);
            let load = Load {
                what: Kind::Memory,
                path: PathText::from_text(&format!("{count} facts")),
                digest,
                stored: digest.is_some(),
                identity: None,
                process: Some(process),
                rank,
                step: None,
                summary: None,
                examined: None,
            };
            self.journal
                .record_at(Tier::InProcess, host::clock::wall_us(), Body::Load(load));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_given_as_text_is_told_from_a_word_of_the_program() {
        let is = |words: &[&str]| {
            let argv: Vec<_> = words.iter().map(|word| PathText::from_text(word)).collect();
            is_from_text(&argv)
        };
        assert!(is(&["python", "-c", "import torch"]));
        assert!(is(&[
            "python",
            "-X",
            "dev",
            "-W",
            "error",
            "-Ic",
            "import torch"
        ]));
        assert!(!is(&["python", "train.py", "-c", "settings.yaml"]));
        assert!(!is(&["python", "-Wignore::DeprecationWarning", "train.py"]));
        assert!(!is(&["python", "-m", "project", "-c", "settings.yaml"]));
        assert!(!is(&["python", "-um", "project", "-c"]));
        assert!(!is(&["python", "-"]));
    }
}
