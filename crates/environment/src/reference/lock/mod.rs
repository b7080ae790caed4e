//! What a lock file allows: for each package the SHA-256 of every wheel and source archive that may be installed.
//!
//! **The strongest reference that there is here**, because it lies with the project's code, under its history and its
//! reviews, and not with the files that it speaks of. It says nothing of single files: it says which wheel is meant, and the
//! wheel says the rest ([`super::wheel`]).
//!
//! Three forms are read: `uv.lock`, `pylock.toml` (PEP 751) and `requirements.txt` with `--hash`. Text in, data out: which
//! file is meant and what `-r` includes is the caller's business ([`super::locate`]). A lock file belongs to the project and
//! may be hostile like everything else; what it cannot do is to be ambiguous, so a package without any usable digest is
//! kept and says so, rather than being dropped.

mod pylock;
mod requirements;
mod uv;

use std::collections::BTreeMap;

use domain::Digest;
use formats::toml_text::{TomlShape, check_shape};
use serde::Serialize;

use crate::packages::{has_suffix, normalized};

/// The most bytes of one lock file.
pub const MAX_LOCK_BYTES: u64 = 8 << 20;

/// The most characters that begin or part values in one TOML file: what is built of it in memory grows with these.
pub const MAX_MARKS: usize = 250_000;

/// The most artifacts that all packages of a lock file have together.
pub const MAX_ARTIFACTS: usize = 200_000;

/// The form of a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// `uv.lock`.
    Uv,
    /// `pylock.toml`, `pylock.NAME.toml`.
    Pylock,
    /// Requirements as pip reads them.
    Requirements,
}

impl LockKind {
    /// By the name of the file; what is no TOML is read as pip would read it.
    pub fn of(file_name: &str) -> Self {
        match file_name {
            "uv.lock" => Self::Uv,
            name if name == "pylock.toml"
                || name.starts_with("pylock.") && has_suffix(name, ".toml") =>
            {
                Self::Pylock
            }
            _ => Self::Requirements,
        }
    }
}

/// A file that may be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// SHA-256 of the whole file.
    pub digest: Digest,
    /// Its name, where the lock file has one.
    pub file: Option<String>,
}

impl Artifact {
    /// Whether it is said to be a wheel, or nothing is said.
    pub fn may_be_wheel(&self) -> bool {
        self.file
            .as_deref()
            .is_none_or(|name| has_suffix(name, ".whl"))
    }
}

/// Where a locked package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockedSource {
    /// Files with digests.
    Files,
    /// A folder of the project itself, installed in place or copied.
    Folder,
    /// Version control.
    Vcs,
}

/// One version of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The version as the lock file spells it; absent where it leaves it open.
    pub version: Option<String>,
    /// What may be installed.
    pub artifacts: Vec<Artifact>,
    /// Digests by other algorithms alone, which say nothing here.
    pub other_digests: u64,
    /// Where it comes from.
    pub source: LockedSource,
}

/// A lock file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// By normalised name.
    packages: BTreeMap<String, Vec<Locked>>,
    /// Further files that it includes (`-r`), as spelled; requirements only.
    pub includes: Vec<String>,
    artifacts: usize,
}

