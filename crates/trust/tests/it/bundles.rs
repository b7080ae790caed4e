//! The two signed texts with every byte changed, and everywhere cut.

use std::path::Path;

use taintline_trust::envelope::Envelope;
use taintline_trust::keys::{Curve, PrivateKey};
use taintline_trust::manifest::Sealed;
use taintline_trust::measure::Model;
use taintline_trust::oms::{Bundle, Method, Signed};
use taintline_trust::seal::{Sealing, Signatures, measure, sign};
use taintline_trust::strict;

const LIMIT: u64 = 1 << 20;

fn signed(folder: &Path, key: &PrivateKey) -> Signatures {
    std::fs::create_dir(folder.join("sub")).unwrap();
    std::fs::write(folder.join("sub/weights"), b"1234").unwrap();
    std::fs::write(folder.join("config"), b"{}").unwrap();
    let model = Model::open(folder).unwrap();
    let sealing = Sealing {
        excluded: Vec::new(),
        links: false,
        threads: 1,
    };
    let measured = measure(&model, &sealing).unwrap();
    sign(&model, &measured, false, key, None).unwrap()
}

/// What a verifier with this key believes of a bundle.
fn believed(bytes: &[u8], key: &PrivateKey) -> Option<Signed> {
    let bundle = Bundle::parse(bytes, LIMIT).ok()?;
    let hint = key.public().hint();
    let is_named = bundle.method == Method::Key { hint: Some(hint) };
    let statement = bundle
        .envelope
        .verified_by(key.public())
        .filter(|_| is_named)?;
    Signed::read(statement, LIMIT).ok()
}

fn believed_seal(bytes: &[u8], key: &PrivateKey) -> Option<Sealed> {
    let opened = strict::from_slice::<Envelope>(bytes, LIMIT)
        .ok()?
        .open()
        .ok()?;
    let is_named = opened.keyid() == Some(key.public().hint().as_str());
    let statement = opened.verified_by(key.public()).filter(|_| is_named)?;
    Sealed::read(statement, LIMIT).ok()
}

#[test]
fn no_changed_byte_and_no_cut_of_either_text_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate(Curve::P256).unwrap();
    let Signatures {
        bundle,
        seal,
        root,
        tree,
        ..
    } = signed(folder.path(), &key);
    assert_eq!(
        believed(&bundle, &key).map(|signed| signed.root),
        Some(root)
    );
    assert_eq!(
        believed_seal(&seal, &key).map(|sealed| sealed.tree),
        Some(tree)
    );
    let tried = |text: &[u8], is_believed: &dyn Fn(&[u8]) -> bool| {
        for at in 0..text.len() {
            let mut changed = text.to_vec();
            changed[at] ^= 1 << (at % 8);
            assert!(!is_believed(&changed), "byte {at}");
        }
        for cut in 0..text.len() {
            assert!(!is_believed(&text[..cut]), "cut {cut}");
        }
    };
    tried(&bundle, &|text| believed(text, &key).is_some());
    tried(&seal, &|text| believed_seal(text, &key).is_some());
}

#[test]
fn the_two_texts_name_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate(Curve::P384).unwrap();
    let texts = signed(folder.path(), &key);
    let (signed, sealed) = (
        believed(&texts.bundle, &key).unwrap(),
        believed_seal(&texts.seal, &key).unwrap(),
    );
    assert_eq!(sealed.root, signed.root);
    assert_eq!(signed.tree, Some(sealed.tree.to_string()));
    assert!(
        believed_seal(&texts.bundle, &key).is_none(),
        "one is not the other"
    );
    assert!(believed(&texts.seal, &key).is_none());
}

#[test]
fn a_bundle_of_a_million_levels_or_with_a_key_twice_ends_in_an_error() {
    for text in ["[".repeat(1_000_000), "{\"mediaType\":".repeat(1_000_000)] {
        assert!(Bundle::parse(text.as_bytes(), u64::MAX).is_err());
    }
    let twice = br#"{"mediaType":"a","mediaType":"b"}"#;
    let error = Bundle::parse(twice, LIMIT).unwrap_err();
    assert!(error.to_string().contains("same key twice"));
}
