//! Statements about a run as their users meet them: signed, read strictly, and never more than is recorded.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::world::World;

/// A world with a run, and its statements in `out`.
fn attested() -> World {
    let world = World::new();
    world.sh("true").ends(0);
    let done = world.taintline(["attest", "last", "-o", "out"]).ends(0);
    done.says(&[
        "ATTESTED",
        "https://taintline/closure/v1",
        "https://taintline/verdict/v1",
    ]);
    world
}

fn verified(world: &World, file: &str, code: i32) -> Value {
    let done = world
        .taintline(["attest", "--verify", file, "--json"])
        .ends(code);
    serde_json::from_slice(&done.out).unwrap()
}

#[test]
fn what_was_attested_is_valid_for_its_signer_and_nobody_else_is_believed() {
    let world = attested();
    for name in ["closure", "verdict", "transcript"] {
        let file = format!("out/{name}.sigstore.json");
        let view = verified(&world, &file, 0);
        let kind = format!("https://taintline/{name}/v1");
        assert_eq!(
            (&view["verdict"], &view["statement"]["predicate"]),
            (&"valid".into(), &kind.into())
        );
    }
    let file = "out/verdict.sigstore.json";
    let keys = world.folder().join("data/taintline/keys");
    fs::rename(keys.join("seal.key"), keys.join("away")).unwrap();
    let view = verified(&world, file, 3);
    assert!(view["why"].to_string().contains("not yours"), "{view}");
    let other = World::new();
    fs::create_dir(other.work.join("m")).unwrap();
    fs::write(other.work.join("m/x"), "x").unwrap();
    other.taintline(["seal", "m"]).ends(0);
    let stranger = other.folder().join("data/taintline/keys/seal.key");
    assert!(
        std::process::Command::new("openssl")
            .args(["pkey", "-pubout", "-in"])
            .arg(&stranger)
            .arg("-out")
            .arg(world.work.join("stranger.pub"))
            .status()
            .unwrap()
            .success()
    );
    world
        .taintline(["attest", "--verify", file, "--key", "stranger.pub"])
        .ends(1)
        .says(&["INVALID", "none of those that you named"]);
}

#[test]
fn a_verdict_is_clean_only_where_nothing_is_missing() {
    let world = attested();
    let view = verified(&world, "out/verdict.sigstore.json", 0);
    let predicate = &view["content"]["predicate"];
    // No Python ran, so the steps are a gap.
    assert_eq!(predicate["verdict"], "unknown");
    assert!(
        predicate["gaps"].to_string().contains("steps"),
        "{predicate}"
    );
    let shown = world.json(&["show", "last"]);
    assert_eq!(predicate["gaps"], shown["gaps"]);
    assert_eq!(predicate["findings"], shown["findings"]);
    let mut command = world.command(["run", "--", "/bin/sh", "-c", "rm -r $S/ledger"]);
    super::world::finish(command.env("S", world.store())).ends(1);
    world
        .taintline(["attest", "last", "-o", "again"])
        .ends(0)
        .says(&["affected"]);
    let view = verified(&world, "again/verdict.sigstore.json", 0);
    assert_eq!(
        view["content"]["predicate"]["findings"][0]["rule"],
        "ledger-rewritten"
    );
}

#[test]
fn a_changed_byte_of_a_statement_is_told() {
    let world = attested();
    let path = world.work.join("out/closure.sigstore.json");
    let good = fs::read(&path).unwrap();
    for position in (0..good.len()).step_by(61) {
        let mut bad = good.clone();
        bad[position] ^= 1;
        fs::write(&path, bad).unwrap();
        let done = world.taintline(["attest", "--verify", "out/closure.sigstore.json"]);
        assert!(
            matches!(done.code, 1 | 3),
            "byte {position}: {}",
            done.out()
        );
        // What is not judged is a signature by somebody else, as far as the bundle says.
        assert!(
            done.code == 1 || done.out().contains("which is not yours"),
            "{}",
            done.out()
        );
    }
    for hostile in ["", "{}", "[[[[", "{\"mediaType\":1}"] {
        fs::write(&path, hostile).unwrap();
        verified(&world, "out/closure.sigstore.json", 1);
    }
    fs::write(&path, "[".repeat(1 << 20)).unwrap();
    verified(&world, "out/closure.sigstore.json", 1);
}

/// Signs a changed statement anew with the user's own key: what an honest signer never does.
fn signed(world: &World, file: &str, change: impl Fn(&mut Value)) {
    let mut statement = verified(world, file, 0)["content"].clone();
    change(&mut statement);
    let key = world.folder().join("data/taintline/keys/seal.key");
    let key = trust::keyfile::read_private(&key).unwrap();
    let envelope = trust::envelope::Envelope::sign(statement.to_string().as_bytes(), &key).unwrap();
    let bundle = trust::oms::Bundle::encode(&envelope, key.public(), None).unwrap();
    fs::write(world.work.join("changed"), bundle).unwrap();
}

