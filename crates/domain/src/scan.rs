//! What examining a file gives: what loading it would do, what was read of it, and what was not.
//!
//! An examination is data. The engine `scan` makes it, `report` shows it, the ledger keeps it. It answers three questions
//! apart from each other: what was found, how much of the file stands behind that answer, and which names the file needs.
//! Silence about a part that nobody could read is not an answer; such a part is a [`Gap`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::register::rules;

/// How much a finding weighs. The order is that of weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Worth knowing, and nothing that honest files do not show: never changes the exit code.
    Note,
    /// Objects of a class that the file does not hold and no known framework brings: a project's own class. Its code was not
    /// examined, so the answer is not complete; policy decides by where that code comes from.
    Custom,
    /// Something would be called or looked up that nobody vouches for.
    Unknown,
    /// Loading the file does something that no honest file needs, or changes what others load or compute.
    Dangerous,
}

impl fmt::Display for Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Note => "note",
            Self::Custom => "custom class",
            Self::Unknown => "unknown",
            Self::Dangerous => "dangerous",
        })
    }
}

rules! {
    /// Why something is a finding. The id is stable.
    Rule
    /// What it says, in one line that fits behind "loading this file": no capital, no full stop.
    title
    /// What to do about it, in one sentence.
    advice;
    RunsCommand "runs-command" "runs a command of the operating system" "Do not load it. Keep the file and find out who wrote it.";
    RunsCode "runs-code" "runs code that the file brings along" "Do not load it. Keep the file and find out who wrote it.";
    ImportsCode "imports-code" "imports a module by name and so runs its code" "Do not load it unless that module is one that you know and expect.";
    LoadsNative "loads-native" "loads a native library" "Do not load it. Keep the file and find out who wrote it.";
    OpensNetwork "opens-network" "opens a network connection" "Do not load it. Keep the file and find out who wrote it.";
    TouchesFiles "touches-files" "reads, writes or removes files" "Do not load it. Keep the file and find out who wrote it.";
    PatchesModule "patches-module" "changes an imported module, class or function for everything that runs afterwards" "Do not load it: results of the whole process are suspect afterwards.";
    ResolvesAttributes "resolves-attributes" "walks from attribute to attribute to reach a function that it does not name" "Do not load it: honest files name what they need.";
    LoadsMore "loads-more" "makes the loader read and interpret further data" "Examine what it loads; prefer a format without code.";
    DisturbsProcess "disturbs-process" "ends, stops or alters the process that loads it" "Do not load it.";
    UnneededCall "unneeded-call" "calls a function of a known library that no checkpoint needs" "Do not load it before somebody has explained this call.";
    UnknownCall "unknown-call" "calls a function that nobody vouches for" "Load it only if you know this function; `taintline scan --learn` admits what your own project needs.";
    CustomClass "custom-class" "makes objects of a class that no known framework brings" "Check that the class is your project's own; `taintline scan --learn` admits it.";
    Extension "extension" "takes an object from the registry of extensions, which the file cannot vouch for" "Do not load it: honest files do not use this.";
    ComputedName "computed-name" "imports a name that is computed while loading" "Do not load it: honest files name what they need.";
    UnknownReference "unknown-reference" "asks the loader for an object that only the loader's own program can give" "Load it only with the program that wrote it.";
    Broken "broken" "breaks off or contradicts itself" "Fetch or save the file again.";
    ReadersDisagree "readers-disagree" "means different things to different readers" "Do not load it: honest writers do not make such files.";
    Hidden "hidden" "carries content that ordinary readers do not show" "Find out why it is there before you load it.";
    NameDisagrees "name-disagrees" "is not what its name says" "Find out why before you load it.";
    PathEscapes "path-escapes" "names paths outside its own folder" "Do not unpack it.";
    Bomb "bomb" "takes far more memory or time than its size suggests" "Do not load it.";
    BringsCode "brings-code" "comes with code that a loader may run" "Read that code before you load it.";
    RemoteCode "remote-code" "makes loaders fetch or run code beside the model" "Load it with remote code switched off, or read that code first.";
    UnsafeTemplate "unsafe-template" "has a template that reaches for the machinery behind it" "Do not use this template.";
    ConditionalTemplate "conditional-template" "has a template that changes what the model is told, by what the user says" "Read the template before you use it.";
    ExternalFile "external-file" "refers to files outside of itself" "Check that these are the files that you expect.";
    CustomOperator "custom-operator" "needs operators that a native library must bring" "Load it only with a library that you trust.";
    FileOperator "file-operator" "has operators that read or write files" "Do not run it before you know what they do.";
    CodeOperator "code-operator" "has operators that run code of the host language" "Do not load it before you have read that code.";
    NativeCode "native-code" "holds native machine code" "Do not load it unless you built that code.";
    ObjectTag "object-tag" "has tags that make a loader construct arbitrary objects" "Load it with a safe loader only.";
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.id())
    }
}

/// A place within a file. All texts may be hostile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The members on the way in, outermost first: `["a.zip member b.tar", "c.pkl"]`. Empty is the file itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// Which of several programs one behind the other, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u32>,
    /// Offset in bytes within the innermost member (within the uncompressed bytes, if it was compressed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// What was found at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How much it weighs.
    pub weight: Weight,
    /// Where.
    pub place: Place,
    /// What the file says there, reconstructed as an expression and shortened; hostile text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expression: String,
    /// One sentence that says what it does and why that matters; may quote hostile text.
    pub why: String,
}

