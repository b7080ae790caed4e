//! What is sent to a witness: `old` size, the hashes of a consistency proof, an empty line, a signed tree head.
//!
//! Read strictly and with bounds before anything is believed; the same type writes it, for who asks a witness.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Digest;

use crate::note::{self, Note, NoteSyntax};
use crate::tree_head::{TreeHead, parse_extended};

/// The most bytes that a request may have: a note with some thirty of the large cosignatures, and the proof.
pub const MAX_REQUEST_BYTES: usize = 128 << 10;

/// The most lines of proof.
pub const MAX_PROOF_LINES: usize = 63;

/// A tree head that is to be cosigned, and the proof that it continues an earlier one. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the proof starts from.
    pub old: u64,
    /// The hashes of the proof.
    pub proof: Vec<Digest>,
    /// The signed tree head.
    pub note: Note,
}

/// Bytes that are not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestSyntax {
    /// Longer than [`MAX_REQUEST_BYTES`].
    #[error("a request has at most {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    /// The first line is not `old` and a size.
    #[error("the first line is not `old` and a size")]
    Old,
    /// A line of the proof is not a hash, or there are too many.
    #[error("line {line} is not one of at most {MAX_PROOF_LINES} hashes")]
    Hash {
        /// Which line, from 1.
        line: usize,
    },
    /// No empty line with a tree head behind it.
    #[error("there is no tree head")]
    NoHead,
    /// The tree head is not a signed note.
    #[error("the tree head is malformed: {0}")]
    Note(#[from] NoteSyntax),
    /// The note does not hold origin, size and root.
    #[error("the tree head does not hold an origin, a size and a root")]
    Form,
}

impl AddCheckpoint {
    /// Reads a request. Pure and total: any bytes give a request or an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestSyntax> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(RequestSyntax::TooLong);
        }
        let split = bytes.windows(2).position(|pair| pair == b"\n\n");
        let (lines, head) = split
            .and_then(|at| bytes.split_at_checked(at + 2))
            .ok_or(RequestSyntax::NoHead)?;
        let mut lines = lines
            .split(|byte| *byte == b'\n')
            .take_while(|line| !line.is_empty());
        let old = lines.next().and_then(parse_old).ok_or(RequestSyntax::Old)?;
        let mut proof = Vec::new();
        for (at, line) in lines.enumerate() {
            let hash = STANDARD.decode(line).ok().and_then(|it| it.try_into().ok());
            let hash = hash.filter(|_| at < MAX_PROOF_LINES);
            let hash = hash.ok_or(RequestSyntax::Hash { line: at + 2 })?;
            proof.push(Digest::from_bytes(hash));
        }
        let note = note::parse(head)?;
        parse_extended(note.text()).ok_or(RequestSyntax::Form)?;
        Ok(Self { old, proof, note })
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.extend([STANDARD.encode(hash.as_bytes()).as_str(), "\n"]);
        }
        text.push('\n');
        [text.into_bytes(), self.note.encode()].concat()
    }

    /// Origin, and size with root, as they were sent.
    pub fn head(&self) -> Option<(&str, TreeHead)> {
        parse_extended(self.note.text())
    }
}

fn parse_old(line: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(line).ok()?.strip_prefix("old ")?;
    let old: u64 = digits.parse().ok()?;
    (old.to_string() == digits).then_some(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT: &[u8] = include_bytes!("../../tests/vectors/tlog-1000/checkpoint");
    const COSIGNED: &[u8] = include_bytes!("../../tests/vectors/cosigned");

    fn request(head: &str, note: &[u8]) -> Result<AddCheckpoint, RequestSyntax> {
        AddCheckpoint::parse(&[head.as_bytes(), b"\n", note].concat())
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        for (hashes, note) in [(0, CHECKPOINT), (63, CHECKPOINT), (2, COSIGNED)] {
            let request = AddCheckpoint {
                old: 17,
                proof: vec![Digest::of(b"x"); hashes],
                note: note::parse(note).unwrap(),
            };
            assert_eq!(AddCheckpoint::parse(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn what_is_not_in_the_one_form_is_refused_with_its_place() {
        let hash = STANDARD.encode([1; 32]);
        for old in [
            "",
            "old",
            "old ",
            "old -1",
            "old 01",
            "old +1",
            "old 1 ",
            "Old 1",
            "old 18446744073709551616",
        ] {
            let refused = request(&format!("{old}\n"), CHECKPOINT).unwrap_err();
            assert!(
                matches!(refused, RequestSyntax::Old | RequestSyntax::NoHead),
                "{old:?}"
            );
        }
        for line in [
            "x",
            "AAAA",
            &hash[1..],
            &format!("{hash} "),
            &format!("{hash}\r"),
        ] {
            let refused = request(&format!("old 1\n{hash}\n{line}\n"), CHECKPOINT);
            assert_eq!(refused, Err(RequestSyntax::Hash { line: 3 }), "{line:?}");
        }
        let many = format!("old 1\n{}", format!("{hash}\n").repeat(64));
        assert_eq!(
            request(&many, CHECKPOINT),
            Err(RequestSyntax::Hash { line: 65 })
        );
        assert_eq!(AddCheckpoint::parse(b"old 1\n"), Err(RequestSyntax::NoHead));
        assert!(matches!(
            request("old 1\n", b"text\n"),
            Err(RequestSyntax::Note(_))
        ));
        let other = b"text\nno\nhead\n\n\xe2\x80\x94 k AAAAAAA=\n";
        assert_eq!(request("old 1\n", other), Err(RequestSyntax::Form));
        let thousands = [CHECKPOINT, &b"\xe2\x80\x94 k AAAAAAA=\n".repeat(4000)].concat();
        assert_eq!(
            request("old 1\n", &thousands),
            Err(RequestSyntax::Note(NoteSyntax::TooManySignatures))
        );
        let huge = vec![b'\n'; MAX_REQUEST_BYTES + 1];
        assert_eq!(AddCheckpoint::parse(&huge), Err(RequestSyntax::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_request_that_encodes_to_them_or_an_error(
            old in "old [0-9]{0,4}", lines in "([A-Za-z0-9+/]{43}=\n|[a-z]{0,3}\n){0,3}", cut in 0_usize..400,
        ) {
            let whole = [old.as_bytes(), b"\n", lines.as_bytes(), b"\n", CHECKPOINT].concat();
            let part = &whole[..cut.min(whole.len())];
            for bytes in [&whole[..], part] {
                if let Ok(request) = AddCheckpoint::parse(bytes) {
                    proptest::prop_assert_eq!(request.encode(), bytes);
                }
            }
        }
    }
}