#[test]
fn a_statement_that_contradicts_itself_is_not_believed_whoever_signed_it() {
    let world = attested();
    let told = |file: &str, change: &dyn Fn(&mut Value)| {
        signed(&world, &format!("out/{file}.sigstore.json"), change);
        verified(&world, "changed", 1)["why"].to_string()
    };
    let verdict = told("verdict", &|it| it["predicate"]["verdict"] = "clean".into());
    assert!(verdict.contains("verdict does not follow"), "{verdict}");
    let root = told("verdict", &|it| {
        it["predicate"]["run"]["root"] = "0".repeat(64).into();
    });
    assert!(
        root.contains("does not follow from what it lists"),
        "{root}"
    );
    let dropped = told("closure", &|it| {
        it["predicate"]["loads"]
            .as_array_mut()
            .unwrap()
            .push(json!({
                "kind": "zzz", "path": "/x", "sha256": null, "bytes": null
            }));
    });
    assert!(
        dropped.contains("does not follow from what it lists"),
        "{dropped}"
    );
    let sums = told("transcript", &|it| it["predicate"]["steps"] = 7.into());
    assert!(sums.contains("sums do not agree"), "{sums}");
    let unknown = told("closure", &|it| it["predicate"]["more"] = 1.into());
    assert!(unknown.contains("unknown field"), "{unknown}");
    signed(&world, "out/closure.sigstore.json", |it| {
        it["predicateType"] = "https://example.com/other/v1".into();
    });
    let other = verified(&world, "changed", 3);
    assert!(
        other["why"].to_string().contains("not known here"),
        "{other}"
    );
}

/// Appends a fact to the newest run, as its supervisor would.
fn add(world: &World, seq: u64, event_us: i64, body: &Value) {
    let store = ledger::Store::open(&world.store()).unwrap();
    let log = store.logs().unwrap()[0].name().to_owned();
    let keys = world.folder().join("data/taintline/keys");
    let writer = store.writer(&log, &keys).unwrap();
    let run = world.json(&["show", "last"])["id"].clone();
    let entry = json!({
        "v": 1, "run": run, "seq": seq, "event_us": event_us, "capture_us": event_us,
        "tier": "supervisor", "body": body,
    });
    writer
        .append(&[serde_json::to_vec(&entry).unwrap()])
        .unwrap();
}

#[test]
fn a_checkpoint_is_linked_to_what_its_process_had_loaded_before_it_was_saved() {
    let world = World::new();
    world.sh("true").ends(0);
    let number = world.json(&["ledger", "log", "-n", "1"])["entries"][0]["seq"]
        .as_u64()
        .unwrap();
    let process = |pid: u32| json!({"boot": "b", "pid": pid, "started": 1});
    let load = |name: &str, digit: &str, pid: u32| {
        json!({"kind": "load", "what": "checkpoint", "path": name, "digest": digit.repeat(64),
            "stored": false, "process": process(pid), "step": 0})
    };
    // Heard after the save, for it took longer to read, but loaded before.
    add(
        &world,
        number + 1,
        20,
        &json!({
            "kind": "write", "path": "/c/two.pt", "digest": "2".repeat(64), "process": process(7), "step": 40,
        }),
    );
    add(&world, number + 2, 10, &load("/c/one.pt", "1", 7));
    add(&world, number + 3, 10, &load("/c/of-another.pt", "3", 8));
    add(&world, number + 4, 30, &load("/c/later.pt", "4", 7));
    add(
        &world,
        number + 5,
        40,
        &json!({"kind": "write", "path": "/c/unread.pt", "process": process(7)}),
    );
    let done = world.taintline(["attest", "last", "-o", "out"]).ends(0);
    done.says(&["https://taintline/checkpoint/v1"]);
    let view = verified(&world, "out/checkpoints.sigstore.json", 0);
    let statement = &view["content"];
    assert_eq!(
        statement["subject"],
        json!([{"name": "/c/two.pt", "digest": {"sha256": "2".repeat(64)}}])
    );
    assert_eq!(
        statement["predicate"]["links"],
        json!([{
            "path": "/c/two.pt", "sha256": "2".repeat(64), "bytes": null, "rank": null, "step": 40,
            "resumed_from": [{"path": "/c/one.pt", "sha256": "1".repeat(64), "step": 0}],
        }])
    );
    let gaps = statement["predicate"]["gaps"].to_string();
    assert!(gaps.contains("checkpoint /c/unread.pt"), "{gaps}");
    let schema = include_str!("../../../../docs/schemas/checkpoint-v1.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let listed = |name: &str| {
        let fields = schema["$defs"][name]["required"].as_array().unwrap();
        let mut fields: Vec<_> = fields.iter().map(|it| it.as_str().unwrap()).collect();
        fields.sort_unstable();
        fields.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let link = &statement["predicate"]["links"][0];
    assert_eq!(
        (keys(link), keys(&link["resumed_from"][0])),
        (listed("link"), listed("origin"))
    );
}

#[test]
fn what_is_asked_wrongly_is_told() {
    let world = attested();
    world
        .taintline(["attest", "last"])
        .ends(2)
        .says(&["--output"]);
    world
        .taintline(["attest", "nobody", "-o", "x"])
        .ends(2)
        .says(&["no run is called"]);
    world
        .taintline(["attest", "--verify", "nothing"])
        .ends(2)
        .says(&["nothing"]);
    assert!(!Path::new(&world.work.join("x")).exists());
}
