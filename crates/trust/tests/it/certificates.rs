//! Chains that were made once by another library, looked at as of fixed times. No private key of theirs exists any more.

use taintline_trust::certificate::{At, Chain, ChainError, Roots};
use taintline_trust::keys::PublicKey;

/// 2026-06-01: the leaf is valid from the first day of 2026 to that of 2027.
const WITHIN: At = At::Given(1_780_272_000);
const YEAR: i64 = 366 * 86_400;

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/tests/vectors/{name}.pem",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn chain(names: &[&str]) -> Chain {
    let texts: Vec<_> = names.iter().map(|name| pem(name)).collect();
    Chain::for_key(&key(), &texts).unwrap()
}

fn key() -> PublicKey {
    let path = format!("{}/tests/vectors/leaf.pub", env!("CARGO_MANIFEST_DIR"));
    PublicKey::from_pem(&std::fs::read(path).unwrap()).unwrap()
}

fn roots(name: &str) -> Roots {
    Roots::from_pem(&pem(name)).unwrap()
}

#[test]
fn a_chain_over_three_curves_and_an_rsa_root_are_followed() {
    for leaf in ["leaf", "leaf-sha256", "usage-alone", "purpose-alone"] {
        let found = chain(&[leaf, "middle"])
            .verify(&roots("root"), WITHIN)
            .unwrap();
        assert_eq!((found.key, found.subject.as_str()), (key(), "CN=signer"));
    }
    chain(&["rsa-issued"])
        .verify(&roots("rsa-root"), WITHIN)
        .unwrap();
}

#[test]
fn the_order_of_the_files_plays_no_role_and_roots_are_not_carried_along() {
    let made = chain(&["root", "middle", "leaf"]);
    assert_eq!(made, chain(&["leaf", "middle"]));
    made.verify(&roots("root"), WITHIN).unwrap();
}

#[test]
fn a_certificate_counts_only_while_it_is_valid() {
    let made = chain(&["leaf", "middle"]);
    let at = |years: i64| At::Given(WITHIN.seconds() + years * YEAR);
    let late = made.verify(&roots("root"), at(1));
    assert!(
        matches!(late, Err(ChainError::Expired { ref after, .. }) if after.starts_with("2027-01-01"))
    );
    let early = made.verify(&roots("root"), at(-1));
    assert!(
        matches!(early, Err(ChainError::NotYetValid { ref before, .. }) if before.starts_with("2026-01-01"))
    );
    let end = made.verify(&roots("root"), WITHIN).unwrap().valid_until;
    made.verify(&roots("root"), At::Now(end)).unwrap();
    assert!(made.verify(&roots("root"), At::Now(end + 1)).is_err());
}

#[test]
fn a_certificate_for_something_else_signs_no_model() {
    for leaf in ["web-server", "no-signing", "silent"] {
        let found = chain(&[leaf, "middle"]).verify(&roots("root"), WITHIN);
        assert!(matches!(found, Err(ChainError::Purpose { .. })), "{leaf}");
    }
}

#[test]
fn without_a_way_to_a_root_of_the_user_there_is_no_signer() {
    let made = chain(&["leaf", "middle"]);
    for root in ["rsa-root", "old-root"] {
        let found = made.verify(&roots(root), WITHIN);
        assert!(matches!(found, Err(ChainError::NoRoot { .. })), "{root}");
    }
    // The same name with another key.
    assert!(made.verify(&roots("other-root"), WITHIN).is_err());
    assert!(made.verify(&Roots::default(), WITHIN).is_err());
    assert!(
        chain(&["leaf"]).verify(&roots("root"), WITHIN).is_err(),
        "no issuer"
    );
    assert!(
        chain(&["leaf", "no-ca"])
            .verify(&roots("root"), WITHIN)
            .is_err(),
        "an issuer that must not issue"
    );
}

#[test]
fn no_changed_byte_of_a_leaf_is_believed() {
    let made = chain(&["leaf", "middle"]);
    let (leaf, middle) = (&made.certificates()[0], &made.certificates()[1]);
    for at in 0..leaf.len() {
        let mut changed = leaf.clone();
        changed[at] ^= 1;
        let chain = Chain::from_der(vec![changed, middle.clone()]).unwrap();
        assert!(chain.verify(&roots("root"), WITHIN).is_err(), "byte {at}");
    }
    for cut in 0..leaf.len() {
        let chain = Chain::from_der(vec![leaf[..cut].to_vec(), middle.clone()]).unwrap();
        assert!(chain.verify(&roots("root"), WITHIN).is_err(), "cut {cut}");
    }
}

#[test]
fn a_chain_of_another_key_or_of_hundreds_is_refused() {
    let texts = [pem("middle")];
    assert_eq!(Chain::for_key(&key(), &texts), Err(ChainError::OtherKey));
    let many = vec![vec![0x30]; 500];
    assert_eq!(
        Chain::from_der(many),
        Err(ChainError::TooMany { count: 500 })
    );
}
