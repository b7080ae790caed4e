//! The matrix of what can be done to what was signed and recorded: each is found, and called by its name; what nobody
//! touched is never accused.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use super::world::{World, finish};

/// What is done to a sealed folder, and the differences that must be told: path and word.
type Mutation = (
    &'static str,
    fn(&Path),
    &'static [(&'static str, &'static str)],
);

const MUTATIONS: &[Mutation] = &[
    (
        "bit flip",
        |at| flip(&at.join("weights")),
        &[("weights", "content")],
    ),
    (
        "truncate",
        |at| cut(&at.join("weights")),
        &[("weights", "size")],
    ),
    (
        "grow",
        |at| grow(&at.join("weights")),
        &[("weights", "size")],
    ),
    (
        "drop",
        |at| std::fs::remove_file(at.join("sub/a")).unwrap(),
        &[("sub/a", "missing")],
    ),
    (
        "drop an empty file",
        |at| std::fs::remove_file(at.join("sub/empty")).unwrap(),
        &[("sub/empty", "missing")],
    ),
    (
        "duplicate",
        |at| copy(&at.join("weights"), &at.join("weights.copy")),
        &[("weights.copy", "extra")],
    ),
    (
        "reorder: two files exchanged",
        |at| exchange(&at.join("sub/a"), &at.join("sub/b")),
        &[("sub/a", "content"), ("sub/b", "content")],
    ),
    (
        "rename",
        |at| std::fs::rename(at.join("sub/a"), at.join("sub/c")).unwrap(),
        &[("sub/a", "missing"), ("sub/c", "extra")],
    ),
    (
        "rename by case alone",
        |at| std::fs::rename(at.join("weights"), at.join("Weights")).unwrap(),
        &[("weights", "missing"), ("Weights", "extra")],
    ),
    (
        "mode change",
        |at| mode(&at.join("config.json"), 0o755),
        &[("config.json", "mode")],
    ),
    (
        "setuid",
        |at| mode(&at.join("config.json"), 0o4644),
        &[("config.json", "mode")],
    ),
    (
        "mode of a folder",
        |at| mode(&at.join("sub"), 0o777),
        &[("sub", "mode")],
    ),
    (
        "symlink swap: a file becomes a link to the same bytes",
        |at| {
            std::fs::rename(at.join("weights"), at.with_extension("away")).unwrap();
            symlink(at.with_extension("away"), at.join("weights")).unwrap();
        },
        &[("weights", "kind")],
    ),
    (
        "symlink swap: a folder becomes a link to the same files",
        |at| {
            std::fs::rename(at.join("sub"), at.with_extension("aside")).unwrap();
            symlink(at.with_extension("aside"), at.join("sub")).unwrap();
        },
        &[("sub", "kind"), ("sub/a", "missing")],
    ),
    (
        "a folder in place of a file",
        |at| {
            std::fs::remove_file(at.join("weights")).unwrap();
            std::fs::create_dir(at.join("weights")).unwrap();
        },
        &[("weights", "kind")],
    ),
    (
        "an empty folder more",
        |at| std::fs::create_dir(at.join("more")).unwrap(),
        &[("more", "extra")],
    ),
];

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
}

fn grow(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes.push(0);
    std::fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

fn exchange(left: &Path, right: &Path) {
    let away = left.with_extension("exchanged");
    std::fs::rename(left, &away).unwrap();
    std::fs::rename(right, left).unwrap();
    std::fs::rename(&away, right).unwrap();
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A model beside the store, made anew.
fn model(world: &World, name: &str) -> std::path::PathBuf {
    let model = world.work.join(name);
    for gone in [&model, &model.with_extension("aside")] {
        let _ = std::fs::remove_dir_all(gone);
    }
    let _ = std::fs::remove_file(model.with_extension("away"));
    std::fs::create_dir_all(model.join("sub")).unwrap();
    mode(&model.join("sub"), 0o755);
    for (file, text) in [
        ("config.json", "{}"),
        ("sub/a", "one"),
        ("sub/b", "two"),
        ("sub/empty", ""),
        ("weights", "0123456789"),
    ] {
        std::fs::write(model.join(file), text).unwrap();
        mode(&model.join(file), 0o644);
    }
    model
}

fn verified(world: &World, code: i32, words: &[&str]) -> Value {
    let done = world.taintline(words.iter().chain(&["--json"])).ends(code);
    serde_json::from_slice(&done.out).unwrap()
}

#[test]
fn whatever_is_done_to_a_sealed_folder_is_named_and_an_untouched_one_is_valid() {
    let world = World::new();
    for (name, change, expected) in MUTATIONS {
        let path = model(&world, "model");
        world.taintline(["seal", "model"]).ends(0);
        let valid = verified(&world, 0, &["verify", "--deep", "model"]);
        assert_eq!(valid["verdict"], "valid", "{name}: before");
        change(&path);
        let told = verified(&world, 1, &["verify", "--deep", "model"]);
        assert_eq!(told["verdict"], "invalid", "{name}");
        let differences = told["differences"].as_array().unwrap();
        for (path, word) in *expected {
            let is_it = |it: &Value| it["path"] == *path && it["what"] == *word;
            assert!(differences.iter().any(is_it), "{name}: {told}");
        }
    }
}

#[test]
fn whatever_is_done_to_the_signatures_is_refused() {
    let world = World::new();
    let path = model(&world, "model");
    world.taintline(["seal", "model"]).ends(0);
    for name in ["model.sig", "model.seal"] {
        let file = path.join(name);
        let bytes = std::fs::read(&file).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&file, changed).unwrap();
            let done = world.taintline(["verify", "model"]);
            assert!(
                done.code == 1 || done.code == 3,
                "{name}, byte {at}: {}",
                done.out()
            );
        }
        std::fs::write(&file, &bytes).unwrap();
    }
    world.taintline(["verify", "model"]).ends(0);
    std::fs::remove_file(path.join("model.seal")).unwrap();
    world.taintline(["verify", "model"]).says(&["seal"]);
    assert_ne!(
        world.taintline(["verify", "model"]).code,
        0,
        "a seal that was taken away"
    );
}

