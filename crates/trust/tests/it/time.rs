//! Time stamps beside OpenSSL: it plays the authority, and it checks what we ask.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::Digest;
use taintline_trust::time::{ChainFault, NotStamped, Refusal, Token, request, response};
use tempfile::TempDir;

const MESSAGE: &[u8] = b"taintline.example/ada\n7\nhash\n";
const NONCE: [u8; 8] = [0x80, 1, 2, 3, 4, 5, 6, 7];

fn openssl(folder: &Path, command: &str) -> bool {
    let status = Command::new("openssl")
        .args(command.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("OpenSSL is installed").success()
}

const CONFIGURATION: &str = "
[req]
distinguished_name = name
prompt = no
[name]
CN = an authority
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[tsa]
basicConstraints = CA:FALSE
extendedKeyUsage = critical, timeStamping
[other]
basicConstraints = CA:FALSE
extendedKeyUsage = codeSigning


[here]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1, millisecs:500
ess_cert_id_chain = no
ess_cert_id_alg = sha256
";

struct Authority(TempDir);

impl Authority {
    /// A root, and under it a certificate with a key of this kind, valid from `from` on for a year.
    fn new(key: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let at = folder.path();
        fs::write(at.join("cnf"), CONFIGURATION).expect("writable");
        fs::write(at.join("message"), MESSAGE).expect("writable");
        for command in [
            "req -config cnf -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -extensions ca -subj /CN=root",
            &format!("req -config cnf -new -newkey {key} -nodes -keyout tsa.key -out tsa.csr"),
            "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 9 -extfile cnf -extensions tsa",
            "x509 -in ca.pem -outform DER -out ca.der",
        ] {
            assert!(openssl(at, command), "{command}");
        }
        Self(folder)
    }

    fn at(&self) -> &Path {
        self.0.path()
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        vec![fs::read(self.at().join("ca.der")).expect("a certificate")]
    }

    fn answer(&self, query: &[u8]) -> Vec<u8> {
        fs::write(self.at().join("query"), query).expect("writable");
        let reply = "ts -reply -config cnf -section here -queryfile query -signer tsa.pem -inkey tsa.key -out reply";
        assert!(openssl(self.at(), reply));
        fs::read(self.at().join("reply")).expect("an answer")
    }

    fn token(&self) -> Vec<u8> {
        let answer = self.answer(&request(&Digest::of(MESSAGE), NONCE));
        response(&answer).expect("a token")
    }
}

#[test]
fn what_openssl_stamps_at_our_request_holds_here_and_there() {
    for key in [
        "rsa:2048",
        "rsa:3072",
        "ec -pkeyopt ec_paramgen_curve:P-256",
        "ec -pkeyopt ec_paramgen_curve:P-384",
    ] {
        let authority = Authority::new(key);
        let token = Token::parse(&authority.token()).expect("a token");
        let stamped = token.verify(&Digest::of(MESSAGE), Some(NONCE), &authority.roots());
        let stamped = stamped.unwrap_or_else(|error| panic!("{key}: {error}"));
        let age = jiff::Timestamp::now().duration_since(stamped.at).as_secs();
        assert!((-2..600).contains(&age), "{age} s");
        assert_eq!(stamped.accuracy_us, Some(1_500_000));
        assert_eq!(token.stated().policy, "1.2.3.4.1");
        let verify = "ts -verify -in reply -queryfile query -CAfile ca.pem";
        assert!(openssl(authority.at(), verify), "{key}");
        let verify = "ts -verify -in reply -data message -CAfile ca.pem";
        assert!(
            openssl(authority.at(), verify),
            "{key}: our digest is OpenSSL's"
        );
    }
}

#[test]
fn a_stamp_over_other_bytes_or_for_another_request_does_not_count() {
    let authority = Authority::new("rsa:2048");
    let (token, roots) = (authority.token(), authority.roots());
    let token = Token::parse(&token).expect("a token");
    let verify = |bytes: &[u8], nonce| token.verify(&Digest::of(bytes), nonce, &roots);
    assert_eq!(verify(b"other", None), Err(NotStamped::Imprint));
    assert_eq!(verify(MESSAGE, Some([1; 8])), Err(NotStamped::Nonce));
    assert!(
        verify(MESSAGE, None).is_ok(),
        "without a nonce any answer will do"
    );
    let other = Authority::new("rsa:2048").roots();
    let error = token
        .verify(&Digest::of(MESSAGE), None, &other)
        .expect_err("another root");
    assert!(matches!(error, NotStamped::Chain(_)), "{error}");
    assert_eq!(
        token.verify(&Digest::of(MESSAGE), None, &[]),
        Err(NotStamped::Chain(ChainFault::UnknownIssuer))
    );
    assert_eq!(
        token.verify(&Digest::of(MESSAGE), None, &[b"no certificate".to_vec()]),
        Err(NotStamped::Root)
    );
}

#[test]
fn certificates_for_other_purposes_or_out_of_their_time_do_not_count() {
    for (extensions, days, wanted) in [
        ("other", "-days 9", ChainFault::Purpose),
        (
            "tsa",
            "-not_before 20200101000000Z -not_after 20200201000000Z",
            ChainFault::Expired,
        ),
        (
            "tsa",
            "-not_before 20900101000000Z -not_after 20910101000000Z",
            ChainFault::NotYet,
        ),
    ] {
        let authority = Authority::new("rsa:2048");
        let dates = days
            .replace("-not_before ", "-startdate ")
            .replace("-not_after ", "-enddate ");
        fs::write(authority.at().join("index"), "").expect("writable");
        fs::write(authority.at().join("number"), "10\n").expect("writable");
        let issuer = format!(
            "{CONFIGURATION}\n[issuer]\ndatabase = index\nserial = number\nnew_certs_dir = .\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n"
        );
        fs::write(authority.at().join("issuer.cnf"), issuer).expect("writable");
        let sign = format!(
            "ca -batch -config issuer.cnf -name issuer -cert ca.pem -keyfile ca.key -in tsa.csr -out bad.pem -notext -extfile cnf -extensions {extensions} {dates}"
        );
        assert!(openssl(authority.at(), &sign), "{sign}");
        // OpenSSL would not sign with such a certificate, so the good one's signature gets its place taken.
        let token = authority.token();
        fs::rename(
            authority.at().join("bad.pem"),
            authority.at().join("tsa.pem"),
        )
        .expect("moved");
        let refused = !openssl(
            authority.at(),
            "ts -reply -config cnf -section here -queryfile query -signer tsa.pem -inkey tsa.key -out reply",
        );
        if refused {
            assert_eq!(
                wanted,
                ChainFault::Purpose,
                "only the purpose stops OpenSSL"
            );
            assert!(Token::parse(&token).is_ok());
            continue;
        }
        let answer = fs::read(authority.at().join("reply")).expect("an answer");
        let token = Token::parse(&response(&answer).expect("a token")).expect("a token");
        let verdict = token.verify(&Digest::of(MESSAGE), Some(NONCE), &authority.roots());
        assert_eq!(verdict, Err(NotStamped::Chain(wanted)));
    }
}

#[test]
fn no_changed_byte_changes_what_a_stamp_proves() {
    let authority = Authority::new("rsa:2048");
    let (token, roots) = (authority.token(), authority.roots());
    let original = Token::parse(&token).expect("a token");
    let proved = original
        .verify(&Digest::of(MESSAGE), Some(NONCE), &roots)
        .expect("it holds");
    let mut noticed = 0;
    for position in 0..token.len() {
        let mut changed = token.clone();
        changed[position] ^= 1 << (position % 8);
        let Ok(changed) = Token::parse(&changed) else {
            noticed += 1;
            continue;
        };
        match changed.verify(&Digest::of(MESSAGE), Some(NONCE), &roots) {
            Ok(still) => {
                assert_eq!(still, proved, "byte {position}");
                assert_eq!(changed.stated(), original.stated(), "byte {position}");
            }
            Err(_) => noticed += 1,
        }
    }
    assert!(
        noticed * 10 > token.len() * 9,
        "{noticed} of {}",
        token.len()
    );
    for length in 0..token.len() {
        assert!(Token::parse(&token[..length]).is_err(), "cut at {length}");
    }
    assert!(
        Token::parse(&[token.as_slice(), &[0]].concat()).is_err(),
        "something behind it"
    );
}

#[test]
fn a_refusal_is_told_with_its_words() {
    let authority = Authority::new("rsa:2048");
    // An algorithm that this authority does not take.
    let query = "ts -query -data message -sha512 -out query";
    assert!(openssl(authority.at(), query));
    let answer = authority.answer(&fs::read(authority.at().join("query")).expect("a query"));
    let refusal = response(&answer).expect_err("refused");
    let Refusal::Refused {
        status: 2,
        text: Some(text),
    } = refusal
    else {
        panic!("{refusal:?}");
    };
    assert!(text.contains("algorithm"), "{text}");
    assert_eq!(response(b"<html>"), Err(Refusal::Malformed));
    assert_eq!(response(&[]), Err(Refusal::Malformed));
}
