//! `seal` and `verify` as their users meet them: three answers, named differences, and nothing overwritten or believed.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::world::World;

/// A world with a model of three files in it.
fn modelled() -> (World, PathBuf) {
    let world = World::new();
    let model = world.work.join("model");
    std::fs::create_dir_all(model.join("sub")).unwrap();
    for (name, text) in [
        ("config.json", "{}"),
        ("sub/a", "one"),
        ("weights", "0123456789"),
    ] {
        std::fs::write(model.join(name), text).unwrap();
    }
    (world, model)
}

fn verified(world: &World, code: i32, more: &[&str]) -> Value {
    let words = ["verify", "model", "--json"].iter().chain(more);
    let done = world.taintline(words).ends(code);
    serde_json::from_slice(&done.out).unwrap()
}

#[test]
fn what_was_sealed_is_valid_until_it_changes_and_the_change_has_a_name() {
    let (world, model) = modelled();
    world
        .taintline(["seal", "model"])
        .ends(0)
        .says(&["SEALED model", "3 files"]);
    let valid = verified(&world, 0, &[]);
    assert_eq!(valid["schema"], "taintline.verify/1");
    assert_eq!(
        (&valid["verdict"], &valid["signer"]["name"]),
        (&"valid".into(), &"your own".into())
    );
    std::fs::write(model.join("weights"), "0123456780").unwrap();
    let invalid = verified(&world, 1, &[]);
    assert_eq!(invalid["verdict"], "invalid");
    let differences = invalid["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1);
    assert_eq!(
        (&differences[0]["path"], &differences[0]["what"]),
        (&"weights".into(), &"content".into())
    );
}

#[test]
fn sealing_is_an_act_in_the_ledger_and_no_run() {
    let (world, model) = modelled();
    let sealed = world.json(&["seal", "model"]);
    assert!(sealed["ledger"].as_str().unwrap().contains("entry 0"));
    world
        .taintline(["ledger", "audit"])
        .ends(0)
        .says(&["is as it was written"]);
    assert_eq!(world.run_names(), Vec::<String>::new());
    let audit = world.json(&["ledger", "audit"]);
    assert_eq!(audit["blobs"], 2, "the two signed texts");
    assert!(model.join("model.sig").is_file() && model.join("model.seal").is_file());
}

#[test]
fn a_stranger_is_not_believed_and_nobody_is_told_from_somebody_else() {
    let (world, _) = modelled();
    world
        .taintline(["verify", "model"])
        .ends(3)
        .says(&["CANNOT CHECK", "there is no file"]);
    world.taintline(["seal", "model"]).ends(0);
    let keys = world.folder().join("data/taintline/keys/seal.key");
    let mode = std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    std::fs::rename(&keys, keys.with_extension("away")).unwrap();
    world
        .taintline(["verify", "model"])
        .ends(3)
        .says(&["which is not yours"]);
    std::fs::remove_file(&keys).ok();
    std::fs::rename(keys.with_extension("away"), &keys).unwrap();
    std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o640)).unwrap();
    world
        .taintline(["seal", "model"])
        .ends(2)
        .says(&["mode is 640", "chmod 600"]);
    world
        .taintline(["verify", "nowhere"])
        .ends(2)
        .says(&["nowhere"]);
}

#[test]
fn unchanged_files_are_not_read_again_and_a_changed_one_is_though_it_looks_the_same() {
    let (world, model) = modelled();
    world.taintline(["seal", "model"]).ends(0);
    // What changed just before it was read is never remembered.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(verified(&world, 0, &[])["bytes_read"], 15);
    if lies_in_memory(&model) {
        // There a mapped file is changed and no time tells.
        assert_eq!(verified(&world, 0, &[])["bytes_read"], 15);
        return;
    }
    let again = verified(&world, 0, &[]);
    assert_eq!(
        (&again["bytes_read"], &again["files_known"]),
        (&0.into(), &3.into())
    );
    assert_eq!(verified(&world, 0, &["--deep"])["bytes_read"], 15);
    let index = walk(&world.store().join("verified"));
    let mut bytes = std::fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&index, &bytes).unwrap();
    assert_eq!(
        verified(&world, 0, &[])["bytes_read"],
        15,
        "a changed index is no index"
    );
    let weights = model.join("weights");
    let before = std::fs::metadata(&weights).unwrap().modified().unwrap();
    std::fs::write(&weights, "9876543210").unwrap();
    let file = std::fs::File::options()
        .append(true)
        .open(&weights)
        .unwrap();
    file.set_modified(before).unwrap();
    assert_eq!(
        verified(&world, 1, &[])["differences"][0]["path"],
        "weights"
    );
}

fn lies_in_memory(path: &std::path::Path) -> bool {
    let words = ["-f", "-c", "%T"];
    let told = Command::new("stat").args(words).arg(path).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    ["tmpfs", "ramfs"].contains(&told.trim())
}

