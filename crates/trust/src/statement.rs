//! in-toto Statement v1: a predicate about subjects that are named by digest.
//!
//! The statement is the same around every predicate: OpenSSF's for model signatures and Taintline's own for seals. Fields
//! that are not known are left alone, as in-toto wants; what they would mean plays no role in any verdict. Encoding puts
//! subjects and predicate in one order and one form, but nobody depends on it: what is signed is the bytes.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::envelope::Verified;
use crate::strict::{self, JsonError};

/// What `_type` says.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// The most bytes of a statement that is read by default.
pub const MAX_STATEMENT_BYTES: u64 = 16 << 20;

/// A statement with its predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement<P> {
    /// [`STATEMENT`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What the predicate is.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The predicate.
    pub predicate: P,
}

/// One thing that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name; says nothing.
    pub name: String,
    /// Hexadecimal digests by algorithm.
    pub digest: BTreeMap<String, String>,
}

/// A signed text that is not the statement that is expected.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not JSON of a statement.
    #[error("the signed statement: {0}")]
    Json(#[from] JsonError),
    /// Not a Statement v1.
    #[error("the signed text states the type {found:?}, not an in-toto Statement v1")]
    Kind {
        /// What it states.
        found: String,
    },
    /// A statement of another kind.
    #[error("the statement has the predicate {found:?}")]
    Predicate {
        /// What it has.
        found: String,
    },
    /// Not about exactly one thing.
    #[error("the statement is about {count} subjects; exactly one is expected")]
    Subjects {
        /// How many.
        count: usize,
    },
}

/// The types alone.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

impl<P: Serialize> Statement<P> {
    /// A statement about one subject, as the bytes to be signed.
    pub fn encode(
        predicate_type: &str,
        subject: Subject,
        predicate: P,
    ) -> serde_json::Result<Vec<u8>> {
        Self::encode_many(predicate_type, vec![subject], predicate)
    }

    /// A statement about several subjects.
    pub fn encode_many(
        predicate_type: &str,
        subject: Vec<Subject>,
        predicate: P,
    ) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Self {
            kind: STATEMENT.to_owned(),
            subject,
            predicate_type: predicate_type.to_owned(),
            predicate,
        })
    }
}

impl<P: DeserializeOwned> Statement<P> {
    /// Reads a statement that was verified, with the one predicate type that the caller knows.
    pub fn decode(
        signed: Verified<'_>,
        predicate_type: &str,
        limit: u64,
    ) -> Result<(Subject, P), StatementError> {
        Self::decode_bytes(signed.bytes(), predicate_type, limit)
    }

    /// The same of any bytes: for the parser's own tests. What it gives is not signed by anybody.
    pub fn decode_bytes(
        bytes: &[u8],
        predicate_type: &str,
        limit: u64,
    ) -> Result<(Subject, P), StatementError> {
        let (subjects, predicate) = Self::decode_many_bytes(bytes, predicate_type, limit)?;
        let count = subjects.len();
        let mut subjects = subjects.into_iter();
        match (subjects.next(), count) {
            (Some(subject), 1) => Ok((subject, predicate)),
            _ => Err(StatementError::Subjects { count }),
        }
    }

    /// Reads a statement that was verified, about however many subjects.
    pub fn decode_many(
        signed: Verified<'_>,
        predicate_type: &str,
        limit: u64,
    ) -> Result<(Vec<Subject>, P), StatementError> {
        Self::decode_many_bytes(signed.bytes(), predicate_type, limit)
    }

    fn decode_many_bytes(
        bytes: &[u8],
        predicate_type: &str,
        limit: u64,
    ) -> Result<(Vec<Subject>, P), StatementError> {
        strict::check(bytes, limit)?;
        let whole: Self = match serde_json::from_slice(bytes) {
            Ok(whole) => whole,
            Err(why) => {
                return Err(
                    other_kind(bytes, predicate_type).unwrap_or(JsonError::from(why).into())
                );
            }
        };
        if let Some(why) = wrong_types(&whole.kind, &whole.predicate_type, predicate_type) {
            return Err(why);
        }
        Ok((whole.subject, whole.predicate))
    }
}

/// What a statement says that it is about, of bytes that nobody need have signed: to choose how to read it.
pub fn predicate_type(bytes: &[u8], limit: u64) -> Result<String, StatementError> {
    strict::check(bytes, limit)?;
    let head: Head = serde_json::from_slice(bytes).map_err(JsonError::from)?;
    if head.kind != STATEMENT {
        return Err(StatementError::Kind { found: head.kind });
    }
    Ok(head.predicate_type)
}

/// What a statement of another kind is, where that is why it was not read.
fn other_kind(bytes: &[u8], wanted: &str) -> Option<StatementError> {
    let head: Head = serde_json::from_slice(bytes).ok()?;
    wrong_types(&head.kind, &head.predicate_type, wanted)
}

fn wrong_types(kind: &str, predicate_type: &str, wanted: &str) -> Option<StatementError> {
    let found = |text: &str| text.to_owned();
    if kind != STATEMENT {
        return Some(StatementError::Kind { found: found(kind) });
    }
    (predicate_type != wanted).then(|| StatementError::Predicate {
        found: found(predicate_type),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            name: "m".to_owned(),
            digest: BTreeMap::from([("sha256".to_owned(), "00".to_owned())]),
        }
    }

    #[test]
    fn only_the_predicate_that_is_asked_for_is_read() {
        let bytes = Statement::encode("https://a/v1", subject(), 7_u32).unwrap();
        let read = |kind| Statement::<u32>::decode_bytes(&bytes, kind, 1000);
        assert_eq!(read("https://a/v1").unwrap(), (subject(), 7));
        assert!(matches!(
            read("https://a/v2"),
            Err(StatementError::Predicate { .. })
        ));
        let other = String::from_utf8(bytes)
            .unwrap()
            .replace("Statement/v1", "Statement/v0.1");
        let read = Statement::<u32>::decode_bytes(other.as_bytes(), "https://a/v1", 1000);
        assert!(matches!(read, Err(StatementError::Kind { .. })));
    }

    #[test]
    fn a_statement_about_two_things_is_refused() {
        let statement = Statement {
            kind: STATEMENT.to_owned(),
            subject: vec![subject(), subject()],
            predicate_type: "p".to_owned(),
            predicate: 1_u32,
        };
        let bytes = serde_json::to_vec(&statement).unwrap();
        assert!(matches!(
            Statement::<u32>::decode_bytes(&bytes, "p", 1000),
            Err(StatementError::Subjects { count: 2 })
        ));
    }
}
