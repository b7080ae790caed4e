//! A tree head that was kept elsewhere shows what no file of the store can: that the log was put back, or rewritten.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::world::World;

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(done.unwrap().success());
}

fn keep_head(world: &World, name: &str) -> PathBuf {
    let file = world.folder().join(name);
    let done = world.taintline(["ledger", "head", "--output", file.to_str().unwrap()]);
    done.ends(0).says(&["keep it"]);
    file
}

fn audit(world: &World, head: &Path) -> super::world::Done {
    world.taintline(["ledger", "audit", "--head", head.to_str().unwrap()])
}

#[test]
fn a_head_that_was_kept_is_what_head_prints_and_the_store_goes_on_from_it() {
    let world = World::new();
    world.sh("exit 0").ends(0);
    let file = keep_head(&world, "first");
    let printed = world.taintline(["ledger", "head"]).ends(0);
    assert_eq!(printed.out, std::fs::read(&file).unwrap());
    world.sh("exit 3").ends(3);
    audit(&world, &file).ends(0).says(&["goes on from there"]);
    let proof = world.folder().join("p");
    let path = proof.to_str().unwrap();
    world
        .taintline(["ledger", "prove", "1", "--output", path])
        .ends(0);
    audit(&world, &proof).ends(0).says(&["goes on from there"]);
}

#[test]
fn a_store_that_was_put_back_is_called_rolled_back_and_then_a_fork() {
    let world = World::new();
    world.sh("exit 0").ends(0);
    let saved = world.folder().join("saved");
    copy(&world.store(), &saved);
    world.sh("exit 0").ends(0);
    let head = keep_head(&world, "head");
    copy(&saved, &world.store());
    world.taintline(["ledger", "audit"]).ends(0);
    audit(&world, &head)
        .ends(1)
        .says(&["rolled back", "1 thing wrong"]);
    world.sh("exit 3").ends(3);
    world.sh("exit 4").ends(4);
    world.taintline(["ledger", "audit"]).ends(0);
    audit(&world, &head).ends(1).says(&["fork"]);
    let json = world.taintline([
        "ledger",
        "audit",
        "--json",
        "--head",
        head.to_str().unwrap(),
    ]);
    let json: serde_json::Value = serde_json::from_slice(&json.ends(1).out).unwrap();
    assert_eq!(json["heads"][0]["is_continued"], false);
}

#[test]
fn a_log_that_was_replaced_removed_or_is_another_store_s_is_named_as_such() {
    let (world, other) = (World::new(), World::new());
    world.sh("exit 0").ends(0);
    other.sh("exit 0").ends(0);
    let head = keep_head(&world, "head");
    audit(&other, &head).ends(1).says(&["other log"]);
    std::fs::remove_dir_all(world.store().join("ledger")).unwrap();
    std::fs::create_dir(world.store().join("ledger")).unwrap();
    audit(&world, &head).ends(1).says(&["gone"]);
    std::fs::remove_dir_all(world.folder().join("data/taintline")).unwrap();
    world.sh("exit 0").ends(0);
    audit(&world, &head).ends(1).says(&["wrong key"]);
}

#[test]
fn a_file_without_a_tree_head_is_bad_input() {
    let world = World::new();
    world.sh("exit 0").ends(0);
    let file = world.folder().join("f");
    for text in ["", "nonsense\n", "c2sp.org/tlog-proof@v1\n"] {
        std::fs::write(&file, text).unwrap();
        audit(&world, &file).ends(2);
    }
    audit(&world, &world.folder().join("absent")).ends(2);
    audit(&world, world.folder()).ends(2);
}