/// The one file in a folder.
fn walk(folder: &std::path::Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap();
    files.next().unwrap().unwrap().path()
}

#[test]
fn no_file_that_is_no_signature_is_ever_replaced() {
    let (world, model) = modelled();
    let weights = model.join("weights");
    let words = ["seal", "model", "--signature", weights.to_str().unwrap()];
    world
        .taintline(words)
        .ends(2)
        .says(&["no signature is there already"]);
    assert_eq!(std::fs::read(&weights).unwrap(), b"0123456789");
    world.taintline(["seal", "model"]).ends(0);
    world.taintline(["seal", "model"]).ends(0);
    verified(&world, 0, &[]);
}

#[test]
fn a_store_in_the_model_is_left_out_of_the_seal() {
    let (world, model) = modelled();
    let store = model.join(".taintline");
    let store = store.to_str().unwrap();
    world.taintline(["--store", store, "seal", "model"]).ends(0);
    world
        .taintline(["--store", store, "verify", "model"])
        .ends(0)
        .says(&["not covered", ".taintline"]);
}

#[test]
fn hostile_names_are_told_and_do_not_act() {
    let (world, model) = modelled();
    world.taintline(["seal", "model"]).ends(0);
    std::fs::write(model.join("\x1b[2Jevil\u{202e}"), "").unwrap();
    let done = world.taintline(["verify", "model"]).ends(1);
    assert!(
        !done.out().contains(['\x1b', '\u{202e}']),
        "{:?}",
        done.out()
    );
    assert!(done.out().contains("evil"));
}

#[test]
fn sealing_again_that_was_interrupted_is_said_and_is_never_invalid() {
    let (world, model) = modelled();
    world.taintline(["seal", "model"]).ends(0);
    let old = std::fs::read(model.join("model.seal")).unwrap();
    std::fs::write(model.join("weights"), "9876543210").unwrap();
    world.taintline(["seal", "model"]).ends(0);
    verified(&world, 0, &[]);
    // As it is between the two signatures, and before them.
    std::fs::remove_file(model.join("model.sig")).unwrap();
    let words = ["verify", "model"];
    world
        .taintline(words)
        .ends(3)
        .says(&["sealing was interrupted"]);
    std::fs::write(model.join("model.seal"), old).unwrap();
    world
        .taintline(words)
        .ends(3)
        .says(&["sealing was interrupted"]);
    std::fs::remove_file(model.join("model.seal")).unwrap();
    world.taintline(words).ends(3).says(&["there is no file"]);
}

#[test]
fn a_signature_that_will_have_no_place_is_refused_before_anything_is_done() {
    let (world, _) = modelled();
    world
        .taintline(["seal", "model", "--signature", "none/it.sig"])
        .ends(2)
        .says(&["none/it.sig", "No such file"]);
    assert!(!world.store().exists(), "no act was recorded");
}

#[test]
fn a_limit_under_which_a_model_is_sealed_is_one_under_which_it_is_verified() {
    let (world, model) = modelled();
    // So many names that their base64 is much longer than they are.
    for number in 0..300 {
        std::fs::write(model.join(format!("{number:0100}")), "").unwrap();
    }
    let seal = |limit: u64| world.taintline(["seal", "model", "--limit", &limit.to_string()]);
    let fits = |limit: &u64| seal(*limit).code == 0;
    let (mut low, mut high) = (1_u64, 1 << 20);
    while low + 1 < high {
        let middle = u64::midpoint(low, high);
        if fits(&middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    seal(high).ends(0);
    verified(&world, 0, &["--limit", &high.to_string()]);
    seal(low).ends(2).says(&["--limit"]);
    let length = std::fs::metadata(model.join("model.seal")).unwrap().len();
    assert!(
        length > high,
        "the limit is of the statement, not of its base64"
    );
}

#[test]
fn what_is_left_out_is_not_in_the_way_whatever_it_is() {
    use std::os::unix::ffi::OsStrExt as _;
    let (world, model) = modelled();
    std::fs::create_dir(model.join(".git")).unwrap();
    let bad = std::ffi::OsStr::from_bytes(b"bad\xff");
    std::fs::create_dir(model.join(".git").join(bad)).unwrap();
    world
        .taintline(["seal", "model"])
        .ends(0)
        .says(&["could not be looked into"]);
    world
        .taintline(["verify", "model"])
        .ends(0)
        .says(&["could not be looked into"]);
}

#[test]
fn nobody_is_believed_by_a_way_through_the_folder() {
    let (world, model) = modelled();
    world.taintline(["seal", "model"]).ends(0);
    let evil = world.folder().join("evil.pub");
    std::fs::write(&evil, "").unwrap();
    std::os::unix::fs::symlink(&evil, model.join("signer.pub")).unwrap();
    for option in ["--key", "--certificate-root", "--trust"] {
        world
            .taintline(["verify", "model", option, "model/signer.pub"])
            .ends(2)
            .says(&["never read from the folder"]);
    }
}
