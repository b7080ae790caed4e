//! What a git commit carries of signatures.
//!
//! The raw object is read, as `git cat-file commit` prints it: who signed is a matter between the bytes and the key, and
//! not of what the repository's own configuration says about it. OpenPGP and X.509 signatures are named and not checked.

use ring::digest;

use crate::ssh::{Signature, SignatureSyntax};

/// The most bytes of a commit object that a caller should read; a longer one is not judged, for a part of it is not signed.
pub const MAX_COMMIT_BYTES: usize = 1 << 20;

/// The purpose that git signs for.
pub const NAMESPACE: &str = "git";

/// The headers that hold a signature, for names of either kind; neither is part of what is signed.
const HEADERS: [&[u8]; 2] = [b"gpgsig ", b"gpgsig-sha256 "];

/// Whether `object` is the commit that is called `id`: 40 hexadecimal digits of SHA-1 or 64 of SHA-256. Git itself hands
/// out another object where a reference under `refs/replace` says so, and holds nothing against the name when it reads.
pub fn is_named(object: &[u8], id: &str) -> bool {
    is_object("commit", object, id)
}

/// The same of an object of any kind: `commit`, `tree`, `blob`.
pub fn is_object(kind: &str, object: &[u8], id: &str) -> bool {
    let algorithm = match id.len() {
        40 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        64 => &digest::SHA256,
        _ => return false,
    };
    let mut all = digest::Context::new(algorithm);
    all.update(format!("{kind} {}\0", object.len()).as_bytes());
    all.update(object);
    let found = all.finish();
    let digits = found.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<String>() == id
}

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

/// In which header a line lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In one that is signed.
    Signed,
    /// In the first signature of this kind.
    Signature(usize),
    /// In a further one, which nobody judges.
    Further,
}

impl Commit {
    /// Takes the whole raw object apart. Total: where there are no headers, nothing is signed. Of two signatures that for
    /// the object's own kind of names is judged: the other one is over other bytes.
    pub fn parse(object: &[u8]) -> Self {
        let mut signed = Vec::with_capacity(object.len());
        let mut armours = [Vec::new(), Vec::new()];
        let mut committed_at = None;
        let mut rest = object;
        let mut place = Place::Signed;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end + 1);
            if line == b"\n" {
                break;
            }
            rest = behind;
            let mut text = line;
            if let Some(more) = line.strip_prefix(b" ") {
                text = more;
            } else if let Some((kind, first)) = header(line) {
                let is_first = armours.get(kind).is_some_and(Vec::is_empty);
                place = if is_first {
                    Place::Signature(kind)
                } else {
                    Place::Further
                };
                text = first;
            } else {
                place = Place::Signed;
            }
            match place {
                Place::Signed => {
                    if let Some(committer) = line.strip_prefix(b"committer ") {
                        committed_at = committed_at.or_else(|| time(committer));
                    }
                    signed.extend(line);
                }
                Place::Signature(kind) => {
                    armours
                        .get_mut(kind)
                        .into_iter()
                        .for_each(|it| it.extend(text));
                }
                Place::Further => {}
            }
        }
        signed.extend(rest);
        let [mut own, mut other] = armours;
        if names_are_sha256(object) {
            std::mem::swap(&mut own, &mut other);
        }
        Self {
            signed,
            committed_at,
            signature: signature(if own.is_empty() { &other } else { &own }),
        }
    }
}

/// Which kind of signature begins here, and the rest of the line.
fn header(line: &[u8]) -> Option<(usize, &[u8])> {
    let all = HEADERS.iter().enumerate();
    all.into_iter()
        .find_map(|(kind, header)| Some((kind, line.strip_prefix(*header)?)))
}

/// The first line names the tree as everything is named there.
fn names_are_sha256(object: &[u8]) -> bool {
    let name = object.strip_prefix(b"tree ").unwrap_or_default();
    name.iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count()
        == 64
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
    fn of_two_signatures_that_of_the_object_s_own_kind_is_judged_whole_and_no_other() {
        let (pgp, x509) = (
            "-----BEGIN PGP SIGNATURE-----\n p",
            "-----BEGIN SIGNED MESSAGE-----\n x",
        );
        let tail = "committer A <a> 7 +0100\n\nmessage";
        for (digits, headers, wanted) in [
            (40, ["gpgsig", "gpgsig-sha256"], CommitSignature::OpenPgp),
            (40, ["gpgsig-sha256", "gpgsig"], CommitSignature::X509),
            (64, ["gpgsig", "gpgsig-sha256"], CommitSignature::X509),
            (64, ["gpgsig-sha256", "gpgsig"], CommitSignature::OpenPgp),
            (40, ["gpgsig", "gpgsig"], CommitSignature::OpenPgp),
        ] {
            let [first, second] = headers;
            let tree = format!("tree {}\n", "0".repeat(digits));
            let text = format!("{tree}{first} {pgp}\n{second} {x509}\n{tail}");
            let commit = Commit::parse(text.as_bytes());
            assert_eq!(commit.signature, wanted, "{text}");
            assert_eq!(commit.signed, format!("{tree}{tail}").as_bytes());
        }
        // An SSH signature is read to its end and no further.
        let key = "-----BEGIN SSH SIGNATURE-----\n U1NIU0lH\n -----END SSH SIGNATURE-----";
        let signature = |more: &str| {
            let text = format!("tree {}\ngpgsig {key}\n{more}{tail}", "0".repeat(40));
            Commit::parse(text.as_bytes()).signature
        };
        assert_eq!(signature(&format!("gpgsig-sha256 {pgp}\n")), signature(""));
    }

    #[test]
    fn an_object_has_the_name_that_its_bytes_give_and_no_other() {
        // `git hash-object -t commit`, in a repository of either kind.
        let object = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a> 5 +0000\ncommitter A <a> 7 +0100\n\nm\n";
        let id = "ef2417108502f34de8b716549f69860ae20e97bb";
        assert!(is_named(object, id));
        assert!(!is_named(&object[1..], id) && !is_named(object, &id[1..]));
        assert!(is_named(
            object,
            "e975d2389387d90fa6dbcf95dc18dbfde47eb7d2d3b0971e307a53421ff78def"
        ));
        assert!(!is_named(object, ""));
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