#[test]
fn no_authority_over_time_is_taken_from_the_model() {
    let world = World::new();
    let path = model(&world, "model");
    std::fs::write(path.join("ca.pem"), "whatever stands there").unwrap();
    world.taintline(["seal", "model"]).ends(0);
    symlink(path.join("ca.pem"), world.work.join("ca.pem")).unwrap();
    for roots in ["model/ca.pem", "ca.pem"] {
        world
            .taintline(["verify", "model", "--time-roots", roots])
            .ends(2)
            .says(&["ca.pem", "never read from the folder"]);
    }
}

#[test]
fn the_signature_of_another_model_is_not_taken_for_this_ones() {
    let world = World::new();
    let first = model(&world, "first");
    let second = model(&world, "second");
    std::fs::write(second.join("weights"), "9876543210").unwrap();
    for name in ["first", "second"] {
        world.taintline(["seal", name]).ends(0);
    }
    for name in ["model.sig", "model.seal"] {
        std::fs::copy(first.join(name), second.join(name)).unwrap();
    }
    world
        .taintline(["verify", "second"])
        .ends(1)
        .says(&["weights"]);
    // One of them alone: the two name each other.
    world.taintline(["seal", "second"]).ends(0);
    std::fs::copy(first.join("model.seal"), second.join("model.seal")).unwrap();
    world
        .taintline(["verify", "second"])
        .ends(1)
        .says(&["another"]);
}

/// What is done to a log, and the words of the audit that name it.
type Forgery = (&'static str, fn(&Path), &'static str);

const FORGERIES: &[Forgery] = &[
    (
        "bit flip in an entry",
        |log| flip(&log.join("tile/entries/000.p/9")),
        "tile/entries/000.p/9",
    ),
    (
        "bit flip in a hash",
        |log| flip(&log.join("tile/0/000.p/9")),
        "tile/0/000.p/9",
    ),
    (
        "truncate",
        |log| cut(&log.join("tile/entries/000.p/9")),
        "tile/entries/000.p/9",
    ),
    (
        "drop",
        |log| std::fs::remove_file(log.join("tile/entries/000.p/9")).unwrap(),
        "missing",
    ),
    (
        "duplicate: a wider tile that no head counts",
        |log| copy(&log.join("tile/0/000.p/9"), &log.join("tile/0/000.p/8")),
        "tile/0/000.p/8",
    ),
    (
        "rename",
        |log| std::fs::rename(log.join("tile/0/000.p/9"), log.join("tile/0/001.p")).unwrap(),
        "tile/0/000.p/9",
    ),
    (
        "reorder: two entries exchanged",
        |log| {
            let file = log.join("tile/entries/000.p/9");
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, exchanged(&bytes)).unwrap();
        },
        "tile/entries/000.p/9",
    ),
    (
        "the signature of the head",
        |log| flip(&log.join("checkpoint")),
        "checkpoint",
    ),
    ("the key", |log| flip(&log.join("vkey")), "vkey"),
];

/// A bundle with its first two entries exchanged.
fn exchanged(bundle: &[u8]) -> Vec<u8> {
    let length = |at: usize| 2 + usize::from(u16::from_be_bytes([bundle[at], bundle[at + 1]]));
    let first = length(0);
    let second = first + length(first);
    [&bundle[first..second], &bundle[..first], &bundle[second..]].concat()
}

#[test]
fn whatever_is_done_to_a_log_is_named_and_an_untouched_one_is_sound() {
    let world = World::new();
    model(&world, "model");
    for _ in 0..9 {
        world.taintline(["seal", "model"]).ends(0);
    }
    let ledger = world.store().join("ledger");
    let log = std::fs::read_dir(&ledger)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let kept = world.folder().join("kept");
    let whole = |from: &Path, to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        let mut command = std::process::Command::new("/bin/cp");
        assert_eq!(finish(command.arg("-a").arg(from).arg(to)).code, 0);
    };
    whole(&log, &kept);
    for (name, change, expected) in FORGERIES {
        world.taintline(["ledger", "audit"]).ends(0);
        change(&log);
        let done = world.taintline(["ledger", "audit"]).ends(1);
        assert!(done.out().contains(expected), "{name}: {}", done.out());
        whole(&kept, &log);
    }
    world.taintline(["ledger", "audit"]).ends(0);
}
