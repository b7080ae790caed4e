//! Verdicts in the ledger: `taintline scan --record` and `--history` as their users meet them.

use serde_json::Value;

use super::world::{Done, World};

/// `os.system('echo MARKER')` on loading.
const COMMAND: &[u8] = b"\x80\x02cos\nsystem\nU\x0becho MARKER\x85R.";
/// Plain data.
const DATA: &[u8] = b"\x80\x02]K\x01a.";

fn world() -> World {
    let world = World::new();
    std::fs::create_dir(world.work.join("models")).unwrap();
    std::fs::write(world.work.join("models/bad.pkl"), COMMAND).unwrap();
    std::fs::write(world.work.join("models/good.pkl"), DATA).unwrap();
    world
}

fn record(world: &World) -> Done {
    world.taintline(["scan", "--record", "models"])
}

fn history(world: &World, path: &str) -> Vec<Value> {
    let form = ["scan", "--history", "--output-format", "json", path];
    let done = world.taintline(form).ends(0);
    let view: Value = serde_json::from_slice(&done.out).unwrap();
    view["files"][0]["earlier"].as_array().unwrap().clone()
}

#[test]
fn a_record_changes_no_verdict_and_is_found_by_the_bytes_and_not_by_the_path() {
    let world = world();
    let plain = world.taintline(["scan", "models"]).ends(1).out();
    let recorded = record(&world).ends(1).says(&["2 verdicts kept"]).out();
    let told = |text: &str| text.lines().next().map(str::to_owned);
    assert_eq!(told(&plain), told(&recorded));
    let moved = world.folder().join("elsewhere");
    std::fs::rename(world.work.join("models/bad.pkl"), &moved).unwrap();
    let earlier = history(&world, moved.to_str().unwrap());
    assert_eq!(earlier.len(), 1);
    assert_eq!(earlier[0]["verdict"], "dangerous");
    assert!(
        earlier[0]["path"]
            .as_str()
            .unwrap()
            .ends_with("project/models/bad.pkl")
    );
    assert_eq!(earlier[0]["vouched"], true);
    assert_eq!(earlier[0]["scanner"]["rules"].as_str().unwrap().len(), 64);
    let other = [COMMAND, b" "].concat();
    std::fs::write(&moved, other).unwrap();
    assert!(history(&world, moved.to_str().unwrap()).is_empty());
}

#[test]
fn every_scan_that_is_recorded_is_told_in_order_and_the_ledger_stays_sound() {
    let world = world();
    record(&world).ends(1);
    record(&world).ends(1);
    let audit = world.taintline(["ledger", "audit"]).ends(0);
    assert!(audit.out().contains("2 entries"));
    let before = history(&world, "models/good.pkl");
    world.taintline(["ledger", "reindex"]).ends(0);
    assert_eq!(history(&world, "models/good.pkl"), before);
    let entries: Vec<_> = before
        .iter()
        .map(|earlier| earlier["entry"].clone())
        .collect();
    assert_eq!(entries, [0, 1]);
    // A scan is no run.
    world.taintline(["runs"]).ends(0).says(&["no runs"]);
}

#[test]
fn a_verdict_that_changed_is_told_with_what_changed() {
    let world = world();
    std::fs::write(
        world.work.join("models/own.pkl"),
        b"\x80\x02cmine.model\nConfig\n)\x81}b.",
    )
    .unwrap();
    record(&world).ends(1);
    let policy = world.folder().join("policy.toml");
    let admit = "schema = \"taintline.policy/1\"\n[[admit]]\nmodule = \"mine.model\"\nname = \"Config\"\nroles = [\"construct\", \"state\", \"reference\"]\n";
    std::fs::write(&policy, admit).unwrap();
    let policy = policy.to_str().unwrap();
    world
        .taintline(["scan", "--record", "--policy", policy, "models/own.pkl"])
        .ends(0);
    world
        .taintline(["scan", "--history", "models/own.pkl"])
        .ends(0)
        .says(&["from custom to clean", "the policy is another"]);
}

#[test]
fn a_store_in_what_is_scanned_is_refused_and_nothing_is_written() {
    let world = world();
    world
        .taintline(["scan", "--record", "."])
        .ends(2)
        .says(&["lies in what is scanned", "--store"]);
    assert!(!world.store().exists());
}

#[test]
fn a_record_that_cannot_be_made_or_is_not_there_is_an_error_that_says_what_to_do() {
    let world = world();
    world
        .taintline(["scan", "--history", "models/good.pkl"])
        .ends(2)
        .says(&["there is no store", "--record"]);
    let file = world.folder().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    world
        .taintline(["scan", "--record", "--store", file, "models"])
        .ends(2)
        .says(&["hint"]);
    record(&world).ends(1);
    world.taintline(["scan", "--history", "models"]).ends(2);
    world
        .taintline(["scan", "--history", "--record", "models"])
        .ends(2);
}

#[test]
fn a_segment_that_was_changed_is_found_by_the_audit_and_tells_nothing() {
    let world = world();
    record(&world).ends(1);
    let blobs = std::fs::read_dir(world.store().join("blobs")).unwrap();
    for folder in blobs {
        for blob in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = blob.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, text.replace("dangerous", "clean")).unwrap();
        }
    }
    assert!(history(&world, "models/bad.pkl").is_empty());
    world.taintline(["ledger", "audit"]).ends(1);
}
