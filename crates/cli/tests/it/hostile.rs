//! Whoever wants to hide writes the arguments, the file names and the store. None of it acts on the terminal.

use std::process::Command;

use super::world::{Done, World, finish};

/// Clears the screen, reorders, hides, rings, moves up, sets the title, returns the carriage.
const HOSTILE: &str = "a\x1b[2J\x1b]0;owned\x07\u{202e}drow\u{200b}\u{e0041}\u{9b}31m\rb\x08\nc";

#[track_caller]
fn is_harmless(done: &Done) {
    for text in [
        String::from_utf8_lossy(&done.out),
        String::from_utf8_lossy(&done.err),
    ] {
        let acting = text.chars().find(|character| {
            (character.is_control() && *character != '\n')
                || matches!(*character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{e0000}'..='\u{e007f}')
        });
        assert_eq!(acting, None, "{text:?}");
    }
}

#[test]
fn hostile_arguments_are_recorded_and_shown_harmless() {
    let world = World::new();
    let guarded = world.taintline(["run", "--", "/bin/true", HOSTILE]).ends(0);
    is_harmless(&guarded);
    let first = world.run_names().remove(0);
    world.taintline(["run", "--", "/bin/true", "other"]).ends(0);
    let [runs, shown, diff] = [
        world.taintline(["runs"]),
        world.taintline(["show", &first]),
        world.taintline(["diff", &first, "last"]),
    ];
    for done in [&runs, &shown, &diff] {
        assert_eq!(done.code, 0);
        is_harmless(done);
    }
    for done in [shown, runs] {
        let lines = done.out();
        assert!(lines.contains("\\x1b"), "it is shown, harmless: {lines}");
    }
    let json = world.json(&["show", &first]);
    let command = json["command"].as_str().unwrap();
    assert!(
        command.contains("\\x1b[2J") && command.contains('\u{202e}'),
        "{command}"
    );
}

#[test]
fn hostile_folders_stores_programs_and_run_names_are_shown_harmless() {
    let world = World::new();
    let folder = world.work.join(HOSTILE);
    std::fs::create_dir(&folder).unwrap();
    let inside = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        finish(command.current_dir(&folder))
    };
    for (arguments, code) in [
        (&["runs"][..], 2),
        (&["run", "--", "/bin/true"], 0),
        (&["show", "last"], 0),
        (&["ledger", "audit"], 0),
        (&["run", "--", HOSTILE], 2),
        (&["show", HOSTILE], 2),
        (&["diff", HOSTILE, "last"], 2),
        (
            &["--store", &format!("{HOSTILE}x"), "run", "--", "/bin/true"],
            0,
        ),
        (
            &[
                "--store",
                &format!("{HOSTILE}x/version/below"),
                "run",
                "--",
                "/bin/true",
            ],
            2,
        ),
        (&["--store", &format!("{HOSTILE}y"), "runs"], 2),
        (&[HOSTILE], 2),
        (&["run", HOSTILE], 2),
        (&["run", "--data-budget", HOSTILE, "--", "true"], 2),
        (&[&format!("--{HOSTILE}")], 2),
    ] {
        let done = inside(arguments).ends(code);
        is_harmless(&done);
    }
}

#[test]
fn hostile_names_in_the_project_and_in_the_ledger_are_shown_harmless() {
    let world = World::new();
    let git = |arguments: &[&str]| {
        let done = Command::new("git")
            .args(arguments)
            .current_dir(&world.work)
            .env("HOME", world.folder())
            .output();
        assert!(done.unwrap().status.success(), "{arguments:?}");
    };
    git(&["init", "-q", "."]);
    std::fs::write(world.work.join(".gitignore"), ".taintline/\n").unwrap();
    git(&["add", "."]);
    git(&[
        "-c",
        "user.email=a@b.c",
        "-c",
        "user.name=n",
        "commit",
        "-qm",
        "one",
    ]);
    std::fs::write(world.work.join(HOSTILE), "x").unwrap();
    is_harmless(&world.sh("true").ends(0));
    world.taintline(["run", "--", "/bin/true", "two"]).ends(0);
    let first = world.run_names().remove(0);
    let odd = world.store().join("ledger").join(HOSTILE);
    std::fs::create_dir(&odd).unwrap();
    std::fs::write(odd.join("checkpoint"), "x").unwrap();
    std::fs::write(world.store().join("blobs").join(HOSTILE), "x").unwrap();
    for arguments in [
        &["show", &first][..],
        &["runs"],
        &["diff", &first, "last"],
        &["ledger", "audit"],
        &["ledger", "reindex"],
        &["run", "--", "/bin/true"],
    ] {
        is_harmless(&world.taintline(arguments));
    }
}
