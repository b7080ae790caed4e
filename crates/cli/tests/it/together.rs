//! Several runs at once in one store: each is recorded whole, names are unique, the ledger stays sound.

use std::collections::BTreeSet;

use super::world::World;

fn all_at_once(world: &World, number: usize) {
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..number)
            .map(|code| {
                scope.spawn(move || world.sh(&format!("sleep 0.2; echo {code}; exit {code}")))
            })
            .collect();
        for (code, thread) in started.into_iter().enumerate() {
            let done = thread.join().unwrap().ends(i32::try_from(code).unwrap());
            assert_eq!(done.out(), format!("{code}\n"));
        }
    });
    let runs = world.json(&["runs"]);
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), number);
    assert!(runs.iter().all(|run| run["state"] == "ended"));
    let distinct = |field: &str| {
        let values: BTreeSet<_> = runs
            .iter()
            .map(|run| run[field].as_str().unwrap())
            .collect();
        values.len()
    };
    assert_eq!(
        (distinct("name"), distinct("id"), distinct("outcome")),
        (number, number, number)
    );
    world.taintline(["ledger", "audit"]).ends(0);
}

#[test]
fn two_runs_at_once_in_a_new_store_are_both_recorded() {
    all_at_once(&World::new(), 2);
}

#[test]
fn eight_runs_at_once_in_a_new_store_are_all_recorded() {
    all_at_once(&World::new(), 8);
}

#[test]
fn a_run_inside_a_run_is_recorded_as_its_own() {
    let world = World::new();
    let inner = format!(
        "{} run -- /bin/sh -c 'exit 3'",
        env!("CARGO_BIN_EXE_taintline")
    );
    world.sh(&inner).ends(3);
    assert_eq!(world.run_names().len(), 2);
    world.taintline(["ledger", "audit"]).ends(0);
}

#[test]
fn reading_while_a_run_is_going_shows_it_as_running() {
    let world = World::new();
    let mut running = world.start("echo ready; read word; exit 0");
    assert_eq!(running.line(), "ready");
    let runs = world.json(&["runs"]);
    assert_eq!(runs["runs"][0]["state"], "running");
    let shown = world.json(&["show", "last"]);
    assert_eq!(
        (&shown["state"], &shown["cost"]),
        (&"running".into(), &serde_json::Value::Null)
    );
    world.taintline(["ledger", "audit"]).ends(0);
    running.write("go\n");
    running.finish().ends(0);
    assert_eq!(world.json(&["show", "last"])["state"], "ended");
}
