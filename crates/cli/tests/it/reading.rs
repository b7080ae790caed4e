//! What `run`, `runs`, `show`, `diff` and `ledger` print, as a whole.

use super::scrub::{json, pids, scrub};
use super::world::World;

/// Two runs of shell scripts that differ in an argument and in how they end.
fn two_runs() -> (World, Vec<String>) {
    let world = World::new();
    world
        .taintline(["run", "--", "/bin/sh", "-c", "exit $1", "sh", "0"])
        .ends(0);
    world
        .taintline(["run", "--", "/bin/sh", "-c", "exit $1", "sh", "3"])
        .ends(3);
    let names = world.run_names();
    (world, names)
}

#[test]
fn the_summary_of_a_run_without_findings() {
    let world = World::new();
    let done = world.sh("exit 0").ends(0);
    let names = world.run_names();
    insta::assert_snapshot!(scrub(&world, &names, &done.err()));
}

#[test]
fn the_summary_of_a_run_whose_ledger_was_rewritten() {
    let world = World::new();
    let mut command = world.command(["run", "--", "/bin/sh", "-c", "rm -r $S/ledger"]);
    let done = super::world::finish(command.env("S", world.store())).ends(1);
    let names = world.run_names();
    insta::assert_snapshot!(scrub(&world, &names, &done.err()));
}

#[test]
fn the_list_of_runs() {
    let (world, names) = two_runs();
    let plain = world.taintline(["runs"]).ends(0).out();
    insta::assert_snapshot!("runs", scrub(&world, &names, &plain));
    insta::assert_snapshot!("runs-json", json(&world, &names, &world.json(&["runs"])));
}

#[test]
fn one_run_by_name_by_id_by_its_beginning_and_as_the_last() {
    let (world, names) = two_runs();
    let plain = world.taintline(["show", &names[1]]).ends(0).out();
    insta::assert_snapshot!("show", pids(&scrub(&world, &names, &plain)));
    let value = world.json(&["show", "last"]);
    insta::assert_snapshot!("show-json", pids(&json(&world, &names, &value)));
    let id = value["id"].as_str().unwrap();
    for way in [id, &id[..24], "last"] {
        assert_eq!(world.taintline(["show", way]).ends(0).out(), plain);
    }
    let many = world.taintline(["show", &id[..6]]);
    many.ends(2).says(&["2 runs are called", "hint:"]);
}

#[test]
fn only_what_differs_between_two_runs() {
    let (world, names) = two_runs();
    let plain = world
        .taintline(["diff", &names[0], &names[1]])
        .ends(0)
        .out();
    insta::assert_snapshot!("diff", scrub(&world, &names, &plain));
    let value = world.json(&["diff", &names[0], &names[1]]);
    insta::assert_snapshot!("diff-json", json(&world, &names, &value));
    let same = world.taintline(["diff", &names[0], &names[0]]).ends(0);
    same.says(&["nothing differs"]);
}

#[test]
fn the_audit_of_a_sound_ledger() {
    let (world, names) = two_runs();
    let plain = world.taintline(["ledger", "audit"]).ends(0).out();
    insta::assert_snapshot!("audit", scrub(&world, &names, &plain));
    let value = world.json(&["ledger", "audit"]);
    insta::assert_snapshot!("audit-json", json(&world, &names, &value));
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let world = World::new();
    insta::assert_snapshot!("help", world.taintline(["--help"]).ends(0).out());
}

#[test]
fn man_page_and_completions_come_from_the_same_definition() {
    let world = World::new();
    world
        .taintline(["generate", "man"])
        .ends(0)
        .says(&[".TH", "taintline\\-run", "Exit codes"]);
    world
        .taintline(["generate", "completions", "bash"])
        .ends(0)
        .says(&["reindex"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (world, _) = two_runs();
    let binary = env!("CARGO_BIN_EXE_taintline");
    let line = format!("set -o pipefail; {binary} runs | true; echo ${{PIPESTATUS[0]}}");
    let mut command = std::process::Command::new("/bin/bash");
    command.args(["-c", &line]).current_dir(&world.work);
    let done = super::world::finish(&mut command);
    assert_eq!(done.out(), "0\n", "{}", done.err());
}

#[test]
fn code_that_takes_longer_to_look_at_than_the_job_takes_is_recorded_all_the_same() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let programs = world.folder().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let slow = programs.join("git");
    std::fs::write(&slow, "#!/bin/sh\nsleep 1; PATH=$OLD exec git \"$@\"\n").unwrap();
    std::fs::set_permissions(&slow, std::fs::Permissions::from_mode(0o755)).unwrap();
    let old = std::env::var("PATH").unwrap();
    let mut command = world.command(["run", "--", "/bin/true"]);
    command
        .env("OLD", &old)
        .env("PATH", format!("{}:{old}", programs.display()));
    super::world::finish(&mut command).ends(0);
    let shown = world.json(&["show", "last"]);
    let gaps = shown["gaps"].to_string();
    assert!(gaps.contains("not in a git work tree"), "{gaps}");
}
