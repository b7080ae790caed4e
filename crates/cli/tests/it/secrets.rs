//! Secrets on the command line, in variables and in URLs: sealed where they must be kept, else kept nowhere, shown never.

use super::world::{World, files_below, finish, holds};

const SECRET: &str = "s3cr3tZQ7v";

#[track_caller]
fn is_shown_nowhere(world: &World) {
    for arguments in [
        &["runs"][..],
        &["runs", "--json"],
        &["show", "last"],
        &["show", "last", "--json"],
    ] {
        let done = world.taintline(arguments).ends(0);
        let text = done.out();
        assert!(!text.contains(SECRET), "{arguments:?}: {text}");
    }
}

#[test]
fn a_secret_argument_lies_only_in_a_sealed_blob_and_is_blanked_when_shown() {
    let shapes: &[&[&str]] = &[
        &["--api-key", SECRET],
        &[&format!("--wandb-token={SECRET}")],
        &["--password", SECRET],
        &[&format!("HF_TOKEN={SECRET}")],
        &[&format!("https://me:{SECRET}@example.org/data?x=1")],
        &[&format!("s3://bucket/x?X-Amz-Signature={SECRET}")],
        &[&format!("--url=https://me:{SECRET}@example.org/data")],
        &[&format!(
            "curl https://a:{SECRET}@h/x https://b:{SECRET}@h/y"
        )],
        &[&format!("Authorization: Bearer {SECRET}")],
        &[&format!("export A=1 API_KEY={SECRET}; true")],
        &[&format!("train --api-key {SECRET} --lr 1")],
        &[&format!("{{\"api_key\": \"{SECRET}\"}}")],
    ];
    for shape in shapes {
        let world = World::new();
        let arguments = ["run", "--", "/bin/true"].iter().chain(*shape);
        let done = world.taintline(arguments).ends(0);
        assert!(!done.err().contains(SECRET), "{shape:?}");
        is_shown_nowhere(&world);
        let blobs = world.store().join("blobs");
        for file in files_below(&world.store()) {
            let bytes = std::fs::read(&file).unwrap();
            if !holds(&bytes, SECRET.as_bytes()) {
                continue;
            }
            assert!(
                file.starts_with(&blobs),
                "{shape:?}: in clear in {}",
                file.display()
            );
            let text = bytes.get(32..).unwrap();
            serde_json::from_slice::<serde_json::Value>(text)
                .expect("32 random bytes in front of what may hold a secret");
        }
    }
}

#[test]
fn equal_secrets_leave_no_equal_digest() {
    let world = World::new();
    for _ in 0..2 {
        world
            .taintline(["run", "--", "/bin/true", "--token", SECRET])
            .ends(0);
    }
    let sealed = files_below(&world.store().join("blobs"));
    let sealed = sealed
        .iter()
        .filter(|file| holds(&std::fs::read(file).unwrap(), SECRET.as_bytes()));
    assert_eq!(sealed.count(), 2);
}

#[test]
fn the_value_of_a_variable_that_may_be_secret_is_kept_nowhere() {
    let world = World::new();
    let names = [
        "WANDB_API_KEY",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "SSH_AUTH_SOCK",
        "TORCH_PRIVATE_KEY",
        "DATABASE_URL",
        "ANYTHING_ELSE",
    ];
    let mut command = world.command(["run", "--", "/bin/true"]);
    for name in names {
        command.env(name, SECRET);
    }
    finish(&mut command).ends(0);
    is_shown_nowhere(&world);
    for file in files_below(&world.store()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!holds(&bytes, SECRET.as_bytes()), "{}", file.display());
    }
}

#[test]
fn a_command_line_that_differs_in_a_secret_only_is_not_called_equal() {
    let world = World::new();
    for value in [SECRET, "another"] {
        world
            .taintline(["run", "--", "/bin/true", "--token", value])
            .ends(0);
    }
    let names = world.run_names();
    let differs = world
        .taintline(["diff", &names[0], &names[1]])
        .ends(0)
        .says(&["blanked"]);
    assert!(!differs.out().contains(SECRET), "{}", differs.out());
}

#[test]
fn that_a_secret_differs_is_seen_and_the_secret_is_not() {
    let world = World::new();
    for value in [SECRET, "another", SECRET] {
        let mut command = world.command(["run", "--", "/bin/true", "--api-key", value]);
        finish(command.env("HF_TOKEN", value)).ends(0);
    }
    let names = world.run_names();
    let differs = world
        .taintline(["diff", &names[0], &names[1]])
        .ends(0)
        .says(&["HF_TOKEN"]);
    assert!(
        !differs.out().contains(SECRET) && !differs.out().contains("another"),
        "{}",
        differs.out()
    );
    let equal = world.taintline(["diff", &names[0], &names[2]]).ends(0);
    assert!(!equal.out().contains("HF_TOKEN"), "{}", equal.out());
}

#[test]
fn an_erased_command_line_is_said_and_everything_else_is_still_shown() {
    let world = World::new();
    world
        .taintline(["run", "--", "/bin/true", "--token", SECRET])
        .ends(0);
    for file in files_below(&world.store().join("blobs")) {
        if holds(&std::fs::read(&file).unwrap(), SECRET.as_bytes()) {
            std::fs::remove_file(&file).unwrap();
        }
    }
    world
        .taintline(["show", "last"])
        .ends(0)
        .says(&["(erased)", "exit 0"]);
    world
        .taintline(["runs"])
        .ends(0)
        .says(&["(command erased)"]);
    world
        .taintline(["diff", "last", "last"])
        .ends(0)
        .says(&["not compared"]);
}
