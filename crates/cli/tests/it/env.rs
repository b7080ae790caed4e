//! `env check` and `env baseline` as their users meet them: three answers, and who says so.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use domain::Digest;
use serde_json::Value;

use super::world::World;

const SITE: &str = "venv/lib/python3.11/site-packages";

/// Base64 for URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sextet in 0..=chunk.len() {
            let index = word >> (18 - 6 * sextet) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// A line of a RECORD.
fn line(path: &str, text: &str) -> String {
    let digest = base64(Digest::of(text.as_bytes()).as_bytes());
    format!("{path},sha256={digest},{}\n", text.len())
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A virtual environment with one package, of an interpreter that is nothing but files.
fn environment(world: &World) -> PathBuf {
    let at = |path: &str| world.work.join(path);
    std::fs::create_dir(at(".git")).unwrap();
    write(&at("base/bin/python3.11"), "\x7fELF");
    write(&at("base/lib/python3.11/os.py"), "os");
    let home = at("base/bin").display().to_string();
    write(
        &at("venv/pyvenv.cfg"),
        &format!("home = {home}\nversion = 3.11.7\n"),
    );
    std::fs::create_dir_all(at("venv/bin")).unwrap();
    let python = at("venv/bin/python");
    std::os::unix::fs::symlink(at("base/bin/python3.11"), &python).unwrap();
    let files = [
        ("six.py", "six"),
        ("six-1.0.dist-info/METADATA", "Name: six\nVersion: 1.0\n"),
    ];
    let mut record = "six-1.0.dist-info/RECORD,,\n".to_owned();
    for (name, text) in files {
        write(&at(SITE).join(name), text);
        record += &line(name, text);
    }
    write(&at(SITE).join("six-1.0.dist-info/RECORD"), &record);
    python
}

fn checked(world: &World, code: i32, more: &[&str]) -> Value {
    let words = ["env", "check", "venv/bin/python", "--json"]
        .iter()
        .chain(more);
    let done = world.taintline(words).ends(code);
    serde_json::from_slice(&done.out).unwrap()
}

fn found(view: &Value) -> Vec<(String, String)> {
    let text = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let all = view["findings"].as_array().unwrap().iter();
    all.map(|it| (text(it, "path"), text(it, "how"))).collect()
}

#[test]
fn what_nobody_vouches_for_is_not_clean_until_it_is_signed_and_then_every_change_shows() {
    let world = World::new();
    environment(&world);
    let first = checked(&world, 3, &[]);
    assert_eq!(first["schema"], "taintline.env-check/1");
    assert_eq!(
        (&first["verdict"], found(&first)),
        (&"incomplete".into(), vec![])
    );
    assert_eq!(first["vouched"]["record"], 2);
    assert_eq!(first["not_vouched"]["interpreter"], 2);
    world
        .taintline(["env", "baseline", "venv", "-o", "env.signed"])
        .ends(0)
        .says(&["SIGNED", "7 files"]);
    let signed = ["--baseline", "env.signed"];
    let clean = checked(&world, 0, &signed);
    assert_eq!(clean["verdict"], "as_vouched");
    assert_eq!(clean["vouched"]["baseline"], 7);
    assert_eq!(clean["earlier"]["same"], true);
    // The file and its RECORD, and the library of the interpreter.
    let site = world.work.join(SITE);
    write(&site.join("six.py"), "evil");
    let record = line("six.py", "evil") + "six-1.0.dist-info/RECORD,,\n";
    write(&site.join("six-1.0.dist-info/RECORD"), &record);
    write(&world.work.join("base/lib/python3.11/os.py"), "evil");
    let differs = checked(&world, 1, &signed);
    let changed = |path: &str| (path.to_owned(), "changed".to_owned());
    assert_eq!(
        found(&differs),
        [
            changed("purelib/six-1.0.dist-info/RECORD"),
            changed("purelib/six.py"),
            changed("stdlib/os.py")
        ]
    );
    let six = &differs["findings"][1];
    assert_eq!(
        (&six["record"], &six["package"]),
        (&"agrees".into(), &"six 1.0".into())
    );
    world
        .taintline(["env", "check", "venv", "--baseline", "env.signed"])
        .ends(1)
        .says(&["DIFFERS", "RECORD was rewritten with it", "signed by"]);
}

#[test]
fn a_baseline_of_another_signer_changed_or_kept_in_the_environment_is_not_believed() {
    let world = World::new();
    environment(&world);
    world
        .taintline(["env", "baseline", "venv", "-o", "env.signed"])
        .ends(0);
    let path = world.work.join("env.signed");
    let good = std::fs::read_to_string(&path).unwrap();
    let at = good.find("\"payload\":\"").unwrap() + 40;
    let mut bad = good.clone().into_bytes();
    bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
    std::fs::write(&path, bad).unwrap();
    let check = ["env", "check", "venv", "--baseline"];
    world
        .taintline(check.iter().chain(&["env.signed"]))
        .ends(2)
        .says(&["not signed by a key that is believed"]);
    write(&world.work.join(SITE).join("env.signed"), &good);
    let inside = format!("{SITE}/env.signed");
    world
        .taintline(check.iter().chain(&[inside.as_str()]))
        .ends(2)
        .says(&["lies in the environment"]);
}

#[test]
fn bad_input_is_named_and_a_dead_interpreter_is_examined_all_the_same() {
    let world = World::new();
    environment(&world);
    let say = |more: &[&str], words: &[&str]| {
        let all = ["env", "check"].iter().chain(more);
        world.taintline(all).ends(2).says(words);
    };
    say(&["nowhere/python"], &["nowhere/python", "there is nothing"]);
    write(&world.work.join("shim"), "#!/bin/sh\n");
    say(
        &["./shim"],
        &["a script and no interpreter", "name the interpreter itself"],
    );
    write(&world.work.join("requirements.txt"), "six==1.0\n");
    say(&["venv", "--lock", "requirements.txt"], &["no SHA-256"]);
    say(
        &["venv", "--wheelhouse", "absent"],
        &["absent", "no folder"],
    );
    std::fs::remove_dir_all(world.work.join("base")).unwrap();
    let dead = checked(&world, 3, &[]);
    assert_eq!(dead["vouched"]["record"], 2);
    let gaps = dead["gaps"].to_string();
    assert!(gaps.contains("is gone"), "{gaps}");
}

#[test]
fn a_check_is_an_act_in_the_ledger_and_its_evidence_is_in_the_store() {
    let world = World::new();
    environment(&world);
    checked(&world, 3, &[]);
    world
        .taintline(["ledger", "log"])
        .ends(0)
        .says(&["environment checked"]);
    world.taintline(["ledger", "audit"]).ends(0);
}

/// A simple index of one package on the loopback; a file is given out under its name whatever its bytes are.
fn index(
    page: String,
    file: Vec<u8>,
    requests: usize,
) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/simple/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let answer = |path: &str| match path {
            "/simple/six/" => page.clone().into_bytes(),
            "/files/six-1.0-py3-none-any.whl" => file.clone(),
            other => format!("nothing at {other}").into_bytes(),
        };
        let mut asked = Vec::new();
        for stream in listener.incoming().take(requests) {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(stream.read(&mut byte).unwrap(), 1);
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let body = answer(&path);
            let size = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
            stream.write_all(&body).unwrap();
            asked.push(path);
        }
        asked
    });
    (url, server)
}

