//! Approvals as their users meet them: signed by OpenSSH, checked by it and by us, and each way to fail has a name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::authority::Authority;
use super::world::{Done, World, files_below};

fn program(name: &str, arguments: &[&str], folder: &Path, input: &Path) -> bool {
    let status = Command::new(name)
        .args(arguments)
        .current_dir(folder)
        .stdin(fs::File::open(input).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

/// A key of OpenSSH in the world's home; its public half.
fn key(world: &World, name: &str) -> (PathBuf, String) {
    let folder = world.folder().join("home/.ssh");
    fs::create_dir_all(&folder).unwrap();
    let words = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name];
    assert!(program(
        "ssh-keygen",
        &words,
        &folder,
        Path::new("/dev/null")
    ));
    let path = folder.join(name);
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, public)
}

/// Settles these lines as allowed signers, and these keys as taken back.
fn settle(world: &World, allowed: &str, revoked: &str, more: &str) {
    let folder = world.folder().join("home/.config/taintline");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("allowed"), allowed).unwrap();
    fs::write(folder.join("revoked"), revoked).unwrap();
    let text =
        format!("[trust]\nallowed_signers = \"allowed\"\nrevoked_keys = \"revoked\"\n{more}");
    fs::write(folder.join("taintline.toml"), text).unwrap();
}

fn listed(world: &World, code: i32) -> Value {
    let done = world.taintline(["approvals", "--json"]).ends(code);
    let value: Value = serde_json::from_slice(&done.out).unwrap();
    value["approvals"].clone()
}

fn approve(world: &World, key: &Path, what: &str) -> Done {
    let words = ["approve", what, "--note", "looked at it", "--key"];
    world.taintline(words.iter().copied().chain([key.to_str().unwrap()]))
}

/// A world with a run that `ada` approved.
fn approved() -> (World, PathBuf, String) {
    let world = World::new();
    world.sh("true").ends(0);
    let (path, public) = key(&world, "ada");
    approve(&world, &path, "last")
        .ends(0)
        .says(&["NOT CHECKED", "looked at it"]);
    (world, path, public)
}

#[test]
fn openssh_verifies_what_was_signed_and_nothing_else() {
    let (world, _, public) = approved();
    fs::write(world.work.join("allowed"), format!("ada@x {public}")).unwrap();
    world.taintline(["approvals", "--export", "out"]).ends(3);
    let files = files_below(&world.work.join("out"));
    let [message, signature] = files.as_slice() else {
        panic!("{files:?}");
    };
    let verify = |namespace: &str, message: &Path| {
        let signature = signature.to_str().unwrap();
        let words = [
            "-Y", "verify", "-f", "allowed", "-I", "ada@x", "-n", namespace, "-s", signature,
        ];
        program("ssh-keygen", &words, &world.work, message)
    };
    assert!(verify("taintline-approval", message));
    assert!(!verify("git", message));
    let mut changed = fs::read(message).unwrap();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(message, changed).unwrap();
    assert!(!verify("taintline-approval", message));
}

