//! `ledger audit` names each file that is not as it was written; the index is never evidence and always rebuilt.

use std::path::{Path, PathBuf};

use super::world::{World, files_below};

/// Files of the store that are evidence: all but the index and the locks.
fn evidence(world: &World) -> Vec<PathBuf> {
    let mut files = files_below(&world.store());
    files.retain(|file| {
        let name = file.file_name().unwrap().to_string_lossy();
        !name.starts_with("index.sqlite") && name != "lock" && name != ".gitignore"
    });
    files
}

/// A store with two runs.
fn recorded() -> World {
    let world = World::new();
    world.sh("exit 0").ends(0);
    world.sh("exit 3").ends(3);
    world
        .taintline(["ledger", "audit"])
        .ends(0)
        .says(&["is as it was written"]);
    world
}

#[track_caller]
fn is_named(world: &World, file: &Path, how: &str) {
    let name = file
        .strip_prefix(world.store())
        .unwrap()
        .display()
        .to_string();
    let done = world.taintline(["ledger", "audit"]);
    let text = String::from_utf8_lossy(&done.out).into_owned();
    assert_eq!(
        done.code,
        1,
        "{how} {name}: {text}\n{}",
        String::from_utf8_lossy(&done.err)
    );
    assert!(text.contains(&name), "{how} {name}: {text}");
    let done = world.taintline(["ledger", "audit", "--json"]);
    assert_eq!(done.code, 1);
    let json: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(json["schema"], "taintline.audit/1");
    let problems = json["problems"].as_array().unwrap();
    assert!(
        problems
            .iter()
            .any(|problem| problem["file"] == name.as_str()),
        "{problems:?}"
    );
}

#[test]
fn a_flipped_byte_in_any_file_is_found_and_the_file_is_named() {
    let world = recorded();
    let files = evidence(&world);
    for kind in [
        "version",
        "checkpoint",
        "vkey",
        "tile/0",
        "tile/entries",
        "blobs",
    ] {
        let there = |file: &PathBuf| file.display().to_string().contains(kind);
        assert!(files.iter().any(there), "there is no {kind}");
    }
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&file, changed).unwrap();
            is_named(&world, &file, &format!("byte {at} of"));
        }
        std::fs::write(&file, bytes).unwrap();
    }
    world.taintline(["ledger", "audit"]).ends(0);
}

#[test]
fn a_file_that_was_cut_grown_emptied_or_taken_away_is_named() {
    let world = recorded();
    for file in evidence(&world) {
        let bytes = std::fs::read(&file).unwrap();
        let cut = bytes[..bytes.len() - 1].to_vec();
        let grown = [&bytes[..], b"\n"].concat();
        for (how, changed) in [("cut", cut), ("grown", grown), ("emptied", Vec::new())] {
            std::fs::write(&file, changed).unwrap();
            is_named(&world, &file, how);
        }
        std::fs::remove_file(&file).unwrap();
        if file.file_name().unwrap() != "version" {
            is_named(&world, &file, "taken away");
        }
        std::fs::write(&file, bytes).unwrap();
    }
    world.taintline(["ledger", "audit"]).ends(0);
}

#[test]
fn the_index_is_built_anew_when_it_is_gone_broken_or_of_another_kind() {
    let world = recorded();
    let runs = world.taintline(["runs", "--json"]).ends(0).out;
    let index = world.store().join("index.sqlite");
    let whole = std::fs::read(&index).unwrap();
    let noise = vec![0xff; 70_000];
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().skip(100).step_by(97) {
        *byte ^= 0x55;
    }
    let damages: [&[u8]; 5] = [b"", b"x", &noise, &flipped, &whole[..whole.len() / 2]];
    for (number, damage) in damages.iter().enumerate() {
        for ending in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(world.store().join(format!("index.sqlite{ending}")));
        }
        std::fs::write(&index, damage).unwrap();
        let again = world.taintline(["runs", "--json"]).ends(0).out;
        assert!(
            again == runs,
            "damage {number}: {}",
            String::from_utf8_lossy(&again)
        );
        std::fs::write(&index, damage).unwrap();
        world
            .taintline(["ledger", "reindex"])
            .ends(0)
            .says(&["2 runs"]);
        assert_eq!(world.taintline(["runs", "--json"]).ends(0).out, runs);
    }
    std::fs::remove_file(&index).unwrap();
    assert_eq!(world.taintline(["runs", "--json"]).ends(0).out, runs);
    std::fs::remove_file(&index).unwrap();
    world.sh("exit 0").ends(0);
    assert_eq!(world.run_names().len(), 3);
}

#[test]
fn a_log_that_cannot_be_read_does_not_hide_the_others() {
    let world = recorded();
    let ledger = world.store().join("ledger");
    let other = ledger.join("someone@elsewhere");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("checkpoint"), "not a tree head\n").unwrap();
    world
        .taintline(["ledger", "audit"])
        .ends(1)
        .says(&["someone@elsewhere"]);
    let listed = world.taintline(["runs"]).ends(0).out();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(
        listed.contains("not read: log someone@elsewhere"),
        "{listed}"
    );
    let shown = world.json(&["show", "last"]);
    assert!(shown["gaps"].to_string().contains("someone@elsewhere"));
    world.sh("exit 0").ends(0);
}

#[test]
fn with_a_damaged_log_the_next_run_is_still_recorded_or_refused_before_it_starts() {
    let world = recorded();
    let entries = evidence(&world)
        .into_iter()
        .find(|file| file.display().to_string().contains("tile/entries"))
        .unwrap();
    let mut bytes = std::fs::read(&entries).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&entries, bytes).unwrap();
    let done = world.sh("echo started; exit 4");
    match done.code {
        4 => assert_eq!(done.out, b"started\n"),
        2 => assert!(done.out.is_empty(), "refused, and yet started"),
        code => panic!("exit {code}: {}", done.err()),
    }
    let text = String::from_utf8_lossy(&done.err).into_owned();
    assert!(text.contains("ledger") || text.contains("log"), "{text}");
}

#[test]
fn an_entry_is_listed_shown_proved_and_the_proof_verified_with_the_key_alone() {
    let world = recorded();
    let listed = world.json(&["ledger", "log", "--count", "1000"]);
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!(entries[0]["what"], "launch");
    assert_eq!(entries[entries.len() - 1]["what"], "end");
    let last = (entries.len() - 1).to_string();
    let shown = world.json(&["ledger", "show", &last]);
    assert_eq!(shown["entry"]["run"], entries[entries.len() - 1]["run"]);
    let proof = world.work.join("a.tlog-proof");
    let path = proof.to_str().unwrap();
    let proved = world.json(&["ledger", "prove", &last, "--output", path]);
    let key = proved["key"].as_str().unwrap().to_owned();
    let verify = |key: &str| world.taintline(["ledger", "verify-proof", path, "--key", key]);
    verify(&key).ends(0).says(&["proved: entry"]);
    let text = std::fs::read_to_string(&proof).unwrap();
    let other = text.replace(&format!("index {last}"), "index 0");
    std::fs::write(&proof, other).unwrap();
    verify(&key).ends(1).says(&["NOT PROVED"]);
    std::fs::write(&proof, text.replace("index", "Index")).unwrap();
    verify(&key).ends(2).says(&["malformed"]);
    verify("nonsense").ends(2).says(&["nonsense", "hint:"]);
    let absent = world.taintline(["ledger", "show", "999999"]);
    absent.ends(2).says(&["999999", "hint:"]);
}
