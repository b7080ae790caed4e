//! One byte code file: would it be used, and is it what its source compiles to.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domain::{Digest, PathText};
use environment::compiled::{
    HEADER_BYTES, Header, MAX_CODE_BYTES, MarshalError, Pair, SourceState, Tie, differences, facts,
    meaning,
};
use host::job::Helpers;

use super::compiler::{Build, Compiled, Compiler, CompilerError};
use super::known::{Known, Tied, key};

/// The most bytes of a source.
const MAX_SOURCE_BYTES: u64 = 16 * 1024 * 1024;
/// How often an interpreter that died or hung is started again.
const MAX_DEATHS: u32 = 20;

/// Byte code that would be used and is not its source's.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// Its logical name.
    pub compiled: PathText,
    /// Where it is.
    pub at: PathBuf,
    /// The logical name of its source.
    pub source: PathText,
    /// How it is tied to its source.
    pub tie: Tie,
    /// What is wrong.
    pub fault: Fault,
    /// Digest of the file.
    pub digest: Digest,
}

/// What is wrong with byte code.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is other code; what differs, in words.
    Differs(Vec<String>),
    /// It cannot be read as byte code.
    Unreadable(MarshalError),
    /// Its source is no program of this version of Python; the interpreter's word for that.
    NoProgram(String),
}

impl Wrong {
    /// Why Python uses it.
    pub(crate) fn why_used(&self) -> &'static str {
        match self.tie {
            Tie::Unchecked(_) => "its header has Python use it without a look at the source",
            Tie::Time { .. } => "its header names the source's time and size, so Python uses it",
            Tie::Checked(_) => "its header names the source's hash, so Python uses it",
        }
    }

    /// What is wrong, a line for each difference.
    pub(crate) fn how(&self) -> Vec<String> {
        match &self.fault {
            Fault::Differs(words) => words.clone(),
            Fault::Unreadable(error) => vec![format!("it cannot be read: {error}")],
            Fault::NoProgram(word) => vec![format!("its source does not compile: {word}")],
        }
    }
}

pub(super) enum Verdict {
    Same(Tied),
    Unused,
    Wrong(Box<Wrong>),
    Unknown(String),
}

pub(super) struct Judge {
    compiler: Option<Compiler>,
    build: Build,
    python: PathBuf,
    helpers: Helpers,
    deaths: u32,
    pub(super) known: Known,
}

/// A file as it was read.
struct Whole {
    bytes: Vec<u8>,
    digest: Digest,
    state: SourceState,
}

/// What a source compiles to, as far as it was asked.
struct Expected {
    meaning: Digest,
    /// Absent where it was known.
    fresh: Option<(Vec<u8>, [u8; 8])>,
}

impl Judge {
    pub(super) fn start(
        python: &Path,
        helpers: &Helpers,
        known: Known,
    ) -> Result<Self, CompilerError> {
        let compiler = Compiler::start(python, helpers)?;
        Ok(Self {
            build: compiler.build().clone(),
            compiler: Some(compiler),
            python: python.to_owned(),
            helpers: helpers.clone(),
            deaths: 0,
            known,
        })
    }

    pub(super) fn build(&self) -> &Build {
        &self.build
    }

    /// Nothing is to be compiled for a while: the interpreter goes, and comes back when it is needed.
    pub(super) fn pause(&mut self) {
        if self.compiler.as_ref().is_some_and(|one| !one.is_broken()) {
            self.compiler = None;
        }
    }

    /// How a pair that was judged the same before is tied, if it is this very pair.
    pub(super) fn recall(&self, pair: &Pair) -> Option<Tied> {
        let key = key(&self.build.digest, pair.source_digest.as_ref()?, pair.level);
        self.known.is_match(&key, pair.compiled_digest.as_ref()?)
    }

    /// Whether what is remembered of a source is not what it compiles to now.
    pub(super) fn is_remembered_wrong(&mut self, pair: &Pair) -> bool {
        let Ok(source) = read(&pair.source_at, MAX_SOURCE_BYTES) else {
            return false;
        };
        let key = key(&self.build.digest, &source.digest, pair.level);
        let Some(remembered) = self.known.meaning(&key) else {
            return false;
        };
        let Ok((Compiled::Code(code), _)) = self.compile(&source.bytes, pair) else {
            return false;
        };
        meaning(&code, self.build.dialect).is_ok_and(|fresh| fresh != remembered)
    }

    /// Judges a pair. One that is wrong is read once more: whoever writes both at this moment is no finding.
    pub(super) fn judge(&mut self, pair: &Pair) -> Verdict {
        match self.once(pair) {
            Verdict::Wrong(_) => self.once(pair),
            verdict => verdict,
        }
    }

