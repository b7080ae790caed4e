//! `allowed_signers` (ssh-keygen(1)): whose key is whose, for which purpose, from when until when.
//!
//! The file is the reader's, never the signer's: it is named on the command line or in the user's own configuration.
//! Read as OpenSSH reads it, with two differences that follow from what evidence is for. A time without `Z` means the zone
//! of the machine that checks; here the answer must be the same everywhere, so such a time counts only where no zone on
//! earth would change the answer. And a line that cannot be read is an error with its number, never passed over: it may
//! be the one that takes a key back.

use super::day::{Certain, Moment};
use super::key::{KeySyntax, PublicKey};
use super::pattern;

/// The most bytes that the file may have.
pub const MAX_SIGNERS_BYTES: usize = 4 << 20;

/// Who may sign.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedSigners {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    number: usize,
    principals: String,
    namespaces: Option<String>,
    after: Option<Moment>,
    before: Option<Moment>,
    key: PublicKey,
}

/// Why a file is not a list of allowed signers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignersSyntax {
    /// Longer than [`MAX_SIGNERS_BYTES`], or not text.
    #[error("a list of allowed signers is text of at most {MAX_SIGNERS_BYTES} bytes")]
    NotText,
    /// A line that cannot be read.
    #[error("line {number} of the allowed signers: {why}")]
    Line {
        /// Which line, from 1.
        number: usize,
        /// What is wrong with it.
        why: LineSyntax,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineSyntax {
    /// Not `PRINCIPALS [OPTIONS] KIND BASE64 [COMMENT]`.
    #[error("expected PRINCIPALS [OPTIONS] KIND BASE64 [COMMENT]")]
    Form,
    /// An option that is not known, or given twice.
    #[error("an option is not known or given twice (known: namespaces, valid-after, valid-before)")]
    Option,
    /// `cert-authority`: certificates are not followed.
    #[error("cert-authority is not supported: name the keys themselves")]
    Authority,
    /// A time that is none.
    #[error("a time is written YYYYMMDD[HHMM[SS]][Z]")]
    Time,
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeySyntax),
}

/// What the list says of a key at a moment for a purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Allowed, as these principals (patterns as they stand in the file).
    Allowed {
        /// The line of the file, from 1.
        line: usize,
        /// Its principals.
        principals: String,
    },
    /// No line has this key.
    Unknown,
    /// The key belongs to others than was asked for.
    OtherPerson {
        /// The line of the file.
        line: usize,
        /// Its principals.
        principals: String,
    },
    /// The key is not for this purpose.
    OtherPurpose {
        /// The line of the file.
        line: usize,
        /// The purposes that it is for.
        namespaces: String,
    },
    /// The key was not yet valid.
    NotYet {
        /// The line of the file.
        line: usize,
    },
    /// The key was no longer valid.
    Expired {
        /// The line of the file.
        line: usize,
    },
    /// A time without `Z` in the file leaves it open.
    Zone {
        /// The line of the file.
        line: usize,
    },
}

impl Standing {
    /// How far a line got: the furthest one is told.
    fn rank(&self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::OtherPerson { .. } => 1,
            Self::OtherPurpose { .. } => 2,
            Self::NotYet { .. } | Self::Expired { .. } => 3,
            Self::Zone { .. } => 4,
            Self::Allowed { .. } => 5,
        }
    }
}

impl AllowedSigners {
    /// Reads the whole file. One bad line is an error for all.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignersSyntax> {
        if bytes.len() > MAX_SIGNERS_BYTES {
            return Err(SignersSyntax::NotText);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| SignersSyntax::NotText)?;
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim_ascii());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = parse(number, line).map_err(|why| SignersSyntax::Line { number, why })?;
            lines.push(line);
        }
        Ok(Self { lines })
    }

    /// What the list says of `key` for the purpose `namespace` at `at` (seconds since 1970, UTC). `person` narrows it to
    /// lines that this principal matches.
    pub fn standing(
        &self,
        key: &PublicKey,
        person: Option<&str>,
        namespace: &str,
        at: i64,
    ) -> Standing {
        let lines = self.lines.iter().filter(|line| line.key == *key);
        lines
            .map(|line| line.standing(person, namespace, at))
            .max_by_key(Standing::rank)
            .unwrap_or(Standing::Unknown)
    }
}

impl Line {
    fn standing(&self, person: Option<&str>, namespace: &str, at: i64) -> Standing {
        let line = self.number;
        if person.is_some_and(|person| !pattern::list_matches(&self.principals, person)) {
            let principals = self.principals.clone();
            return Standing::OtherPerson { line, principals };
        }
        if let Some(namespaces) = &self.namespaces
            && !pattern::list_matches(namespaces, namespace)
        {
            let namespaces = namespaces.clone();
            return Standing::OtherPurpose { line, namespaces };
        }
        let begun = self.after.map_or(Certain::Yes, |after| after.reached(at));
        let ended = self.before.map_or(Certain::No, |before| before.passed(at));
        match (begun, ended) {
            (Certain::No, _) => Standing::NotYet { line },
            (_, Certain::Yes) => Standing::Expired { line },
            (Certain::Yes, Certain::No) => Standing::Allowed {
                line,
                principals: self.principals.clone(),
            },
            _ => Standing::Zone { line },
        }
    }
}

fn parse(number: usize, line: &str) -> Result<Line, LineSyntax> {
    let (principals, rest) = word(line).ok_or(LineSyntax::Form)?;
    let (first, behind) = word(rest).ok_or(LineSyntax::Form)?;
    let (options, key) = if is_kind(first) {
        ("", rest)
    } else {
        (first, behind)
    };
    let mut parsed = Line {
        number,
        principals: unquoted(principals).to_owned(),
        namespaces: None,
        after: None,
        before: None,
        key: key.parse()?,
    };
    for option in split(options, ',')
        .into_iter()
        .filter(|option| !option.is_empty())
    {
        parsed.take(option)?;
    }
    Ok(parsed)
}

impl Line {
    fn take(&mut self, option: &str) -> Result<(), LineSyntax> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = unquoted(value);
        let moment = || Moment::parse(value).ok_or(LineSyntax::Time);
        let known = match name.to_ascii_lowercase().as_str() {
            "cert-authority" => return Err(LineSyntax::Authority),
            "namespaces" if !value.is_empty() => {
                self.namespaces.replace(value.to_owned()).is_none()
            }
            "valid-after" => self.after.replace(moment()?).is_none(),
            "valid-before" => self.before.replace(moment()?).is_none(),
            _ => false,
        };
        known.then_some(()).ok_or(LineSyntax::Option)
    }
}

/// Whether a word is the name of a kind of key, where options could stand as well.
fn is_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|start| word.starts_with(start))
}

/// The first word and what follows it; white space in double quotes is part of a word.
fn word(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_ascii_start();
    let mut quoted = false;
    let end = line.find(|character: char| {
        quoted ^= character == '"';
        !quoted && character.is_ascii_whitespace()
    });
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    (!word.is_empty() && word.matches('"').count() % 2 == 0).then_some((word, rest.trim_ascii()))
}

/// `text` at each `at` that is not in double quotes.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|character| {
        quoted ^= character == '"';
        !quoted && character == at
    })
    .collect()
}

fn unquoted(text: &str) -> &str {
    let inside = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(text)
}
