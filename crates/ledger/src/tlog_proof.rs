//! A proof in one file (C2SP tlog-proof): that an entry is in a log, for whoever has the log's public key and nothing else.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>            what the application adds; here the entry itself
//! index <number>
//! <base64>                  hashes of the inclusion proof, one a line
//!
//! <signed tree head>
//! ```
//!
//! Read strictly: what is read is, encoded again, byte for byte the same. `extra` is covered by no signature, but an entry
//! in it that does not have the proved leaf digest is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Digest;

use crate::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::proof::{self, MAX_HASHES};
use crate::tile::MAX_ENTRY_BYTES;
use crate::tree::leaf;
use crate::tree_head::{self, TreeHead, TreeHeadError};

/// The first line.
const TITLE: &str = "c2sp.org/tlog-proof@v1\n";

/// The most bytes that a proof file may have: an entry in base64, the hashes, a note.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + MAX_ENTRY_BYTES * 2 + 8192;

/// That an entry is in a log: not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// What the application adds; ours is the entry.
    pub extra: Option<Vec<u8>>,
    /// The number of the entry.
    pub index: u64,
    /// The inclusion proof, lowest hash first.
    pub hashes: Vec<Digest>,
    /// The signed tree head, as bytes.
    pub tree_head: Vec<u8>,
}

/// Bytes that are not a proof file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofSyntax {
    /// More bytes than any proof has.
    #[error("a proof has at most {MAX_PROOF_BYTES} bytes")]
    TooLong,
    /// Another first line.
    #[error("the file does not begin with `c2sp.org/tlog-proof@v1`")]
    Title,
    /// A line that is not in the one form.
    #[error("line {line} of the proof is malformed")]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// No empty line with a tree head behind it.
    #[error("the proof has no tree head")]
    NoTreeHead,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The tree head is not one of this log.
    #[error(transparent)]
    Head(#[from] TreeHeadError),
    /// There is no entry to be proved, neither given nor in the file.
    #[error("the proof does not hold the entry, and none was given")]
    NoEntry,
    /// The file holds another entry than the one that was given.
    #[error("the proof is of another entry")]
    OtherEntry,
    /// The hashes do not lead from the entry to the signed root.
    #[error("the hashes do not lead from the entry to the signed tree head")]
    Hashes,
}

impl TlogProof {
    /// The one encoding of this proof.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = TITLE.to_owned();
        if let Some(extra) = &self.extra {
            text.extend(["extra ", &STANDARD.encode(extra), "\n"]);
        }
        text.extend(["index ", &self.index.to_string(), "\n"]);
        for hash in &self.hashes {
            text.extend([STANDARD.encode(hash.as_bytes()).as_str(), "\n"]);
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.tree_head);
        bytes
    }

    /// Reads a proof file. Pure and total: any bytes give a proof or an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofSyntax> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(ProofSyntax::TooLong);
        }
        let rest = bytes
            .strip_prefix(TITLE.as_bytes())
            .ok_or(ProofSyntax::Title)?;
        let end = rest.windows(2).position(|pair| pair == b"\n\n");
        let (lines, tree_head) = end
            .and_then(|end| rest.split_at_checked(end + 2))
            .filter(|(_, tree_head)| !tree_head.is_empty())
            .ok_or(ProofSyntax::NoTreeHead)?;
        let malformed = |line: usize| ProofSyntax::Line { line: line + 2 };
        let text = std::str::from_utf8(lines).map_err(|_| malformed(0))?;
        let mut lines = text
            .trim_end_matches('\n')
            .split('\n')
            .enumerate()
            .peekable();
        let extra = match lines.next_if(|(_, line)| line.starts_with("extra ")) {
            Some((at, line)) => {
                let encoded = line.strip_prefix("extra ").unwrap_or_default();
                let extra = STANDARD.decode(encoded).map_err(|_| malformed(at))?;
                Some(extra)
            }
            None => None,
        };
        let (at, index) = lines.next().ok_or(malformed(0))?;
        let index = index
            .strip_prefix("index ")
            .and_then(|index| index.parse().ok())
            .ok_or(malformed(at))?;
        let mut hashes = Vec::new();
        for (at, line) in lines {
            let hash = STANDARD.decode(line).ok().and_then(|it| it.try_into().ok());
            if hashes.len() == MAX_HASHES {
                return Err(malformed(at));
            }
            hashes.push(Digest::from_bytes(hash.ok_or(malformed(at))?));
        }
        let proof = Self {
            extra,
            index,
            hashes,
            tree_head: tree_head.to_vec(),
        };
        // What is not in the one form (a sign, a zero in front, an empty line more) shows here.
        if proof.encode() == bytes {
            Ok(proof)
        } else {
            Err(malformed(at))
        }
    }

    /// Verifies that the log with this key has the entry at the index: the one that is given, or else the one in the
    /// file. Gives the entry and the signed tree head.
    pub fn verify<'a>(
        &'a self,
        key: &VerifierKey,
        entry: Option<&'a [u8]>,
    ) -> Result<(&'a [u8], TreeHead), ProofError> {
        let (head, _) = tree_head::open(&self.tree_head, key)?;
        let inside = self.extra.as_deref();
        let entry = match (entry, inside) {
            (Some(given), Some(inside)) if given != inside => return Err(ProofError::OtherEntry),
            (Some(given), _) => given,
            (None, Some(inside)) => inside,
            (None, None) => return Err(ProofError::NoEntry),
        };
        if proof::is_included(leaf(entry), self.index, head.size, &self.hashes, head.root) {
            Ok((entry, head))
        } else {
            Err(ProofError::Hashes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> TlogProof {
        TlogProof {
            extra: Some(b"entry".to_vec()),
            index: 7,
            hashes: vec![Digest::of(b"a"), Digest::of(b"b")],
            tree_head: b"log\n9\nroot\n\n\xe2\x80\x94 log AAAA\n".to_vec(),
        }
    }

    #[test]
    fn what_was_encoded_is_read_back_with_and_without_its_parts() {
        for (extra, hashes) in [(None, 0), (None, 2), (Some(b"e".to_vec()), 0)] {
            let mut proof = proof();
            proof.extra = extra;
            proof.hashes.truncate(hashes);
            assert_eq!(TlogProof::parse(&proof.encode()), Ok(proof));
        }
    }

    #[test]
    fn only_the_one_form_is_a_proof() {
        let whole = String::from_utf8(proof().encode()).unwrap();
        for bad in [
            whole.replace("v1", "v2"),
            whole.replace("index 7", "index 07"),
            whole.replace("index 7", "index +7"),
            whole.replace("index 7\n", ""),
            whole.replace("index 7", "index 18446744073709551616"),
            whole.replace("extra ZW50cnk=", "extra ZW50cnk"),
            whole.replace("index 7\n", "index 7\nAAAA\n"),
            whole.replace("extra", "Extra"),
            whole.split("\n\n").next().unwrap().to_owned(),
            whole.replacen('\n', "\r\n", 3),
        ] {
            assert!(TlogProof::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = "A".repeat(43) + "=\n";
        let long = whole.replace("index 7\n", &format!("index 7\n{}", many.repeat(65)));
        assert!(matches!(
            TlogProof::parse(long.as_bytes()),
            Err(ProofSyntax::Line { .. })
        ));
    }
}
