//! Silence is seen: signs of life of a quiet run, a supervisor that was stopped, one that died.

use super::world::{World, kill};

/// A world in which a heartbeat is due after a second.
fn impatient() -> World {
    let world = World::new();
    let folder = world.folder().join("home/.config/taintline");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("taintline.toml"),
        "[record]\nheartbeat_seconds = 1\n",
    )
    .unwrap();
    world
}

fn start(world: &World, script: &str) -> super::world::Running {
    world.start_with(script, |command| {
        command.env_remove("XDG_CONFIG_HOME");
    })
}

fn heartbeats(world: &World) -> usize {
    let listed = world.json(&["ledger", "log", "--count", "1000"]);
    let entries = listed["entries"].as_array().unwrap();
    let beats = entries.iter().filter(|entry| entry["what"] == "heartbeat");
    beats.count()
}

#[test]
fn a_quiet_run_gives_signs_of_life_and_has_no_gap_for_it() {
    let world = impatient();
    start(&world, "sleep 4").finish().ends(0);
    assert!(
        (1..=4).contains(&heartbeats(&world)),
        "{}",
        heartbeats(&world)
    );
    let shown = world.json(&["show", "last"]);
    assert!(
        !shown["gaps"].to_string().contains("anything from"),
        "{}",
        shown["gaps"]
    );
    world.taintline(["ledger", "audit"]).ends(0);
}

#[test]
fn a_supervisor_that_was_stopped_is_told_with_when_and_how_long() {
    let world = impatient();
    let mut running = start(
        &world,
        "echo up; kill -STOP $PPID; sleep 7; kill -CONT $PPID; sleep 1",
    );
    running.line();
    running
        .finish()
        .ends(0)
        .says(&["not recorded: anything from"]);
    let shown = world.taintline(["show", "last"]).ends(0);
    shown.says(&[
        "anything from",
        "no heartbeat: the supervisor was stopped or frozen for",
    ]);
    world.taintline(["ledger", "audit"]).ends(0);
}

#[test]
fn a_run_whose_supervisor_died_shows_its_last_sign_of_life() {
    let world = impatient();
    let mut running = start(&world, "echo $$; exec sleep 60");
    let job: u32 = running.line().parse().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(4));
    running.kill_supervisor();
    kill("KILL", job);
    let runs = world.json(&["runs"]);
    let last = runs["runs"][0]["last_sign"].as_str().unwrap().to_owned();
    assert!(runs["runs"][0]["started"].as_str().unwrap() < last.as_str());
    world
        .taintline(["runs"])
        .ends(0)
        .says(&["last sign of life", &last]);
    world.sh("exit 0").ends(0);
    let name = world.run_names().remove(0);
    let shown = world.json(&["show", &name]);
    assert_eq!(shown["last_sign"], last.as_str());
    assert!(
        shown["acts"].to_string().contains("last sign of life"),
        "{shown}"
    );
    assert!(
        !shown["gaps"].to_string().contains("anything from"),
        "{}",
        shown["gaps"]
    );
}
