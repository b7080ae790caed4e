//! What a git commit carries of signatures.
//!
//! The raw object is read, as `git cat-file commit` prints it: who signed is a matter between the bytes and the key, and
//! not of what the repository's own configuration says about it. OpenPGP and X.509 signatures are named and not checked.

use crate::ssh::{Signature, SignatureSyntax};

/// The most bytes of a commit object that are looked at.
pub const MAX_COMMIT_BYTES: usize = 1 << 20;

/// The purpose that git signs for.
pub const NAMESPACE: &str = "git";

/// The headers that hold a signature; neither is part of what is signed.
const HEADERS: [&[u8]; 2] = [b"gpgsig ", b"gpgsig-sha256 "];

/// A commit, taken apart into what is signed and the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The bytes that are signed.
    pub signed: Vec<u8>,
    /// When the committer says that it was made, in seconds since 1970: nobody else's word.
    pub committed_at: Option<i64>,
    /// The signature.
    pub signature: CommitSignature,
}

/// What stands in the place of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitSignature {
    /// Nothing.
    Absent,
    /// An SSH signature, not yet verified.
    Ssh(Box<Signature>),
    /// Something that begins as an SSH signature does and is none.
    Malformed(SignatureSyntax),
    /// An OpenPGP signature.
    OpenPgp,
    /// An X.509 signature (CMS).
    X509,
    /// Something else.
    Unknown,
}

impl Commit {
    /// Takes the raw object apart. Total: where there are no headers, nothing is signed.
    pub fn parse(object: &[u8]) -> Self {
        let object = object.get(..MAX_COMMIT_BYTES).unwrap_or(object);
        let mut signed = Vec::with_capacity(object.len());
        let mut armour = Vec::new();
        let mut committed_at = None;
        let mut rest = object;
        let mut taking = false;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end + 1);
            if line == b"\n" {
                break;
            }
            rest = behind;
            let header = HEADERS.iter().find_map(|header| line.strip_prefix(*header));
            match (line.strip_prefix(b" "), header) {
                (Some(more), _) if taking => armour.extend(more),
                (_, Some(first)) => {
                    taking = true;
                    // Of two signatures, for two kinds of object names, the first is judged.
                    if armour.is_empty() {
                        armour.extend(first);
                    }
                }
                _ => {
                    taking = false;
                    if let Some(committer) = line.strip_prefix(b"committer ") {
                        committed_at = committed_at.or_else(|| time(committer));
                    }
                    signed.extend(line);
                }
            }
        }
        signed.extend(rest);
        Self {
            signed,
            committed_at,
            signature: signature(&armour),
        }
    }
}

fn signature(armour: &[u8]) -> CommitSignature {
    if armour.is_empty() {
        return CommitSignature::Absent;
    }
    if armour.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        return match Signature::parse(armour) {
            Ok(signature) => CommitSignature::Ssh(Box::new(signature)),
            Err(error) => CommitSignature::Malformed(error),
        };
    }
    let begins = |text: &[u8]| armour.starts_with(text);
    if begins(b"-----BEGIN PGP SIGNATURE-----") || begins(b"-----BEGIN PGP MESSAGE-----") {
        CommitSignature::OpenPgp
    } else if begins(b"-----BEGIN SIGNED MESSAGE-----") {
        CommitSignature::X509
    } else {
        CommitSignature::Unknown
    }
}

/// `NAME <MAIL> SECONDS ZONE`: the seconds.
fn time(committer: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(committer);
    let (_, behind) = text.rsplit_once('>')?;
    behind.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] =
        b"tree 1\nauthor A <a> 5 +0000\ncommitter A <a> 7 +0100\n\ngpgsig is a word\n";

    #[test]
    fn a_commit_without_a_signature_is_told_from_one_that_talks_of_it() {
        let commit = Commit::parse(PLAIN);
        assert_eq!(commit.signature, CommitSignature::Absent);
        assert_eq!(commit.committed_at, Some(7));
        assert_eq!(commit.signed, PLAIN);
    }

    #[test]
    fn the_signatures_of_either_object_format_are_not_part_of_what_is_signed() {
        let with = |header: &str| {
            let text = String::from_utf8_lossy(PLAIN);
            text.replace(
                "\n\n",
                &format!("\n{header} -----BEGIN PGP SIGNATURE-----\n \n abc\n\n"),
            )
            .into_bytes()
        };
        for header in ["gpgsig", "gpgsig-sha256"] {
            let commit = Commit::parse(&with(header));
            assert_eq!(commit.signature, CommitSignature::OpenPgp);
            assert_eq!(commit.signed, PLAIN);
        }
    }

    #[test]
    fn nonsense_is_named_and_no_signature() {
        for (armour, wanted) in [
            ("-----BEGIN SIGNED MESSAGE-----", CommitSignature::X509),
            ("hello", CommitSignature::Unknown),
            (
                "-----BEGIN SSH SIGNATURE-----\n !",
                CommitSignature::Malformed(SignatureSyntax::Armour),
            ),
        ] {
            let object = format!("tree 1\ngpgsig {armour}\n\nmessage");
            assert_eq!(
                Commit::parse(object.as_bytes()).signature,
                wanted,
                "{armour}"
            );
        }
        assert_eq!(Commit::parse(b"").signature, CommitSignature::Absent);
    }
}