#[test]
fn each_standing_of_a_key_has_a_name() {
    let (world, _, public) = approved();
    let judged = |allowed: &str, revoked: &str, code: i32| {
        settle(&world, allowed, revoked, "");
        listed(&world, code)[0]["standing"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(judged(&format!("ada@x {public}"), "", 0), "allowed");
    assert_eq!(
        judged(
            &format!("ada@x namespaces=\"taintline-approval\" {public}"),
            "",
            0
        ),
        "allowed"
    );
    assert_eq!(
        judged(&format!("ada@x namespaces=\"git\" {public}"), "", 1),
        "other_purpose"
    );
    assert_eq!(
        judged(&format!("ada@x valid-before=\"20200101Z\" {public}"), "", 1),
        "expired"
    );
    assert_eq!(
        judged(&format!("ada@x valid-after=\"20900101Z\" {public}"), "", 1),
        "not_yet"
    );
    assert_eq!(judged(&format!("ada@x {public}"), &public, 1), "revoked");
    let (_, other) = key(&world, "eve");
    assert_eq!(judged(&format!("eve@x {other}"), "", 3), "unknown");
    settle(&world, &format!("ada@x {public}"), "", "");
    world.taintline(["show", "last"]).ends(0).says(&[
        "approved     by ada@x",
        "as the signer states",
        "“looked at it”",
    ]);
    assert_eq!(
        world.json(&["show", "last"])["approvals"][0]["who"],
        "ada@x"
    );
}

#[test]
fn a_stamp_over_the_approval_decides_as_of_when_its_key_is_judged() {
    let (world, path, public) = approved();
    let authority = Authority::new();
    world.json(&["ledger", "stamp", "--request", "q"]);
    authority.answer(&world.work.join("q"), &world.work.join("r"));
    world.json(&["ledger", "stamp", "--response", "r"]);
    let roots = format!("time_roots = {:?}", authority.root());
    settle(&world, &format!("ada@x {public}"), "", &roots);
    assert_eq!(listed(&world, 0)[0]["at"][1], "stamped");
    // What was approved since is under no stamp.
    approve(&world, &path, "last").ends(0);
    assert_eq!(listed(&world, 0)[1]["at"][1], "stated");
}

#[test]
fn a_changed_byte_of_what_was_signed_is_told() {
    let (world, _, public) = approved();
    settle(&world, &format!("ada@x {public}"), "", "");
    let file = files_below(&world.store().join("blobs"))
        .into_iter()
        .find(|file| fs::read(file).unwrap().starts_with(b"{\"payload\""))
        .unwrap();
    let good = fs::read(&file).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for position in (0..good.len()).step_by(83) {
        let mut bad = good.clone();
        bad[position] ^= 1;
        fs::write(&file, bad).unwrap();
        assert_eq!(listed(&world, 1)[0]["standing"], "wrong", "{position}");
    }
    fs::remove_file(&file).unwrap();
    let gone = listed(&world, 1);
    assert!(
        gone[0]["why"].to_string().contains("not in the store"),
        "{gone}"
    );
}

fn base64(world: &World, bytes: &[u8]) -> String {
    fs::write(world.work.join("raw"), bytes).unwrap();
    let output = Command::new("base64")
        .args(["-w0", "raw"])
        .current_dir(&world.work)
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn a_signature_for_another_purpose_or_about_another_thing_is_told() {
    let (world, path, public) = approved();
    settle(&world, &format!("ada@x {public}"), "", "");
    let store = ledger::Store::open(&world.store()).unwrap();
    let log = store.logs().unwrap()[0].name().to_owned();
    let writer = store
        .writer(&log, &world.folder().join("data/taintline/keys"))
        .unwrap();
    let size = writer.head().size;
    let entry = world.json(&["ledger", "show", &(size - 1).to_string()])["entry"].clone();
    let mut other = entry.clone();
    other["body"]["of"] = serde_json::json!({"kind": "bytes", "digest": "0".repeat(64)});
    other["run"] = "00000000-0001-7303-8303-030303030303".into();
    writer
        .append(&[serde_json::to_vec(&other).unwrap()])
        .unwrap();
    let told = listed(&world, 1);
    assert!(
        told[1]["why"].to_string().contains("about something else"),
        "{told}"
    );
    // The same statement under a signature that was made for git.
    world
        .taintline(["approvals", "last", "--export", "out"])
        .ends(0);
    let files = files_below(&world.work.join("out"));
    let message = files[0].to_str().unwrap();
    fs::remove_file(&files[1]).unwrap();
    let words = [
        "-q",
        "-Y",
        "sign",
        "-n",
        "git",
        "-f",
        path.to_str().unwrap(),
        message,
    ];
    assert!(program(
        "ssh-keygen",
        &words,
        &world.work,
        Path::new("/dev/null")
    ));
    let encode = |bytes: &[u8]| base64(&world, bytes);
    let signed = fs::read(message).unwrap();
    let start = signed.iter().position(|byte| *byte == b'{').unwrap();
    let envelope = serde_json::json!({
        "payload": encode(&signed[start..]),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": encode(&fs::read(&files[1]).unwrap())}],
    });
    let digest = store.put_blob(envelope.to_string().as_bytes()).unwrap();
    let mut other = entry;
    other["body"]["envelope"] = digest.to_string().into();
    other["run"] = "00000000-0002-7303-8303-030303030303".into();
    writer
        .append(&[serde_json::to_vec(&other).unwrap()])
        .unwrap();
    let told = listed(&world, 1);
    assert!(
        told[2]["why"].to_string().contains("another purpose"),
        "{told}"
    );
}

#[test]
fn a_model_is_approved_only_as_it_was_sealed() {
    let world = World::new();
    let (path, public) = key(&world, "ada");
    settle(&world, &format!("ada@x {public}"), "", "");
    fs::create_dir(world.work.join("model")).unwrap();
    fs::write(world.work.join("model/weights"), "0123456789").unwrap();
    approve(&world, &path, "./model")
        .ends(2)
        .says(&["is not approved", "seal it first"]);
    world.taintline(["seal", "model"]).ends(0);
    approve(&world, &path, "./model")
        .ends(0)
        .says(&["sealed", "by ada@x"]);
    world
        .taintline(["approvals", "./model"])
        .ends(0)
        .says(&["by ada@x"]);
    // The same bytes under another name: the same root, another seal.
    fs::rename(
        world.work.join("model/weights"),
        world.work.join("model/weights2"),
    )
    .unwrap();
    world.taintline(["seal", "model"]).ends(0);
    world
        .taintline(["approvals", "./model"])
        .ends(1)
        .says(&["DOES NOT HOLD", "another seal over the same bytes"]);
    fs::rename(
        world.work.join("model/weights2"),
        world.work.join("model/weights"),
    )
    .unwrap();
    world.taintline(["seal", "model"]).ends(0);
    world.taintline(["approvals", "./model"]).ends(0);
    fs::write(world.work.join("model/weights"), "0123456780").unwrap();
    for words in [["approve", "./model"], ["approvals", "./model"]] {
        world.taintline(words).ends(2).says(&["weights: content"]);
    }
    let digest = "ab".repeat(32);
    approve(&world, &path, &digest)
        .ends(0)
        .says(&["bytes", &digest]);
    approve(&world, &path, "nothing-like-it")
        .ends(2)
        .says(&["no run is called"]);
    fs::remove_file(&path).unwrap();
    approve(&world, &path, &digest)
        .ends(2)
        .says(&["ssh-keygen", "nothing was recorded"]);
}

#[test]
fn the_agent_signs_where_it_is_asked() {
    let (world, path, public) = approved();
    settle(&world, &format!("ada@x {public}"), "", "");
    let socket = world.folder().join("agent");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let add = Command::new("ssh-add")
        .arg("-q")
        .arg(&path)
        .env("SSH_AUTH_SOCK", &socket)
        .stderr(Stdio::null())
        .status();
    let added = add.unwrap().success();
    fs::remove_file(&path).unwrap();
    let mut command = world.command(["approve", "last", "--agent"]);
    let done = super::world::finish(command.env("SSH_AUTH_SOCK", &socket));
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(added);
    done.ends(0).says(&["by ada@x"]);
    let mut command = world.command(["approve", "last", "--agent"]);
    let done = super::world::finish(command.env_remove("SSH_AUTH_SOCK"));
    done.ends(2).says(&["ssh-add -L", "no agent"]);
}
