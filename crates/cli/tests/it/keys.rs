//! The seal key is exchanged: what was sealed before stays valid, what a copy of the old key signs afterwards does not
//! become so, and an exchange that died on the way is brought to its end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::world::World;

struct Keys(PathBuf);

impl Keys {
    fn of(world: &World) -> Self {
        Self(world.folder().join("data/taintline/keys"))
    }

    /// Where the key waits that is to follow.
    fn next(&self) -> String {
        let names = fs::read_dir(&self.0).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let logs = names.filter(|name| !name.starts_with("seal."));
        let mut ids = logs.filter_map(|name| Some(name.split_once('.')?.0.to_owned()));
        format!("seal.key.next.{}", ids.next().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.at(name), bytes).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn model(world: &World, name: &str) {
    fs::create_dir(world.work.join(name)).unwrap();
    fs::write(world.work.join(name).join("weights"), name).unwrap();
}

fn verified(world: &World, name: &str, code: i32, more: &[&str]) -> Value {
    let words = ["verify", "--json", name].into_iter();
    let words = words.chain(more.iter().copied());
    serde_json::from_slice(&world.taintline(words).ends(code).out).unwrap()
}

/// A world in which `old` was sealed before the key was exchanged, with a copy of the old key, and what was said.
fn exchanged() -> (World, Vec<u8>, Value) {
    let world = World::new();
    model(&world, "old");
    world.taintline(["seal", "old"]).ends(0);
    let copy = Keys::of(&world).read("seal.key");
    let said = world.json(&["ledger", "rotate-key", "--seal", "--reason", "a test"]);
    (world, copy, said)
}

fn public(world: &World, private: &Path, name: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(["pkey", "-pubout", "-in"]).arg(private);
    openssl.arg("-out").arg(world.work.join(name));
    assert!(openssl.status().unwrap().success());
}

#[test]
fn what_was_sealed_before_the_exchange_stays_valid_and_the_new_key_signs_from_then_on() {
    let (world, copy, said) = exchanged();
    assert_eq!(
        (&said["schema"], &said["seals"]),
        (&"taintline.seal-key/1".into(), &1.into())
    );
    let before = verified(&world, "old", 0, &[]);
    assert_eq!(before["signer"]["key"], said["ended"]);
    let name = before["signer"]["name"].as_str().unwrap();
    assert!(name.starts_with("your own until 2"), "{name}");
    model(&world, "new");
    world.taintline(["seal", "new"]).ends(0);
    let after = verified(&world, "new", 0, &[]);
    assert_eq!(
        (&after["signer"]["key"], &after["signer"]["name"]),
        (&said["begun"], &"your own".into())
    );
    let again = world.json(&["ledger", "rotate-key", "--seal"]);
    assert_eq!(
        (&again["ended"], &again["seals"]),
        (&said["begun"], &1.into())
    );
    verified(&world, "old", 0, &["--deep"]);
    verified(&world, "new", 0, &["--deep"]);
    world.taintline(["ledger", "audit"]).ends(0);
    assert_ne!(Keys::of(&world).read("seal.key"), copy);
    let left = fs::read_dir(Keys::of(&world).0).unwrap();
    let left = left.filter(|it| {
        it.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("seal.")
    });
    assert_eq!(
        left.count(),
        2,
        "the new private key and the public ones that ended"
    );
}

#[test]
fn what_a_copy_of_the_old_key_signs_afterwards_is_not_believed_and_the_audit_names_it() {
    let (world, copy, said) = exchanged();
    Keys::of(&world).write("stolen", &copy);
    let stolen = Keys::of(&world).at("stolen");
    model(&world, "forged");
    world
        .taintline(["seal", "forged", "--key", stolen.to_str().unwrap()])
        .ends(0);
    let forged = verified(&world, "forged", 3, &[]);
    let why = forged["gaps"][0]["why"].as_str().unwrap();
    assert!(
        why.contains("not among what it had sealed by then"),
        "{why}"
    );
    let hint = said["ended"].as_str().unwrap();
    world
        .taintline(["ledger", "audit"])
        .ends(1)
        .says(&[hint, "somebody has a copy"]);
    verified(&world, "old", 0, &["--deep"]);
    // Whoever names that key says that he believes it.
    public(&world, &stolen, "old.pub");
    verified(&world, "forged", 0, &["--key", "old.pub"]);
}

#[test]
fn another_content_under_an_old_name_is_not_what_the_old_key_sealed() {
    let (world, copy, _) = exchanged();
    Keys::of(&world).write("stolen", &copy);
    let stolen = Keys::of(&world).at("stolen");
    for name in ["model.sig", "model.seal"] {
        let _ = fs::remove_file(world.work.join("old").join(name));
    }
    fs::set_permissions(
        world.work.join("old/weights"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    world
        .taintline(["seal", "old", "--key", stolen.to_str().unwrap()])
        .ends(0);
    // The same bytes, so the same root; the mode is in the seal alone.
    verified(&world, "old", 3, &[]);
}

#[test]
fn an_exchange_that_died_after_each_step_is_completed_or_taken_back() {
    for step in 1..=3 {
        let (world, old, said) = exchanged();
        let keys = Keys::of(&world);
        let new = keys.read("seal.key");
        keys.write("seal.key", &old);
        if step == 1 {
            fs::remove_file(keys.at("seal.ended")).unwrap();
            model(&world, "stray");
            world.taintline(["seal", "stray"]).ends(0);
            let stray = keys.read("seal.key");
            assert_eq!(stray, old);
            // Of this new key nothing was said.
            fs::remove_file(keys.at("seal.key")).unwrap();
            world.taintline(["seal", "stray"]).ends(0);
            let unknown = keys.read("seal.key");
            keys.write("seal.key", &old);
            keys.write(&keys.next(), &unknown);
        } else {
            keys.write(&keys.next(), &new);
        }
        if step == 2 {
            fs::remove_file(keys.at("seal.ended")).unwrap();
        }
        model(&world, "next");
        world.taintline(["seal", "next"]).ends(0);
        assert!(!keys.at(&keys.next()).exists(), "step {step}");
        let signer = &verified(&world, "next", 0, &[])["signer"]["key"];
        let expected = if step == 1 {
            &said["ended"]
        } else {
            &said["begun"]
        };
        assert_eq!(signer, expected, "step {step}");
        verified(&world, "old", 0, &["--deep"]);
    }
}

#[test]
fn without_the_list_an_old_seal_cannot_be_checked_and_a_list_that_others_can_write_is_refused() {
    let (world, _, said) = exchanged();
    let (folder, file) = said["list"].as_str().unwrap().split_at(2);
    let blob = world.store().join("blobs").join(folder).join(file);
    let bytes = fs::read(&blob).unwrap();
    fs::remove_file(&blob).unwrap();
    let why = verified(&world, "old", 3, &["--deep"]).to_string();
    assert!(why.contains("is not here"), "{why}");
    fs::write(&blob, bytes).unwrap();
    verified(&world, "old", 0, &["--deep"]);
    let ended = Keys::of(&world).at("seal.ended");
    fs::set_permissions(&ended, fs::Permissions::from_mode(0o666)).unwrap();
    world
        .taintline(["verify", "old"])
        .ends(2)
        .says(&["seal.ended", "666"]);
}

#[test]
fn there_is_nothing_to_exchange_before_the_first_seal() {
    let world = World::new();
    world.taintline(["run", "--", "true"]).ends(0);
    world
        .taintline(["ledger", "rotate-key", "--seal"])
        .ends(2)
        .says(&["nothing was sealed yet"]);
}
