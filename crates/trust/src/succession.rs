//! One key hands over to another: the word of the key that ends.
//!
//! Anybody can say that a key was exchanged for his own. Only the key that ends can sign that it was, together with the
//! digest of a list of what it signed until then. The text cannot be taken for an envelope: those begin with `DSSEv1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Digest;

use crate::keys::{PrivateKey, PublicKey, SignError};

const TITLE: &str = "taintline 2026 a key ends\n";

fn text(ended: &PublicKey, begun: &PublicKey, list: &Digest) -> String {
    let (ended, begun) = (ended.hint(), begun.hint());
    format!("{TITLE}{ended}\n{begun}\n{list}\n")
}

/// The signature of a key that ends over its hint, that of the key that goes on, and the digest of the list; base64.
pub fn consent(ended: &PrivateKey, begun: &PublicKey, list: &Digest) -> Result<String, SignError> {
    let signature = ended.sign(&[text(ended.public(), begun, list).as_bytes()])?;
    Ok(STANDARD.encode(signature))
}

/// Whether the key that ended said so itself.
pub fn is_consent(consent: &str, ended: &PublicKey, begun: &PublicKey, list: &Digest) -> bool {
    let signature = STANDARD.decode(consent);
    signature.is_ok_and(|it| ended.verify(&[text(ended, begun, list).as_bytes()], &it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Curve;

    #[test]
    fn nobody_but_the_key_that_ends_can_say_who_goes_on() {
        let [old, new, other] = [(); 3].map(|()| PrivateKey::generate(Curve::P256).unwrap());
        let (list, another) = (Digest::of(b"list"), Digest::of(b"another"));
        let said = consent(&old, new.public(), &list).unwrap();
        let is = |said: &str, ended: &PrivateKey, begun: &PrivateKey, list| {
            is_consent(said, ended.public(), begun.public(), list)
        };
        assert!(is(&said, &old, &new, &list));
        assert!(!is(&said, &old, &new, &another));
        assert!(!is(&said, &old, &other, &list));
        assert!(!is(&said, &other, &new, &list));
        assert!(!is("", &old, &new, &list));
        let usurped = consent(&other, new.public(), &list).unwrap();
        assert!(!is(&usurped, &old, &new, &list));
    }
}
