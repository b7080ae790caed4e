//! A supervisor that is killed: what was recorded is kept, and the next command says what happened.

use super::world::{World, kill};

#[test]
fn a_killed_supervisor_leaves_a_run_that_the_next_command_lists_as_interrupted() {
    let world = World::new();
    let mut running = world.start("echo $$; exec sleep 60");
    let job: u32 = running.line().parse().unwrap();
    running.kill_supervisor();
    let runs = world.json(&["runs"]);
    assert_eq!(runs["runs"][0]["state"], "interrupted");
    world.taintline(["runs"]).ends(0).says(&["interrupted"]);
    let name = world.run_names().remove(0);
    let shown = world.taintline(["show", &name]).ends(0);
    assert!(
        shown.out().contains("exec sleep 60"),
        "the launch is kept: {}",
        shown.out()
    );
    world.taintline(["ledger", "audit"]).ends(0);
    let alive = std::path::Path::new(&format!("/proc/{job}")).exists();
    if alive {
        kill("KILL", job);
    }
    assert!(alive, "the job outlives its supervisor");
}

#[test]
fn the_interruption_becomes_part_of_the_record_with_the_next_run() {
    let world = World::new();
    let mut running = world.start("echo $$; exec sleep 60");
    let job: u32 = running.line().parse().unwrap();
    running.kill_supervisor();
    kill("KILL", job);
    world.sh("exit 0").ends(0);
    world.sh("exit 0").ends(0);
    let names = world.run_names();
    assert_eq!(names.len(), 3);
    let first = world.json(&["show", &names[0]]);
    assert_eq!(first["state"], "interrupted");
    let acts = first["acts"].as_array().unwrap();
    let told = acts
        .iter()
        .filter(|act| act["what"].as_str().unwrap().contains("supervisor"));
    assert_eq!(told.count(), 1, "{acts:?}");
    assert_eq!(world.json(&["show", &names[2]])["state"], "ended");
    world.taintline(["ledger", "audit"]).ends(0);
}

#[test]
fn a_supervisor_killed_while_writing_leaves_a_ledger_that_goes_on() {
    let world = World::new();
    for _ in 0..10 {
        let mut running = world.start("echo $$; exec sleep 60");
        running.signal("KILL");
        // It may have died before the job was there, or after.
        if let Ok(job) = running.line().parse() {
            kill("KILL", job);
        }
        running.finish().ends(-1);
    }
    world.sh("exit 0").ends(0);
    world.taintline(["ledger", "audit"]).ends(0);
    assert_eq!(world.json(&["show", "last"])["state"], "ended");
}