/// Why a part was not examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// It is encrypted.
    Encrypted,
    /// It is in a form that is recognised and not read.
    NotRead,
    /// A limit of memory, size or count was reached.
    Limit,
    /// It is nested too deep.
    TooDeep,
    /// It breaks off or is malformed.
    Broken,
    /// The system refused to read it.
    Unreadable,
    /// It changed while it was read.
    Changed,
    /// It is no regular file.
    NotAFile,
    /// The worker that examined it crashed.
    Crashed,
    /// The worker that examined it took too long.
    TimedOut,
    /// It is named as a part and is not there.
    Missing,
}

impl fmt::Display for GapKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Encrypted => "encrypted",
            Self::NotRead => "recognised, not read",
            Self::Limit => "over a limit",
            Self::TooDeep => "nested too deep",
            Self::Broken => "broken",
            Self::Unreadable => "unreadable",
            Self::Changed => "changed while it was read",
            Self::NotAFile => "no regular file",
            Self::Crashed => "the examination crashed",
            Self::TimedOut => "the examination took too long",
            Self::Missing => "missing",
        })
    }
}

/// A part that a loader would interpret and that was not examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Why.
    pub kind: GapKind,
    /// Where.
    pub place: Place,
    /// What and which limit, in words; may quote hostile text.
    pub what: String,
}

/// A part that was examined: the verdict is bound to its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where.
    pub place: Place,
    /// The format in which it was read.
    pub format: String,
    /// Its size in bytes.
    pub size: u64,
    /// Digest of its bytes, if all of them were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// In which role a name is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is imported and only referred to.
    Reference,
    /// An object of it is made without calling its constructor's code beyond `__new__`.
    Construct,
    /// It is called.
    Call,
    /// State is set on what it made.
    State,
}

/// A name that a file needs, with its role: the raw material of a project's policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Need {
    /// The module, as it resolves on Python 3.
    pub module: String,
    /// The name in it, with dots where attributes are walked.
    pub name: String,
    /// What for.
    pub role: Role,
    /// The weight of the finding that it makes; `None` when it is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
}

/// A program of a file as lines that a person can read. Made only when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// Where the program is.
    pub place: Place,
    /// Offset in bytes within the innermost member, and what is done there; may hold hostile text.
    pub lines: Vec<(u64, String)>,
    /// The program has more lines than there was room for.
    #[serde(default)]
    pub cut: bool,
}

/// Everything that was learnt about one file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Examination {
    /// Size in bytes.
    pub size: u64,
    /// What the content is, in words for people, as loaders would take it; several if it is several things at once. Empty
    /// when it is nothing that a model loader interprets.
    pub formats: Vec<String>,
    /// What was found, heaviest first within a place.
    pub findings: Vec<Finding>,
    /// What was not examined.
    pub gaps: Vec<Gap>,
    /// What was.
    pub parts: Vec<Part>,
    /// Names that the file needs, sorted, once each.
    pub needs: Vec<Need>,
    /// Bytes that loaders take as plain numbers and do not interpret.
    pub raw_bytes: u64,
    /// Digest of the whole file, where every byte was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Findings, gaps, parts or needs beyond the limits of this record; 0 when it holds all.
    #[serde(default)]
    pub left_out: u64,
}

impl Examination {
    /// The heaviest weight of its findings.
    pub fn weight(&self) -> Option<Weight> {
        self.findings.iter().map(|finding| finding.weight).max()
    }

    /// Whether everything that a loader would interpret was examined.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.left_out == 0
    }
}

/// What became of one path. The order is that of concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A symbolic link whose target is examined under its own name.
    Link,
    /// Nothing that a model loader interprets.
    NotAModel,
    /// Examined to the end, and nothing counts.
    Clean,
    /// Examined to the end, and a baseline accepts what was found.
    Accepted,
    /// Nothing counts, but not everything could be examined.
    Incomplete,
    /// Objects of classes that nobody vouches for, and no more.
    Custom,
    /// Something would be called or looked up that nobody vouches for.
    Unknown,
    /// Loading it does something that no honest file needs.
    Dangerous,
    /// It was named and could not be read.
    Failed,
}

impl Verdict {
    /// The word that stands in front of the path.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::NotAModel => "no model",
            Self::Clean => "clean",
            Self::Accepted => "accepted",
            Self::Incomplete => "incomplete",
            Self::Custom => "custom",
            Self::Unknown => "UNKNOWN",
            Self::Dangerous => "DANGEROUS",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_ids_are_unique_and_written_as_they_are_named() {
        for rule in Rule::ALL {
            assert_eq!(
                serde_json::to_string(rule).unwrap(),
                format!("\"{}\"", rule.id())
            );
            let same = Rule::ALL.iter().filter(|other| other.id() == rule.id());
            assert_eq!(same.count(), 1);
        }
    }

    #[test]
    fn a_heavier_weight_is_larger() {
        assert!(Weight::Dangerous > Weight::Unknown && Weight::Unknown > Weight::Custom);
        assert!(Weight::Custom > Weight::Note);
    }
}