/// A lock file that is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// Too large.
    #[error("it has more than {MAX_LOCK_BYTES} bytes")]
    TooLarge,
    /// Too many values.
    #[error("it has more than {MAX_MARKS} values")]
    TooMany,
    /// Its brackets or strings are not those of TOML.
    #[error(transparent)]
    Shape(#[from] TomlShape),
    /// Not TOML, or not of this form.
    #[error("line {line}: {why}")]
    Syntax {
        /// Counted from 1; 0 where it is not known.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A later version of the form.
    #[error("it is of version {0}, which is not read")]
    Version(String),
    /// It has no digests at all.
    #[error("it has no SHA-256 of anything: it locks versions, not files")]
    NoDigests,
}

impl Lock {
    /// Reads a lock file of this form.
    pub fn parse(kind: LockKind, bytes: &[u8]) -> Result<Self, LockError> {
        if bytes.len() as u64 > MAX_LOCK_BYTES {
            return Err(LockError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| LockError::NotText)?;
        let text = text.trim_start_matches('\u{feff}');
        match kind {
            LockKind::Uv => uv::parse(text),
            LockKind::Pylock => pylock::parse(text),
            LockKind::Requirements => requirements::parse(text),
        }
    }

    /// How many packages it names.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// How many digests it gives.
    pub fn digests(&self) -> usize {
        self.artifacts
    }

    /// All versions of a package; the name in any spelling.
    pub fn versions(&self, name: &str) -> &[Locked] {
        self.packages
            .get(&normalized(name))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// What may be installed as this version of a package; `None` where the lock file does not name the package in it.
    pub fn allowed(&self, name: &str, version: &str) -> Option<Vec<&Locked>> {
        let fits = |locked: &&Locked| {
            locked
                .version
                .as_deref()
                .is_none_or(|locked| same_version(locked, version))
        };
        let all: Vec<_> = self.versions(name).iter().filter(fits).collect();
        (!all.is_empty()).then_some(all)
    }

    /// Every package and what is locked of it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Locked])> {
        self.packages
            .iter()
            .map(|(name, locked)| (name.as_str(), locked.as_slice()))
    }

    /// Takes in what an included file has.
    pub fn merge(&mut self, other: Self) -> Result<(), LockError> {
        for (name, locked) in other.packages {
            for one in locked {
                self.add(&name, one)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, locked: Locked) -> Result<(), LockError> {
        self.artifacts = self.artifacts.saturating_add(locked.artifacts.len());
        if self.artifacts > MAX_ARTIFACTS {
            return Err(LockError::TooMany);
        }
        self.packages
            .entry(normalized(name))
            .or_default()
            .push(locked);
        Ok(())
    }
}

/// Whether two spellings are one version (PEP 440, as far as equality goes): case, a leading `v`, zeros at the end of the
/// release, and the spellings of pre-releases and separators do not count.
pub(crate) fn same_version(one: &str, other: &str) -> bool {
    one == other || canonical(one) == canonical(other)
}

fn canonical(version: &str) -> String {
    let lower = version.trim().to_ascii_lowercase();
    let lower = lower.strip_prefix('v').unwrap_or(&lower);
    let (public, local) = lower
        .split_once('+')
        .map_or((lower, None), |(public, local)| (public, Some(local)));
    let (epoch, rest) = public.split_once('!').unwrap_or(("0", public));
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (release, suffix) = rest.split_at(end);
    let mut numbers: Vec<&str> = release
        .split('.')
        .filter(|part| !part.is_empty())
        .map(|part| match part.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        })
        .collect();
    while numbers.len() > 1 && numbers.last() == Some(&"0") {
        numbers.pop();
    }
    let suffix: String = suffix.chars().filter(|c| !"-_.".contains(*c)).collect();
    let suffix = suffix
        .replace("alpha", "a")
        .replace("beta", "b")
        .replace("preview", "rc")
        .replace("pre", "rc");
    let suffix = match suffix.strip_prefix('c') {
        Some(rest) => format!("rc{rest}"),
        None => suffix,
    };
    let local: String = local
        .unwrap_or_default()
        .chars()
        .map(|c| if "-_".contains(c) { '.' } else { c })
        .collect();
    format!(
        "{}!{}{suffix}+{local}",
        epoch.trim_start_matches('0'),
        numbers.join(".")
    )
}

/// Refuses a TOML text of which too much would be built in memory, or that would lead its reader too deep.
fn few_marks(text: &str) -> Result<(), LockError> {
    let marks = text
        .bytes()
        .filter(|byte| matches!(byte, b',' | b'=' | b'[' | b'{' | b'.'));
    if marks.count() > MAX_MARKS {
        return Err(LockError::TooMany);
    }
    Ok(check_shape(text)?)
}

/// What the TOML reader says, with the line.
fn syntax(text: &str, error: &toml::de::Error) -> LockError {
    let at = error.span().map_or(0, |span| {
        text.bytes()
            .take(span.start)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1
    });
    let why: String = error.message().chars().take(200).collect();
    LockError::Syntax { line: at, why }
}

/// `sha256:` and 64 digits, in either case; any other algorithm is `None`.
fn sha256_of(text: &str) -> Option<Digest> {
    let (algorithm, digits) = text.split_once(':')?;
    algorithm
        .trim()
        .eq_ignore_ascii_case("sha256")
        .then(|| digits.trim().to_ascii_lowercase().parse().ok())?
}

/// The file name at the end of an address or path, without query and fragment.
fn file_name(address: &str) -> Option<String> {
    let plain = address
        .split(['#', '?'])
        .next()
        .unwrap_or(address)
        .trim_end_matches('/');
    let name = plain.rsplit(['/', '\\']).next()?;
    let name = percent_decoded(name);
    (!name.is_empty() && name.len() <= 300).then_some(name)
}

/// `%2B` and the like, as addresses write the `+` of a local version.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let decoded = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = match decoded {
            Some(_) => tail.get(2..).unwrap_or_default(),
            None => tail,
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_version_are_equal_and_others_are_not() {
        for (one, other) in [
            ("1.0", "1.0.0"),
            ("v2.1", "2.1"),
            ("1.0RC1", "1.0.rc1"),
            ("1.0-alpha.1", "1.0a1"),
            ("2.9.0+CU126", "2.9+cu126"),
            ("0!1.0", "1.0"),
            ("2024.01.5", "2024.1.5"),
            ("1.0c1", "1.0rc1"),
        ] {
            assert!(same_version(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1.0", "1.0.1"),
            ("1.10", "1.1"),
            ("1!1.0", "1.0"),
            ("2.9.0+cu126", "2.9.0+cpu"),
            ("2.9.0", "2.9.0+cpu"),
            ("1.0a1", "1.0b1"),
            ("1.0.post1", "1.0"),
        ] {
            assert!(!same_version(one, other), "{one} {other}");
        }
    }

    #[test]
    fn the_form_follows_from_the_name() {
        assert_eq!(LockKind::of("uv.lock"), LockKind::Uv);
        assert_eq!(LockKind::of("pylock.gpu.toml"), LockKind::Pylock);
        assert_eq!(
            LockKind::of("requirements-train.txt"),
            LockKind::Requirements
        );
    }

    #[test]
    fn an_address_gives_its_file_name() {
        let name = |text| file_name(text).unwrap_or_default();
        assert_eq!(
            name("https://h/a/torch-2.9%2Bcpu-x.whl#sha256=ab"),
            "torch-2.9+cpu-x.whl"
        );
        assert_eq!(name("./wheels/a-1.whl"), "a-1.whl");
        assert_eq!(name("%zz"), "%zz");
    }

    #[test]
    fn brackets_that_never_close_are_refused_before_a_reader_follows_them() {
        let text = "[[package]]\nname = \"six\"\nsource = { ".repeat(20_000);
        for kind in [LockKind::Uv, LockKind::Pylock] {
            assert!(matches!(
                Lock::parse(kind, text.as_bytes()),
                Err(LockError::Shape(_))
            ));
        }
    }

    #[test]
    fn a_text_of_nothing_but_values_is_refused_before_it_is_built() {
        let text = format!("a = [{}]", "1,".repeat(MAX_MARKS));
        assert_eq!(
            Lock::parse(LockKind::Uv, text.as_bytes()),
            Err(LockError::TooMany)
        );
        assert_eq!(Lock::parse(LockKind::Uv, b"\xff"), Err(LockError::NotText));
    }
}
