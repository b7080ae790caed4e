//! Specs as their users meet them: read, shown, signed, amended, and each way to be refused has a name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::world::World;

const SPEC: &str = r#"schema = "taintline.spec/1"
name = "a"

[world]
size = 1

[steps]
count = 10

[[optimizer]]
class = "AdamW"
backwards = 1

[[optimizer.group]]
lr = [{ first = 1, last = 10, kind = "constant", value = 3e-4 }]
hyper = { weight_decay = 0.1 }
"#;

fn world() -> World {
    let world = World::new();
    fs::write(world.work.join("a.spec.toml"), SPEC).unwrap();
    world
}

fn key(world: &World) -> PathBuf {
    let path = world.folder().join("spec_key");
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path)
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    path
}

fn with_key<'a>(key: &'a Path, words: &[&'a str]) -> Vec<&'a str> {
    let key = key.to_str().unwrap();
    [words, &["--key", key]].concat()
}

#[test]
fn a_change_without_an_amendment_is_refused_and_one_with_it_is_told() {
    let world = world();
    let key = key(&world);
    world
        .taintline(["spec", "verify", "a.spec.toml"])
        .ends(2)
        .says(&["nobody signed it"]);
    world
        .taintline(with_key(&key, &["spec", "sign", "a.spec.toml"]))
        .ends(0)
        .says(&["SIGNED a.spec.toml", "recorded"]);
    world
        .taintline(["spec", "verify", "a.spec.toml"])
        .ends(3)
        .says(&["HOLDS", "no list of allowed signers"]);

    let file = world.work.join("a.spec.toml");
    fs::write(&file, SPEC.replace("3e-4", "4.5e-4")).unwrap();
    for words in [
        &["spec", "show", "a.spec.toml"][..],
        &["spec", "sign", "a.spec.toml"],
        &["run", "--spec", "a.spec.toml", "--", "true"],
    ] {
        world.taintline(words.iter().copied()).ends(2).says(&[
            "a.spec.toml",
            "changed since it was signed, without an amendment",
        ]);
    }
    fs::write(&file, SPEC).unwrap();

    let set = "optimizer.0.group.0.lr=1e-4";
    let words = [
        "spec",
        "amend",
        "a.spec.toml",
        "--from-step",
        "5",
        "--set",
        set,
        "--why",
        "it rose",
    ];
    world
        .taintline(with_key(&key, &words))
        .ends(0)
        .says(&["SIGNED", "amendments   1"]);
    world
        .taintline(["spec", "show", "a.spec.toml"])
        .ends(0)
        .says(&["from step 5", "lr = 0.0001", "it rose"]);
    let log = world.taintline(["ledger", "log", "-n", "5"]).ends(0);
    assert!(log.out().contains("spec signed"), "{}", log.out());

    // What was amended is bound by the amendment, whoever signs it again.
    let amended = fs::read_to_string(&file).unwrap();
    fs::write(&file, amended.replace("3e-4", "4.5e-4")).unwrap();
    fs::remove_file(world.work.join("a.spec.toml.sig")).unwrap();
    world
        .taintline(with_key(&key, &["spec", "sign", "--anew", "a.spec.toml"]))
        .ends(2)
        .says(&["what stands before amendment 1 is not what was amended"]);
}

#[test]
fn openssh_verifies_a_spec_without_us() {
    let world = world();
    let key = key(&world);
    world
        .taintline(with_key(&key, &["spec", "sign", "a.spec.toml"]))
        .ends(0);
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    fs::write(world.work.join("allowed"), format!("ada@x {public}")).unwrap();
    let verify = |namespace: &str| {
        let words = [
            "-Y",
            "verify",
            "-f",
            "allowed",
            "-I",
            "ada@x",
            "-n",
            namespace,
            "-s",
            "a.spec.toml.sig",
        ];
        let input = fs::File::open(world.work.join("a.spec.toml")).unwrap();
        let status = Command::new("ssh-keygen")
            .args(words)
            .current_dir(&world.work)
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    };
    assert!(verify("taintline-spec") && !verify("taintline-approval"));
}

#[test]
fn two_specs_differ_in_words() {
    let world = world();
    let other = SPEC
        .replace("weight_decay = 0.1", "weight_decay = 0.0")
        .replace("count = 10", "count = 20");
    fs::write(world.work.join("b.spec.toml"), other).unwrap();
    let done = world
        .taintline(["spec", "diff", "a.spec.toml", "b.spec.toml"])
        .ends(0);
    let text = done.out();
    assert!(
        text.contains("optimizer 0, group 0: weight_decay: 0.1 → 0.0"),
        "{text}"
    );
    assert!(text.contains("steps: 10 → 20"), "{text}");
    let done = world
        .taintline(["spec", "diff", "a.spec.toml", "b.spec.toml", "--json"])
        .ends(0);
    let value: Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(value["schema"], "taintline.spec-diff/1");
}

#[test]
fn what_is_no_spec_is_an_error_with_its_place() {
    let world = world();
    let file = world.work.join("bad.toml");
    let cases = [
        (SPEC.replace("backwards", "backwords"), "backwords"),
        (SPEC.replace("spec/1", "spec/9"), "taintline.spec/9"),
        (SPEC.replace("3e-4", "nan"), "do not follow"),
        (
            SPEC.replace("count = 10", "count = 10\ntable = \"../x\""),
            "without a folder",
        ),
        (SPEC.replace("[world]", "[world"), "line 4"),
        (format!("{SPEC}x = {}", "[".repeat(100)), "brackets"),
        (
            SPEC.replace("count = 10", "count = 10\ntable = \"t\"\nsha256 = \"x\""),
            "line",
        ),
    ];
    for (text, why) in cases {
        fs::write(&file, text).unwrap();
        world
            .taintline(["spec", "show", "bad.toml"])
            .ends(2)
            .says(&["bad.toml", why]);
    }
    fs::write(&file, [0xff; 4]).unwrap();
    world
        .taintline(["spec", "show", "bad.toml"])
        .ends(2)
        .says(&["no text"]);
    world.taintline(["spec", "show", "/dev/zero"]).ends(2);
    world.taintline(["spec", "learn", "nobody"]).ends(2);
    world.sh("true").ends(0);
    world
        .taintline(["spec", "learn", "last"])
        .ends(2)
        .says(&["no step of it is recorded"]);
    let words = [
        "spec",
        "amend",
        "a.spec.toml",
        "--from-step",
        "1",
        "--why",
        "x",
        "--set",
        "optimizer.7.class=SGD",
    ];
    world.taintline(words).ends(2).says(&["optimizer.7.class"]);
    assert_eq!(
        fs::read_to_string(world.work.join("a.spec.toml")).unwrap(),
        SPEC
    );
}
