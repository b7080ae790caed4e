//! A finding: something that an honest run does not show, with the evidence and the innocent readings.
//!
//! A finding is data, born with its rule. Nothing downstream looks at rendered text to know what it means.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, PathText};

/// How good the evidence behind a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// The process under suspicion says so itself.
    Claimed,
    /// A sensor outside the process saw it.
    Observed,
    /// Independent re-execution from trusted code confirms it.
    Replayed,
}

impl fmt::Display for Grade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Claimed => "claimed",
            Self::Observed => "observed",
            Self::Replayed => "replayed",
        })
    }
}

macro_rules! rules {
    ($($variant:ident $id:literal $technique:literal $title:literal;)*) => {
        /// Every rule there is. The id is stable; the technique is its number in the catalogue of sabotage techniques.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Rule {
            $(#[doc = $title] #[serde(rename = $id)] $variant,)*
        }

        impl Rule {
            /// All rules, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Stable name.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),* }
            }

            /// Technique in the catalogue.
            pub const fn technique(self) -> &'static str {
                match self { $(Self::$variant => $technique),* }
            }

            /// What it says, in one line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }
        }
    };
}

rules! {
    EnvironmentChanged "environment-changed" "C01" "an installed file is not what the last good run of this command used";
    EnvironmentChangedDuringRun "environment-changed-during-run" "C01" "an installed file changed while the run was going";
    EnvironmentNotAsInstalled "environment-not-as-installed" "C01" "an installed file is not what its package's RECORD says";
    EnvironmentUnowned "environment-unowned" "C02" "a file that Python loads by itself belongs to no package";
    CheckpointChanged "checkpoint-changed" "K02" "a checkpoint is not what the run that saved it wrote";
    CheckpointOlder "checkpoint-older" "K04" "a checkpoint of an earlier step stands under a newer name";
    CheckpointRunsCode "checkpoint-runs-code" "K01" "a file that the run loads does more than give data";
    RankVanished "rank-vanished" "P01" "a rank was killed or vanished";
    LedgerRewritten "ledger-rewritten" "A07" "the ledger was rewritten while the run was going";
    CacheLied "cache-lied" "A07" "a file that the cache called unchanged has other content";
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.id())
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How good the evidence is.
    pub grade: Grade,
    /// One sentence: what, where.
    pub what: String,
    /// More sentences: by how much, compared with what.
    #[serde(default)]
    pub details: Vec<String>,
    /// The file it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathText>,
    /// The optimizer step from which on the run is tainted; 0 is before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The rank it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Name of an earlier run that it points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
    /// Blobs that hold the evidence.
    #[serde(default)]
    pub evidence: Vec<Digest>,
    /// Innocent readings, and what speaks for or against each.
    #[serde(default)]
    pub innocent: Vec<String>,
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
            assert_eq!(
                Rule::ALL
                    .iter()
                    .filter(|other| other.id() == rule.id())
                    .count(),
                1
            );
        }
    }
}
