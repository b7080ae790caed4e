//! Trust policies (C2SP tlog-policy): which logs count, which witnesses, and how many of them must have cosigned.
//!
//! The file is read strictly and with bounds, as it says whom to believe: a line that is not understood is an error with
//! its number. Groups name only what stands above them, so judging a head is one pass over a list and nothing recurses.
//! Where the file came from, and whether its owner may be believed, is not known here.

mod judge;
mod parse;

pub use judge::{Judged, Judgement, MAX_AHEAD_SECONDS, State};
pub use parse::parse;

use crate::cosignature::CosignerKey;
use crate::note::{VerifierKey, VerifierKeySyntax};

/// The most bytes that a policy may have.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

/// The most logs, the most witnesses and the most groups of a policy, each.
pub const MAX_ITEMS: usize = 96;

/// Whose word counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Option<Member>,
}

/// A log of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key, whose name is its origin.
    pub key: VerifierKey,
    /// Where it is, when the policy says so.
    pub url: Option<String>,
}

/// A witness of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name in the policy.
    pub name: String,
    /// Its key; the key's name may be another one.
    pub key: CosignerKey,
    /// Where it takes tree heads: the prefix of `/add-checkpoint`.
    pub url: Option<String>,
}

/// So many of these.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    at_least: usize,
    members: Vec<Member>,
}

/// A witness or a group, by its place in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

impl Policy {
    /// The logs that count; none means that they are known from elsewhere.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// The fewest witnesses whose word is a quorum.
    pub fn needed(&self) -> usize {
        let of = |member: Member, groups: &[usize]| match member {
            Member::Witness(_) => 1,
            Member::Group(group) => groups.get(group).copied().unwrap_or_default(),
        };
        let mut groups: Vec<usize> = Vec::new();
        for group in &self.groups {
            let mut needed: Vec<usize> = group.members.iter().map(|it| of(*it, &groups)).collect();
            needed.sort_unstable();
            groups.push(needed.iter().take(group.at_least).sum());
        }
        self.quorum.map_or(0, |quorum| of(quorum, &groups))
    }
}

/// Bytes that are not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`MAX_POLICY_BYTES`].
    #[error("a policy has at most {MAX_POLICY_BYTES} bytes")]
    TooLong,
    /// A line that is wrong.
    #[error("line {line}: {why}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        why: LineError,
    },
    /// Nothing says how many witnesses are needed.
    #[error("the policy has no quorum line")]
    NoQuorum,
}

/// What is wrong with a line of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A control character other than the tab.
    #[error("control characters are not allowed")]
    Control,
    /// The last line does not end.
    #[error("the line does not end in a line break")]
    Unended,
    /// Not `log`, `witness`, `group` or `quorum`.
    #[error("the line begins with none of log, witness, group and quorum")]
    Keyword,
    /// Too few or too many words.
    #[error("the line has too few words or too many")]
    Words,
    /// A key that does not serve.
    #[error(transparent)]
    Key(#[from] VerifierKeySyntax),
    /// The same key twice, under whatever name.
    #[error("this key is in the policy already")]
    KeyTwice,
    /// The same name twice, or `none`.
    #[error("the name {name} is taken")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A name that stands on no line above.
    #[error("no witness or group above is called {name}")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// A witness or group in two groups.
    #[error("{name} is a member of a group already")]
    MemberTwice {
        /// The name.
        name: String,
    },
    /// Not `all`, `any` or a number from 1 to the number of members.
    #[error("a group needs all, any, or a number from 1 to the number of its members")]
    Threshold,
    /// A second quorum.
    #[error("the policy has a quorum line already")]
    SecondQuorum,
    /// More than [`MAX_ITEMS`] of a kind.
    #[error("a policy has at most {MAX_ITEMS} logs, witnesses and groups, each")]
    TooMany,
}
