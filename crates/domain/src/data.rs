//! What a loader of torch read from a data set, as its own process says it: which indices, in which order, and what stood there.
//!
//! A pass over the data is described once, with what its order follows from; each batch is its indices and the fingerprints of a
//! few of its rows. Indices and rows travel as bytes in the form of `training::data::wire`.

use serde::{Deserialize, Serialize};

/// What the order of a pass follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sampler", rename_all = "snake_case")]
pub enum Order {
    /// `SequentialSampler` over so many samples.
    Sequential {
        /// Samples.
        length: u64,
    },
    /// `RandomSampler` without replacement.
    Random {
        /// Samples.
        length: u64,
        /// The generator's state before it was asked, as torch gives it; base64.
        state: String,
        /// It is a generator that was given to the sampler; else torch's own, from which the sampler draws a seed.
        given: bool,
    },
    /// `DistributedSampler`.
    Distributed {
        /// Samples.
        length: u64,
        /// Seed and epoch together.
        seed: i64,
        /// Whether it shuffles.
        shuffle: bool,
        /// Whether the tail is left out.
        drop_last: bool,
        /// Processes that share the data.
        replicas: u64,
        /// This one's number.
        rank: u64,
    },
    /// Any other: nothing is known of its order.
    Own {
        /// Its class.
        class: String,
    },
}

/// One pass over a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Which data set of the process, in order of first use; another object is another data set.
    pub set: u32,
    /// Indices of a batch.
    pub batch_size: u64,
    /// What the order follows from.
    pub order: Order,
    /// What this torch makes of a known seed: the first numbers of `randperm`, so that its ways are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<u32>,
    /// Other processes read the samples: only indices are known.
    #[serde(default, skip_serializing_if = "is_false")]
    pub workers: bool,
}

/// A column of the rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its place in the batch: `0`, `labels`.
    pub name: String,
    /// Type of its elements: `int64`.
    pub kind: String,
    /// Bytes of one row.
    pub bytes: u64,
}

/// One batch that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which pass of the process, from 0.
    pub pass: u32,
    /// The pass, where it was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described: Option<Box<Pass>>,
    /// Number of the batch in its pass, from 0.
    pub batch: u64,
    /// The indices, base64.
    pub indices: String,
    /// The columns of the rows, where they are not those of the pass's last batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<Column>>,
    /// A few rows: the index in the data set and a fingerprint of 32 bits a column, base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rows: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