    fn once(&mut self, pair: &Pair) -> Verdict {
        let limit = (MAX_CODE_BYTES + HEADER_BYTES) as u64;
        let compiled = match read(&pair.compiled_at, limit) {
            Ok(compiled) => compiled,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Verdict::Unused,
            Err(why) => return Verdict::Unknown(why.to_string()),
        };
        let source = match read(&pair.source_at, MAX_SOURCE_BYTES) {
            Ok(source) => source,
            Err(why) => return Verdict::Unknown(format!("its source: {why}")),
        };
        let Ok(header) = Header::read(&compiled.bytes) else {
            return Verdict::Unused;
        };
        if header.fits(self.build.magic, source.state, None).is_err() {
            return Verdict::Unused;
        }
        let body = compiled.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let found = meaning(body, self.build.dialect);
        let key = key(&self.build.digest, &source.digest, pair.level);
        let expected = match (self.known.meaning(&key), &found) {
            // A difference has to be told in words, so it is compiled again.
            (Some(meaning), Ok(found)) if meaning == *found => Ok(Expected {
                meaning,
                fresh: None,
            }),
            _ => match self.expect(&source.bytes, pair) {
                Ok(expected) => expected,
                Err(why) => return Verdict::Unknown(why),
            },
        };
        if let Ok(expected) = &expected {
            self.known.learn_meaning(key, expected.meaning);
            if found == Ok(expected.meaning) {
                let tied = match header.tie {
                    Tie::Unchecked(_) => Tied::Unchecked,
                    Tie::Checked(_) | Tie::Time { .. } => Tied::Checked,
                };
                self.known.learn_match(&key, &compiled.digest, tied);
                return Verdict::Same(tied);
            }
        }
        let hash = match &expected {
            Ok(expected) => expected.fresh.as_ref().map(|(_, hash)| *hash),
            Err((_, hash)) => Some(*hash),
        };
        if header.fits(self.build.magic, source.state, hash).is_err() {
            return Verdict::Unused;
        }
        Verdict::Wrong(Box::new(Wrong {
            compiled: pair.compiled.clone(),
            at: pair.compiled_at.clone(),
            source: pair.source.clone(),
            tie: header.tie,
            fault: self.fault(body, found, expected),
            digest: compiled.digest,
        }))
    }

    /// What the source compiles to, or the interpreter's word for that it is no program.
    fn expect(
        &mut self,
        source: &[u8],
        pair: &Pair,
    ) -> Result<Result<Expected, (String, [u8; 8])>, String> {
        let compiled = self.compile(source, pair);
        let (compiled, hash) = compiled.map_err(|why| format!("compiling its source: {why}"))?;
        let code = match compiled {
            Compiled::Wrong(word) => return Ok(Err((word, hash))),
            Compiled::Code(code) => code,
        };
        let meaning = meaning(&code, self.build.dialect);
        let meaning = meaning.map_err(|why| format!("what its source compiles to: {why}"))?;
        Ok(Ok(Expected {
            meaning,
            fresh: Some((code, hash)),
        }))
    }

    fn fault(
        &self,
        body: &[u8],
        found: Result<Digest, MarshalError>,
        expected: Result<Expected, (String, [u8; 8])>,
    ) -> Fault {
        let expected = match expected {
            Err((word, _)) => return Fault::NoProgram(word),
            Ok(expected) => expected,
        };
        if let Err(error) = found {
            return Fault::Unreadable(error);
        }
        let fresh = expected.fresh.as_ref().map_or(&[][..], |(code, _)| code);
        let both = facts(body, self.build.dialect)
            .and_then(|found| Ok((found, facts(fresh, self.build.dialect)?)));
        Fault::Differs(both.map_or_else(
            |why| vec![format!("what differs cannot be told: {why}")],
            |(found, expected)| differences(&found, &expected),
        ))
    }

    fn compile(&mut self, source: &[u8], pair: &Pair) -> io::Result<(Compiled, [u8; 8])> {
        if self.compiler.as_ref().is_some_and(Compiler::is_broken) {
            self.compiler = None;
            self.deaths += 1;
        }
        if self.compiler.is_none() {
            if self.deaths >= MAX_DEATHS {
                return Err(io::Error::other("the interpreter died too often"));
            }
            let started = Compiler::start(&self.python, &self.helpers);
            let compiler = started.map_err(io::Error::other)?;
            if *compiler.build() != self.build {
                return Err(io::Error::other("the interpreter became another one"));
            }
            self.compiler = Some(compiler);
        }
        let compiler = self.compiler.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        compiler.compile(source, pair.level)
    }
}

/// What is looked at first: what no source keeps from being used, then what changed last. Reading it is a few bytes.
pub(super) fn urgency(pair: &Pair) -> (bool, std::cmp::Reverse<i64>) {
    let mut head = [0; HEADER_BYTES];
    let looked = open(&pair.compiled_at).and_then(|mut file| {
        let changed = file.metadata()?.ctime();
        file.read_exact(&mut head).map(|()| changed)
    });
    let unchecked = matches!(
        Header::read(&head),
        Ok(Header {
            tie: Tie::Unchecked(_),
            ..
        })
    );
    (!unchecked, std::cmp::Reverse(looked.unwrap_or(0)))
}

/// Opens a regular file without ever waiting for one that is none.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

fn read(path: &Path, limit: u64) -> io::Result<Whole> {
    let file = open(path)?;
    let meta = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(Whole {
        digest: Digest::of(&bytes),
        bytes,
        state: SourceState {
            modified: meta.mtime(),
            size: meta.size(),
        },
    })
}
