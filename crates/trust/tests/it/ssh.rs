//! SSH signatures beside OpenSSH: what it signs holds here, and what it refuses is refused here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, SHA512, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use taintline_trust::ssh::{AllowedSigners, Invalid, PublicKey, Revoked, Signature, Standing};
use tempfile::TempDir;

const MESSAGE: &[u8] = b"run brave-otter-41 may be released\n";
const PURPOSE: &str = "approval@taintline";
/// 2026-11-22 08:30:00 UTC.
const NOW: i64 = 1_795_336_200;

const KINDS: [&[&str]; 6] = [
    &["ed25519"],
    &["ecdsa", "-b", "256"],
    &["ecdsa", "-b", "384"],
    &["ecdsa", "-b", "521"],
    &["rsa", "-b", "2048"],
    &["rsa", "-b", "3072"],
];

fn keygen(arguments: &[&str], folder: &Path, input: &[u8]) -> bool {
    let stdin = folder.join("stdin");
    fs::write(&stdin, input).expect("writable");
    let status = Command::new("ssh-keygen")
        .args(arguments)
        .current_dir(folder)
        .stdin(fs::File::open(stdin).expect("readable"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("OpenSSH is installed").success()
}

struct Made {
    folder: TempDir,
    key: PublicKey,
    signature: Vec<u8>,
}

fn made(kind: &[&str], namespace: &str) -> Made {
    let folder = TempDir::new().expect("a folder");
    let mut arguments = vec!["-q", "-N", "", "-C", "ada", "-f", "key", "-t"];
    arguments.extend(kind);
    assert!(keygen(&arguments, folder.path(), b""));
    fs::write(folder.path().join("message"), MESSAGE).expect("writable");
    let sign = ["-Y", "sign", "-n", namespace, "-f", "key", "message"];
    assert!(keygen(&sign, folder.path(), b""));
    let key = fs::read_to_string(folder.path().join("key.pub")).expect("a key");
    Made {
        key: key.parse().expect("a key that OpenSSH made"),
        signature: fs::read(folder.path().join("message.sig")).expect("a signature"),
        folder,
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("writable");
    path
}

#[test]
fn what_openssh_signs_with_every_kind_of_key_holds() {
    for kind in KINDS {
        let Made {
            key,
            signature,
            folder,
        } = made(kind, PURPOSE);
        let signature = Signature::parse(&signature).expect("a signature of OpenSSH");
        assert_eq!(signature.key(), &key, "{kind:?}");
        assert_eq!(signature.verify(PURPOSE, MESSAGE), Ok(()), "{kind:?}");
        assert_eq!(
            signature.verify(PURPOSE, b"other"),
            Err(Invalid::Wrong),
            "{kind:?}"
        );
        let wanted = "git".to_owned();
        assert_eq!(
            signature.verify("git", MESSAGE),
            Err(Invalid::Namespace { wanted })
        );
        let list = ["-l", "-f", "key.pub"];
        let listed = Command::new("ssh-keygen")
            .args(list)
            .current_dir(&folder)
            .output();
        let listed = String::from_utf8(listed.expect("runs").stdout).expect("text");
        assert!(listed.contains(&key.fingerprint()), "{listed}");
    }
}

#[test]
fn every_changed_byte_of_a_signature_is_noticed() {
    for kind in [KINDS[0], KINDS[1], KINDS[3], KINDS[4]] {
        let Made { key, signature, .. } = made(kind, PURPOSE);
        let text = String::from_utf8(signature).expect("text");
        let encoded: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let blob = STANDARD.decode(encoded).expect("base64");
        for position in 0..blob.len() {
            let mut changed = blob.clone();
            changed[position] ^= 1 << (position % 8);
            let holds = Signature::from_blob(&changed).is_ok_and(|signature| {
                signature.verify(PURPOSE, MESSAGE).is_ok() && signature.key() == &key
            });
            assert!(!holds, "{kind:?}: byte {position}");
        }
        for length in 0..blob.len() {
            assert!(
                Signature::from_blob(&blob[..length]).is_err(),
                "{kind:?}: cut at {length}"
            );
        }
        assert!(
            Signature::from_blob(&[blob, vec![0]].concat()).is_err(),
            "something behind it"
        );
    }
}

/// Lines of an `allowed_signers` file; `KEY` is the key. OpenSSH and we must agree on each.
const LINES: [(&str, bool); 14] = [
    ("ada@example.org KEY", true),
    ("*@example.org KEY ada's key", true),
    ("eve@example.org,*@example.org KEY", true),
    ("!ada@example.org,*@example.org KEY", false),
    ("eve@example.org KEY", false),
    (
        "ada@example.org namespaces=\"git,approval@taintline\" KEY",
        true,
    ),
    ("ada@example.org namespaces=\"git\" KEY", false),
    ("ada@example.org namespaces=\"approval@*\" KEY", true),
    ("ada@example.org valid-after=\"20260101Z\" KEY", true),
    ("ada@example.org valid-after=\"20270101Z\" KEY", false),
    ("ada@example.org valid-before=\"20270101Z\" KEY", true),
    ("ada@example.org valid-before=\"20260101Z\" KEY", false),
    (
        "ada@example.org namespaces=\"approval@taintline\",valid-after=\"202601010000Z\",valid-before=\"20261122083000Z\" KEY",
        true,
    ),
    (
        "ada@example.org valid-before=\"20261122082959Z\" KEY",
        false,
    ),
];

#[test]
fn allowed_signers_mean_what_they_mean_to_openssh() {
    let Made {
        key,
        signature,
        folder,
    } = made(KINDS[0], PURPOSE);
    write(folder.path(), "sig", &signature);
    for (line, wanted) in LINES {
        let line = line.replace("KEY", &key.to_string());
        write(folder.path(), "allowed", line.as_bytes());
        let verify = [
            "-Y",
            "verify",
            "-f",
            "allowed",
            "-I",
            "ada@example.org",
            "-n",
            PURPOSE,
            "-s",
            "sig",
            "-Overify-time=20261122083000Z",
        ];
        assert_eq!(
            keygen(&verify, folder.path(), MESSAGE),
            wanted,
            "OpenSSH: {line}"
        );
        let list = AllowedSigners::parse(line.as_bytes()).expect("a list");
        let standing = list.standing(&key, Some("ada@example.org"), PURPOSE, NOW);
        assert_eq!(
            matches!(standing, Standing::Allowed { .. }),
            wanted,
            "{line}: {standing:?}"
        );
    }
}

#[test]
fn why_a_key_does_not_count_is_told() {
    let Made { key, .. } = made(KINDS[0], PURPOSE);
    let told = |line: &str| {
        let list = AllowedSigners::parse(line.replace("KEY", &key.to_string()).as_bytes());
        list.expect("a list")
            .standing(&key, Some("ada"), PURPOSE, NOW)
    };
    assert_eq!(told("# nobody"), Standing::Unknown);
    assert_eq!(
        told(
            "ada valid-before=\"2026Z\" KEY\n"
                .replace("2026Z", "20260101Z")
                .as_str()
        ),
        Standing::Expired { line: 1 }
    );
    assert_eq!(
        told("\n\nada valid-after=\"20270101Z\" KEY"),
        Standing::NotYet { line: 3 }
    );
    assert_eq!(
        told("ada valid-before=\"20261122\" KEY"),
        Standing::Zone { line: 1 }
    );
    let principals = "eve".to_owned();
    assert_eq!(
        told("eve KEY"),
        Standing::OtherPerson {
            line: 1,
            principals
        }
    );
    let namespaces = "git".to_owned();
    assert_eq!(
        told("ada namespaces=\"git\" KEY"),
        Standing::OtherPurpose {
            line: 1,
            namespaces
        }
    );
    let principals = "ada".to_owned();
    assert_eq!(
        told("eve KEY\nada KEY"),
        Standing::Allowed {
            line: 2,
            principals
        },
        "the best line counts"
    );
}

#[test]
fn a_line_that_cannot_be_read_is_an_error_with_its_number() {
    let Made { key, .. } = made(KINDS[0], PURPOSE);
    for line in [
        "ada",
        "ada cert-authority KEY",
        "ada no-such-option KEY",
        "ada valid-after=\"tomorrow\" KEY",
        "ada valid-after=\"20260101Z\",valid-after=\"20270101Z\" KEY",
        "ada namespaces=\"git KEY",
        "ada ssh-ed25519 AAAA",
        "ada ssh-dss AAAAB3NzaC1kc3M=",
    ] {
        let file = format!("# one\n{}\n", line.replace("KEY", &key.to_string()));
        let error = AllowedSigners::parse(file.as_bytes())
            .expect_err(line)
            .to_string();
        assert!(error.starts_with("line 2 "), "{line}: {error}");
    }
}

#[test]
fn keys_that_were_taken_back_are_known_in_both_forms() {
    let taken = made(KINDS[0], PURPOSE);
    let other = made(KINDS[1], PURPOSE).key;
    let plain = Revoked::parse(format!("# gone\n{}\n", taken.key).as_bytes()).expect("a list");
    assert!(plain.contains(&taken.key) && !plain.contains(&other));
    for (name, specification) in [
        ("explicit", None),
        ("sha1", Some("sha1: KEY\n")),
        ("sha256", Some("hash: FINGERPRINT\n")),
    ] {
        let mut arguments = vec!["-k", "-f", "krl"];
        if let Some(specification) = specification {
            let text = specification
                .replace("KEY", &taken.key.to_string())
                .replace("FINGERPRINT", &taken.key.fingerprint());
            write(taken.folder.path(), "specification", text.as_bytes());
            arguments.push("specification");
        } else {
            arguments.push("key.pub");
        }
        assert!(keygen(&arguments, taken.folder.path(), b""), "{name}");
        let krl = fs::read(taken.folder.path().join("krl")).expect("a list");
        let list = Revoked::parse(&krl).expect(name);
        assert!(
            list.contains(&taken.key) && !list.contains(&other),
            "{name}"
        );
        assert!(
            Revoked::parse(&krl[..krl.len() - 1]).is_err(),
            "{name}: cut"
        );
    }
    assert!(Revoked::parse(b"ssh-ed25519 nonsense\n").is_err());
}

/// A signature as a hardware token makes it, from a key in memory: `flags` say whether somebody touched it.
fn token(flags: u8) -> (String, Vec<u8>) {
    fn string(out: &mut Vec<u8>, bytes: &[u8]) {
        out.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
        out.extend(bytes);
    }
    const KIND: &[u8] = b"sk-ssh-ed25519@openssh.com";
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let mut key = Vec::new();
    for part in [KIND, pair.public_key().as_ref(), b"ssh:"] {
        string(&mut key, part);
    }
    let mut signed = b"SSHSIG".to_vec();
    for part in [
        PURPOSE.as_bytes(),
        b"",
        b"sha512",
        digest(&SHA512, MESSAGE).as_ref(),
    ] {
        string(&mut signed, part);
    }
    let mut bound = digest(&SHA256, b"ssh:").as_ref().to_vec();
    bound.push(flags);
    bound.extend(9_u32.to_be_bytes());
    bound.extend(digest(&SHA256, &signed).as_ref());
    let mut body = Vec::new();
    string(&mut body, KIND);
    string(&mut body, pair.sign(&bound).as_ref());
    body.push(flags);
    body.extend(9_u32.to_be_bytes());
    let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
    for part in [&key, PURPOSE.as_bytes(), b"", b"sha512", &body] {
        string(&mut blob, part);
    }
    let key = format!("sk-ssh-ed25519@openssh.com {}", STANDARD.encode(key));
    (key, blob)
}

#[test]
fn a_tokens_signature_counts_only_when_somebody_touched_it() {
    let folder = TempDir::new().expect("a folder");
    for (flags, touched) in [(1, true), (5, true), (0, false)] {
        let (key, blob) = token(flags);
        let signature = Signature::from_blob(&blob).expect("a signature");
        assert_eq!(signature.key().to_string(), key);
        assert_eq!(
            signature.verify(PURPOSE, MESSAGE).is_ok(),
            touched,
            "{flags}"
        );
        assert_eq!(
            signature.token().expect("of a token").verified(),
            flags & 4 != 0
        );
        assert_eq!(signature.verify(PURPOSE, b"other"), Err(Invalid::Wrong));
        // To OpenSSH it is a token's signature as well; it asks for the touch where a key logs in, not here.
        let armoured = format!(
            "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
            STANDARD.encode(&blob)
        );
        assert_eq!(Signature::parse(armoured.as_bytes()), Ok(signature));
        write(folder.path(), "sig", armoured.as_bytes());
        write(folder.path(), "allowed", format!("ada {key}\n").as_bytes());
        let verify = [
            "-Y", "verify", "-f", "allowed", "-I", "ada", "-n", PURPOSE, "-s", "sig",
        ];
        assert!(keygen(&verify, folder.path(), MESSAGE), "OpenSSH: {flags}");
        assert!(
            !keygen(&verify, folder.path(), b"other"),
            "OpenSSH: {flags}"
        );
    }
}