/// The wheel that the environment's package came from.
fn wheel(world: &World) -> Vec<u8> {
    let site = world.work.join(SITE);
    let place = world.work.join("six.whl");
    let script = "import sys, zipfile, pathlib\n\
                  site, wheel = map(pathlib.Path, sys.argv[1:])\n\
                  with zipfile.ZipFile(wheel, 'w') as file:\n    \
                  for name in ('six.py', 'six-1.0.dist-info/METADATA', 'six-1.0.dist-info/RECORD'):\n        \
                  file.writestr(name, (site / name).read_bytes())\n";
    let made = std::process::Command::new("python3")
        .args(["-I", "-c", script])
        .args([&site, &place])
        .status();
    assert!(made.unwrap().success());
    std::fs::read(place).unwrap()
}

#[test]
fn an_index_is_asked_only_where_allowed_and_only_for_what_the_lock_file_gives_by_digest() {
    let world = World::new();
    environment(&world);
    let bytes = wheel(&world);
    let digest = Digest::of(&bytes);
    let link = "../../files/six-1.0-py3-none-any.whl";
    let page = format!("<html><a href=\"{link}#sha256={digest}\">six</a></html>");
    let lock = format!("six==1.0 --hash=sha256:{digest}\n");
    write(&world.work.join("requirements.txt"), &lock);
    // Other bytes than the index promises: told, and no reference.
    let (url, server) = index(page.clone(), b"PK other".to_vec(), 2);
    let lied = checked(&world, 3, &["--index", &url]);
    server.join().unwrap();
    assert!(
        lied["gaps"].to_string().contains("do not have the digest"),
        "{}",
        lied["gaps"]
    );
    assert_eq!(
        (&lied["vouched"]["locked-wheel"], &lied["index"]["wheels"]),
        (&Value::Null, &0.into())
    );
    let (url, server) = index(page, bytes, 2);
    let good = checked(&world, 0, &["--index", &url]);
    assert_eq!(
        server.join().unwrap(),
        ["/simple/six/", "/files/six-1.0-py3-none-any.whl"]
    );
    assert_eq!(
        (&good["vouched"]["locked-wheel"], &good["index"]["wheels"]),
        (&2.into(), &1.into())
    );
    // What the wheel holds is kept: nobody is asked again, and RECORD does not help whoever rewrites it.
    let site = world.work.join(SITE);
    write(&site.join("six.py"), "evil");
    let record = line("six.py", "evil") + "six-1.0.dist-info/RECORD,,\n";
    write(&site.join("six-1.0.dist-info/RECORD"), &record);
    let differs = checked(&world, 1, &["--index", &url]);
    assert_eq!(
        found(&differs),
        [("purelib/six.py".to_owned(), "changed".to_owned())]
    );
    std::fs::remove_file(world.work.join("requirements.txt")).unwrap();
    let all = ["env", "check", "venv", "--index", &url];
    world
        .taintline(all)
        .ends(2)
        .says(&["no lock file", "--lock"]);
}
