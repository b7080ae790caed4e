//! Bad input gives exit code 2, words that say what and where, a hint, and leaves everything as it was.

use std::os::unix::fs::PermissionsExt as _;

use super::world::{World, words};

#[test]
fn a_command_that_does_not_exist_is_named_and_nothing_is_started() {
    let world = World::new();
    world
        .taintline(["run", "--", "no-such-program", "x"])
        .ends(2)
        .says(&[
            "no-such-program",
            "not found",
            "hint:",
            "nothing was started",
        ]);
    world
        .taintline(["run", "--", "./no/such/file"])
        .ends(2)
        .says(&["./no/such/file", "hint:"]);
}

#[test]
fn a_file_that_is_not_executable_is_named_and_nothing_is_started() {
    let world = World::new();
    let script = world.work.join("train.sh");
    std::fs::write(&script, "#!/bin/sh\ntouch started\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
    world
        .taintline(["run", "--", "./train.sh"])
        .ends(2)
        .says(&["train.sh", "hint:"]);
    world.taintline(["run", "--", "."]).ends(2).says(&["hint:"]);
    assert!(!world.work.join("started").exists());
}

#[test]
fn a_command_that_did_not_start_is_not_shown_as_a_run_in_which_nothing_was_found() {
    let world = World::new();
    world.taintline(["run", "--", "no-such-program"]).ends(2);
    let shown = world.json(&["show", "last"]);
    assert_eq!(shown["outcome"], "exit 127");
    assert!(
        shown["gaps"].as_array().unwrap().iter().any(|gap| {
            let words = format!("{} {}", gap["what"], gap["why"]);
            words.contains("did not start") || words.contains("not started")
        }),
        "{}",
        shown["gaps"]
    );
}

#[test]
fn usage_errors_end_with_2_and_say_how_it_is_used() {
    let world = World::new();
    for arguments in [
        &[][..],
        &["run"],
        &["run", "--"],
        &["run", "--data-budget", "4X", "--", "true"],
        &["run", "--exit-code", "mine", "--", "true"],
        &["show"],
        &["diff", "one"],
        &["ledger"],
        &["no-such-command"],
    ] {
        let done = world.taintline(arguments).ends(2);
        assert!(done.out.is_empty(), "{arguments:?}");
        assert!(!done.err.is_empty(), "{arguments:?}");
    }
    assert!(!world.store().exists());
}

#[test]
fn reading_where_no_store_is_says_so_and_makes_none() {
    let world = World::new();
    for arguments in [
        &["runs"][..],
        &["show", "last"],
        &["diff", "a", "b"],
        &["ledger", "audit"],
        &["ledger", "reindex"],
    ] {
        world.taintline(arguments).ends(2).says(&[
            "there is no store in",
            "hint:",
            "taintline run",
        ]);
    }
    assert!(!world.store().exists());
}

#[test]
fn a_run_that_does_not_exist_is_named_and_so_is_the_way_to_the_list() {
    let world = World::new();
    world.sh("true").ends(0);
    world
        .taintline(["show", "nobody-at-home-1"])
        .ends(2)
        .says(&["no run is called nobody-at-home-1", "taintline runs"]);
    world
        .taintline(["diff", "last", "nobody-at-home-1"])
        .ends(2)
        .says(&["no run is called nobody-at-home-1"]);
    world.taintline(["show", ""]).ends(2);
}

#[test]
fn a_store_that_cannot_be_written_stops_before_anything_is_started() {
    let world = World::new();
    std::fs::write(world.work.join("file"), "x").unwrap();
    std::fs::create_dir(world.work.join("full")).unwrap();
    std::fs::write(world.work.join("full/of-other-things"), "x").unwrap();
    for store in ["file", "file/below", "/proc/taintline", "/dev/null", "full"] {
        let done = world.taintline(["--store", store, "run", "--", "/usr/bin/touch", "started"]);
        let text = String::from_utf8_lossy(&done.err).into_owned();
        assert_eq!(done.code, 2, "{store:?}: {text}");
        assert!(text.contains("hint:"), "{store:?}: {text}");
        assert!(!world.work.join("started").exists(), "{store:?}");
    }
    assert_eq!(std::fs::read(world.work.join("file")).unwrap(), b"x");
    assert_eq!(
        std::fs::read_dir(world.work.join("full")).unwrap().count(),
        1
    );
}

#[test]
fn a_store_of_a_newer_version_is_left_alone_and_named() {
    let world = World::new();
    world.sh("true").ends(0);
    let version = world.store().join("version");
    let text = std::fs::read_to_string(&version).unwrap();
    let newer = text.replace("taintline store 2", "taintline store 3");
    assert_ne!(text, newer);
    std::fs::write(&version, &newer).unwrap();
    for arguments in [
        &["run", "--", "/usr/bin/touch", "started"][..],
        &["runs"],
        &["show", "last"],
        &["ledger", "audit"],
        &["ledger", "reindex"],
    ] {
        world
            .taintline(arguments)
            .ends(2)
            .says(&["version 3", "newer", "hint:"]);
    }
    assert!(!world.work.join("started").exists());
    assert_eq!(std::fs::read_to_string(&version).unwrap(), newer);
    std::fs::write(&version, text).unwrap();
    assert_eq!(world.run_names().len(), 1);
}

#[test]
fn a_damaged_version_file_stops_every_command_and_names_it() {
    let world = World::new();
    world.sh("true").ends(0);
    let version = world.store().join("version");
    for damage in [&b""[..], b"\0\0\0\0", b"taintline store", &[b'x'; 9000]] {
        std::fs::write(&version, damage).unwrap();
        for arguments in [&["run", "--", "/usr/bin/touch", "started"][..], &["runs"]] {
            world.taintline(arguments).ends(2).says(&["version"]);
        }
        assert!(!world.work.join("started").exists());
    }
}

#[test]
fn without_a_place_for_the_key_nothing_is_started() {
    let world = World::new();
    let mut command = world.command(["run", "--", "/usr/bin/touch", "started"]);
    command.env_remove("HOME").env_remove("XDG_DATA_HOME");
    super::world::finish(&mut command)
        .ends(2)
        .says(&["XDG_DATA_HOME", "HOME", "hint:"]);
    assert!(!world.work.join("started").exists());
}

#[test]
fn without_its_sensor_nothing_is_started() {
    let world = World::new();
    let mut command = world.command(["run", "--", "/usr/bin/touch", "started"]);
    command.env("TAINTLINE_SENSOR_DIR", world.folder().join("nowhere"));
    super::world::finish(&mut command)
        .ends(2)
        .says(&["sensor", "nowhere", "hint:"]);
    assert!(!world.work.join("started").exists());
}

#[test]
fn names_that_are_not_utf_8_are_bad_input_and_no_crash() {
    let world = World::new();
    world.sh("true").ends(0);
    for arguments in [
        words(&[b"show", b"\xff\xfe"]),
        words(&[b"--store", b"\xff\xfe", b"runs"]),
        words(&[b"\xff"]),
    ] {
        let done = world.taintline(arguments).ends(2);
        assert!(!String::from_utf8_lossy(&done.err).contains("panicked"));
    }
}
