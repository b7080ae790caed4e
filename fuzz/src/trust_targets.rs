//! `trust`: what was signed is read in one way or not at all, and what the key did not sign is never believed.

use trust::envelope::Envelope;
use trust::keys::PrivateKey;
use trust::manifest::Sealed;
use trust::oms::{Bundle, Signed};
use trust::{pem, strict};

const LIMIT: u64 = 16 << 20;

/// A key that signs nothing but seeds: a scalar that everybody knows, as SEC 1 wants it.
fn key() -> PrivateKey {
    let mut der = vec![0x30, 0x31, 2, 1, 1, 4, 0x20];
    der.extend([7; 32]);
    der.extend([0xa0, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    let text = pem::encode("EC PRIVATE KEY", &der);
    PrivateKey::from_pem(text.as_bytes()).expect("a scalar below the order is a key")
}

/// [`Bundle::parse`]: only what the key signed is believed.
pub fn oms_bundle(data: &[u8]) -> bool {
    let Ok(bundle) = Bundle::parse(data, LIMIT) else {
        return false;
    };
    assert!(bundle.time_stamps.len() <= 8);
    if let Some(statement) = bundle.envelope.verified_by(key().public()) {
        let is_seed = seeds::payloads()
            .iter()
            .any(|text| text == statement.bytes());
        assert!(is_seed, "believed what the key never signed");
    }
    true
}

/// An [`Envelope`]: what was read is what is written.
pub fn dsse(data: &[u8]) -> bool {
    let Ok(envelope) = strict::from_slice::<Envelope>(data, LIMIT) else {
        return false;
    };
    let again = serde_json::to_vec(&envelope).expect("an envelope is JSON");
    assert_eq!(
        strict::from_slice::<Envelope>(&again, u64::MAX).ok(),
        Some(envelope.clone())
    );
    let _ = envelope.open();
    true
}

/// [`Signed::read_bytes`]: names that stay inside, and none of them twice.
pub fn oms_statement(data: &[u8]) -> bool {
    let Ok(signed) = Signed::read_bytes(data, LIMIT) else {
        return false;
    };
    let mut seen = std::collections::HashSet::new();
    for resource in &signed.resources {
        assert_eq!(resource.digest.len(), signed.hash.length());
        let start = resource.shard.map(|(start, _)| start);
        assert!(
            seen.insert((resource.name.clone(), start)),
            "the same twice"
        );
        if let Some(name) = &resource.name {
            assert!(stays_inside(name.as_str()));
        }
    }
    assert!(
        signed
            .excluded()
            .iter()
            .all(|name| stays_inside(name.as_str()))
    );
    true
}

/// [`Sealed::read_bytes`]: one list, one value; and written again it is read as the same.
pub fn seal_manifest(data: &[u8]) -> bool {
    let Ok(sealed) = Sealed::read_bytes(data, LIMIT) else {
        return false;
    };
    assert_eq!(sealed.manifest.tree(), sealed.tree);
    assert!(
        sealed
            .manifest
            .entries
            .keys()
            .all(|name| stays_inside(name.as_str()))
    );
    let again = sealed.manifest.encode(&sealed.model, &sealed.root);
    let again = again.expect("a seal is JSON");
    assert_eq!(Sealed::read_bytes(&again, u64::MAX).ok(), Some(sealed));
    true
}

fn stays_inside(name: &str) -> bool {
    !name.is_empty() && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Small good inputs of each kind.
pub(crate) mod seeds {
    use domain::{Digest, PathText};
    use trust::chunks::{Blake3, FileTree, root_of};
    use trust::manifest::{Content, Entry, Manifest};
    use trust::name::Name;
    use trust::oms;

    use super::{Bundle, Envelope, key};

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn content(size: u64, pieces: usize) -> Content {
        let pieces = vec![Blake3::from_bytes([3; 32]); pieces];
        let root = root_of(&pieces).unwrap_or(Blake3::from_bytes([4; 32]));
        let tree = FileTree { root, pieces };
        let sha256 = Digest::of(b"x");
        Content { size, sha256, tree }
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest {
            excluded: vec![name(".git"), name("model.sig")],
            ..Manifest::default()
        };
        let mut add = |text, entry| manifest.entries.insert(name(text), entry);
        add("a", Entry::Folder { mode: 0o755 });
        add(
            "a/x",
            Entry::File {
                mode: 0o644,
                content: content(7, 0),
            },
        );
        add(
            "b",
            Entry::File {
                mode: 0o4755,
                content: content(3 << 20, 3),
            },
        );
        let target = PathText::from_bytes(b"a/x");
        add(
            "l",
            Entry::Link {
                target: target.clone(),
                content: None,
            },
        );
        add(
            "m",
            Entry::Link {
                target,
                content: Some(content(7, 0)),
            },
        );
        manifest
    }

    pub(crate) fn seal_manifests() -> Vec<Vec<u8>> {
        let one = manifest().encode("m", &Digest::of(b"root"));
        let none = Manifest::default().encode("m", &Digest::of(b""));
        [one, none].into_iter().flatten().collect()
    }

    pub(crate) fn oms_statements() -> Vec<Vec<u8>> {
        let (a, b) = (name("a/x"), name("b:0:1"));
        let digest = Digest::of(b"x");
        let ignored = [name(".git")];
        let many = oms::encode(
            "m",
            &[(Some(&a), digest), (Some(&b), digest)],
            &ignored,
            true,
            "00",
        );
        let one = oms::encode("m", &[(None, digest)], &[], false, "00");
        let mut all: Vec<_> = [many, one]
            .into_iter()
            .flatten()
            .map(|(_, text)| text)
            .collect();
        let text = all
            .first()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let shards = text.unwrap_or_default();
        let shards = shards.replace(
            "\"method\":\"files\"",
            "\"method\":\"shards\",\"shard_size\":100.0",
        );
        all.push(shards.replace("a/x", "a/x:0:100").into_bytes());
        all
    }

    /// What the key signed.
    pub(crate) fn payloads() -> Vec<Vec<u8>> {
        [oms_statements(), seal_manifests()].concat()
    }

    pub(crate) fn dsse_envelopes() -> Vec<Vec<u8>> {
        let sign = |text: &Vec<u8>| serde_json::to_vec(&Envelope::sign(text, &key()).ok()?).ok();
        payloads().iter().filter_map(sign).collect()
    }

    pub(crate) fn oms_bundles() -> Vec<Vec<u8>> {
        let bundle = |text: &Vec<u8>| {
            let envelope = Envelope::sign(text, &key()).ok()?;
            Bundle::encode(&envelope, key().public(), None).ok()
        };
        payloads().iter().filter_map(bundle).collect()
    }

    pub(crate) const SIGNED: &[&[u8]] = &[
        b"\"sha256\"",
        b"\"blake3\"",
        b"\"shards\"",
        b"\"shard_size\":1",
        b"\"pieces\":[]",
        b"../",
        b"/",
        b"\"name\"",
        b"\"keyid\":null",
        b"\"rawBytes\"",
        b"\"x509CertificateChain\"",
        b"\"rfc3161Timestamps\"",
        b"\"certificate\":{}",
    ];
}
