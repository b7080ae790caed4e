//! A run: its identity, its readable name, and the processes that belong to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identity of a run: a UUIDv7, so that runs sort by the time at which they began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// Made from the wall clock (milliseconds since 1970) and ten random bytes.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// A name that a person can say: adjective, animal, number. `attempt` gives another one when the first is taken.
    pub fn name(&self, attempt: u32) -> RunName {
        let bytes = self.0.as_bytes();
        let word = |list: &[&'static str], at: usize| {
            let index = usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1]);
            list[index.wrapping_add(attempt as usize) % list.len()]
        };
        let number = (usize::from(bytes[15]) + attempt as usize * 37) % 100;
        RunName(format!(
            "{}-{}-{number}",
            word(ADJECTIVES, 11),
            word(ANIMALS, 13)
        ))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// A run's readable name, unique in its store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunName(String);

impl RunName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// A process, told apart from every other one that ever had its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Boot id of the kernel.
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// Start, in clock ticks since boot.
    pub started: u64,
}

/// Who started a run, as the host knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Person {
    /// User id.
    pub uid: u32,
    /// Name of that user on this host.
    pub user: String,
    /// Login user id: survives `su` and `sudo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// Login session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// Control group.
    #[serde(default)]
    pub cgroup: String,
    /// Host name.
    pub host: String,
    /// `SSH_CONNECTION`, where the session came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}

const ADJECTIVES: &[&str] = &[
    "amber", "bold", "brave", "brisk", "calm", "candid", "clear", "clever", "crisp", "daring",
    "deft", "eager", "early", "fair", "fleet", "fond", "frank", "gentle", "glad", "golden",
    "grand", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal",
    "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient",
    "placid", "polite", "proud", "quick", "quiet", "ready", "robust", "serene", "sharp", "silent",
    "sleek", "smart", "snug", "sober", "solid", "spry", "stable", "steady", "stout", "sturdy",
    "sunny", "swift", "tender", "tidy", "trusty", "upright", "vivid", "warm", "wise", "witty",
    "young", "zesty",
];

const ANIMALS: &[&str] = &[
    "badger", "bat", "bear", "beaver", "bison", "bittern", "boar", "camel", "carp", "cat", "crane",
    "crow", "deer", "dove", "duck", "eagle", "egret", "elk", "falcon", "finch", "fox", "frog",
    "gecko", "goat", "goose", "grouse", "hare", "hawk", "heron", "horse", "ibex", "ibis", "jackal",
    "jay", "kite", "koala", "lark", "lemur", "lion", "lizard", "llama", "lynx", "magpie", "marten",
    "mole", "moose", "mouse", "newt", "otter", "owl", "ox", "panda", "perch", "pike", "plover",
    "puffin", "quail", "rabbit", "raven", "robin", "salmon", "seal", "shrew", "sparrow", "stork",
    "swan", "tapir", "tern", "tiger", "toad", "trout", "turtle", "vole", "whale", "wolf", "wren",
    "yak", "zebra",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_attempt_gives_another_name() {
        let id = RunId::new(1_700_000_000_000, [7; 10]);
        assert_ne!(id.name(0), id.name(1));
        assert_eq!(id.name(0), id.name(0));
        assert_eq!(id.name(0).as_str().split('-').count(), 3);
    }

    #[test]
    fn runs_sort_by_the_time_at_which_they_began() {
        assert!(RunId::new(1, [255; 10]).to_string() < RunId::new(2, [0; 10]).to_string());
    }
}
