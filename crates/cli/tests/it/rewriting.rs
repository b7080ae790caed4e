//! A job that rewrites the ledger during its own run, with the same user id, is named at its end.

use super::world::World;

/// Runs a script that tampers with the log in `$L` (`ledger/WRITER`) of the store in `$S`.
fn tampering(world: &World, script: &str) -> super::world::Done {
    world.sh("exit 0").ends(0); // so that there is something to rewrite
    let mut command = world.command(["run", "--", "/bin/sh", "-c", script]);
    let log = std::fs::read_dir(world.store().join("ledger"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    super::world::finish(command.env("S", world.store()).env("L", log))
}

#[track_caller]
fn is_named(script: &str) -> World {
    let world = World::new();
    let done = tampering(&world, script);
    let done = done.ends(1).says(&["ledger-rewritten", "TAINTED"]);
    assert_eq!(done.out(), "done\n", "the job itself was not touched");
    let shown = world.json(&["show", "last"]);
    let rules: Vec<_> = shown["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["rule"].clone())
        .collect();
    assert_eq!(rules, ["ledger-rewritten"], "{script}");
    assert_eq!(
        (&shown["state"], &shown["outcome"]),
        (&"ended".into(), &"exit 0".into())
    );
    assert!(
        shown["command"].as_str().unwrap().contains("done"),
        "the launch was recorded once more"
    );
    // The record ends in a further log, and that is sound: whatever the audit names, it is not in it.
    let log = shown["ledger"]
        .as_str()
        .unwrap()
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    assert!(log.ends_with("~2"), "{log}");
    let audit = world.taintline(["ledger", "audit", "--json"]);
    let audit: serde_json::Value = serde_json::from_slice(&audit.out).unwrap();
    assert!(
        audit["logs"]
            .as_array()
            .unwrap()
            .iter()
            .any(|each| each["name"] == log.as_str()),
        "{audit}"
    );
    for problem in audit["problems"].as_array().unwrap() {
        let file = problem["file"].as_str().unwrap();
        assert!(!file.starts_with(&format!("ledger/{log}/")), "{problem}");
    }
    // And life goes on.
    world.sh("exit 5").ends(5);
    world.taintline(["show", "last"]).ends(0).says(&["exit 5"]);
    world
}

#[test]
fn truncated_entries_are_named() {
    is_named("for f in $L/tile/entries/*/*; do : > $f; done; echo done");
}

#[test]
fn changed_entries_are_named() {
    is_named(
        "for f in $L/tile/entries/*/*; do printf X | dd of=$f bs=1 seek=9 conv=notrunc 2>/dev/null; done; echo done",
    );
}

#[test]
fn deleted_tiles_are_named() {
    is_named("rm -r $L/tile; echo done");
}

#[test]
fn a_deleted_log_is_named() {
    is_named("rm -r $L; echo done");
}

#[test]
fn a_deleted_ledger_is_named() {
    is_named("rm -r $S/ledger; echo done");
}

#[test]
fn a_replaced_tree_head_is_named() {
    is_named("echo forged > $L/checkpoint; echo done");
}

#[test]
fn an_exchanged_key_is_named() {
    is_named("echo other+00000000+AAAA > $L/vkey; echo done");
}

#[test]
fn an_earlier_state_of_the_log_put_back_is_named() {
    // The copy is of the state before the launch: made by cutting the log is not possible without the key, so it is saved before.
    let world = World::new();
    world.sh("exit 0").ends(0);
    let saved = world.folder().join("saved");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(world.store().join("ledger"))
        .arg(&saved)
        .status();
    assert!(copied.unwrap().success());
    let script = format!(
        "rm -r $S/ledger; cp -a {} $S/ledger; echo done",
        saved.display()
    );
    let mut command = world.command(["run", "--", "/bin/sh", "-c", &script]);
    super::world::finish(command.env("S", world.store()))
        .ends(1)
        .says(&["ledger-rewritten"]);
    assert_eq!(
        world.run_names().len(),
        2,
        "the run that was cut away is recorded all the same"
    );
}

#[test]
fn with_the_jobs_own_code_asked_for_a_rewritten_ledger_is_told_and_the_code_is_the_jobs() {
    let world = World::new();
    world.sh("exit 0").ends(0);
    let mut command = world.command([
        "run",
        "--exit-code",
        "command",
        "--quiet",
        "--",
        "/bin/sh",
        "-c",
        "rm -r $S/ledger",
    ]);
    super::world::finish(command.env("S", world.store()))
        .ends(0)
        .says(&["ledger-rewritten"]);
}

#[test]
fn a_failing_job_that_rewrites_the_ledger_keeps_its_own_code() {
    let world = World::new();
    tampering(&world, "rm -r $S/ledger; exit 9")
        .ends(9)
        .says(&["ledger-rewritten"]);
}

#[test]
fn a_store_that_is_taken_away_in_mid_run_is_told() {
    let world = World::new();
    tampering(&world, "rm -rf $S; exit 0")
        .ends(1)
        .says(&["ledger-rewritten"]);
}

#[test]
fn a_store_that_is_replaced_by_a_file_is_told_and_the_job_keeps_its_code() {
    let world = World::new();
    let done = tampering(&world, "rm -rf $S; echo x > $S; exit 6").ends(6);
    assert!(
        done.err().contains("not recorded") || done.err().contains("ledger-rewritten"),
        "{}",
        done.err()
    );
}
