//! What is shown of an environment: who vouches for its files, and what is not as it is vouched for. Plain data, as in
//! [`crate::view`].

use std::collections::BTreeMap;

use domain::Gap;
use serde::Serialize;

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvVerdict {
    /// Every file is what somebody vouches for.
    AsVouched,
    /// Something is not.
    Differs,
    /// Nothing differs, but not everything is vouched for or could be read.
    Incomplete,
}

/// `taintline env check --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvCheckView {
    /// `taintline.env-check/1`.
    pub schema: &'static str,
    /// The answer.
    pub verdict: EnvVerdict,
    /// The folder of the environment.
    pub prefix: String,
    /// Python's version, such as `3.11`; null where nothing says it.
    pub python: Option<String>,
    /// Digest of its tree: equal ones are equal environments.
    pub tree: String,
    /// Files, byte code included.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files read for this answer; the others are unchanged since they were read.
    pub files_read: u64,
    /// Bytes of these.
    pub bytes_read: u64,
    /// Files of byte code.
    pub compiled: u64,
    /// What they are, held against their sources; null where that was not asked for or was not possible.
    pub code: Option<CodeView>,
    /// Files by voucher.
    pub vouched: BTreeMap<&'static str, u64>,
    /// Files that nobody vouches for, by reason.
    pub not_vouched: BTreeMap<&'static str, u64>,
    /// By package; those without a name are files of no package, by root.
    pub packages: Vec<EnvPackageView>,
    /// What is not as it is vouched for.
    pub findings: Vec<EnvFindingView>,
    /// What could not be checked or vouched for.
    pub gaps: Vec<Gap>,
    /// Packages that are installed in place.
    pub editable: Vec<EditableView>,
    /// The lock file.
    pub lock: Option<LockView>,
    /// The package index that was asked for wheels.
    pub index: Option<IndexView>,
    /// The signed list.
    pub baseline: Option<BaselineView>,
    /// The last check of this environment that found nothing.
    pub earlier: Option<EarlierView>,
    /// Where the act is recorded: log and number; empty in the recorded summary itself.
    pub ledger: String,
}

/// Files of byte code by what was found of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CodeView {
    /// What its source compiles to.
    pub same: u64,
    /// Of these, tied to the source by a hash that nobody compares.
    pub unchecked: u64,
    /// Of these, known from before.
    pub known: u64,
    /// Not used by the interpreter: of another version, or older than its source.
    pub unused: u64,
    /// Not what its source compiles to, and used.
    pub wrong: u64,
    /// Without a source.
    pub sourceless: u64,
}

/// One package, or the files of a root that belong to none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvPackageView {
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The root that it is in.
    pub root: String,
    /// Files by voucher.
    pub vouched: BTreeMap<&'static str, u64>,
    /// Files that nobody vouches for, by reason.
    pub not_vouched: BTreeMap<&'static str, u64>,
    /// Why no wheel speaks for it.
    pub no_wheel: Option<String>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvFindingView {
    /// The file, below its root.
    pub path: String,
    /// Name and version of its package.
    pub package: Option<String>,
    /// `changed`, `first-line`, `no-launcher`, `missing`, `not-in-wheel`, `unowned`, `unowned-hook`, `other-version`,
    /// `other-wheel`, `compiled`, `memory`.
    pub how: &'static str,
    /// One sentence.
    pub what: String,
    /// Who says so.
    pub voucher: Option<&'static str>,
    /// What it should be, a digest.
    pub expected: Option<String>,
    /// What it is.
    pub found: Option<String>,
    /// What RECORD says: `agrees`, `differs`, `no-digest`, `silent`.
    pub record: &'static str,
}

/// A package whose code lies in a project's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EditableView {
    /// Name and version.
    pub package: String,
    /// The folder.
    pub folder: String,
    /// The commit that is checked out there.
    pub commit: Option<String>,
    /// Files that are not as the commit has them.
    pub dirty: Option<u64>,
}

/// The lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockView {
    /// Where.
    pub path: String,
    /// Packages that it names.
    pub packages: u64,
    /// Digests that it has.
    pub digests: u64,
    /// The user named it; else it was found.
    pub named: bool,
}

/// A package index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexView {
    /// Its address, without a password.
    pub url: String,
    /// Wheels that came from it and have the digest that the lock file gives.
    pub wheels: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The signed list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaselineView {
    /// Its signer, by the hint of the key.
    pub key: String,
    /// Digest of the list.
    pub tree: String,
}

/// An earlier check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EarlierView {
    /// Whether the environment is the same, byte for byte.
    pub same: bool,
    /// Its tree.
    pub tree: String,
    /// Where it is recorded: log and number.
    pub recorded: String,
}

/// `taintline env baseline --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvBaselineView {
    /// `taintline.env-baseline/1`.
    pub schema: &'static str,
    /// The file that was written.
    pub file: String,
    /// The folder of the environment.
    pub prefix: String,
    /// Python's version.
    pub python: Option<String>,
    /// Digest of the list that was signed.
    pub tree: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The key, by its hint.
    pub key: String,
    /// Files that were signed although their RECORD says that they are others.
    pub not_as_recorded: u64,
}
