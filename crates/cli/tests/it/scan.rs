//! `taintline scan` as its users meet it. Payloads are opcodes that are put together here and never run.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use serde_json::Value;

use super::world::{Done, World, finish};

/// `os.system('echo MARKER')` on loading.
const COMMAND: &[u8] = b"\x80\x02cos\nsystem\nU\x0becho MARKER\x85R.";
/// An object of a class that nobody knows, with state.
const CUSTOM: &[u8] = b"\x80\x02cmine.model\nConfig\n)\x81}b.";
/// A call of a function that nobody knows.
const CALL: &[u8] = b"\x80\x02cmine.model\nrebuild\nK\x01\x85R.";
/// Plain data.
const DATA: &[u8] = b"\x80\x02]K\x01a.";

impl World {
    fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.work.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn scan(&self, arguments: &[&str]) -> Done {
        self.taintline(["scan"].iter().chain(arguments))
    }

    fn scan_json(&self, arguments: &[&str], code: i32) -> Value {
        let all = [&["--output-format", "json"], arguments].concat();
        serde_json::from_slice(&self.scan(&all).ends(code).out).unwrap()
    }
}

fn verdicts(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let files = value["files"].as_array().unwrap().iter();
    files
        .map(|file| (text(&file["path"]), text(&file["verdict"])))
        .collect()
}

#[test]
fn each_exit_code_says_what_it_should_and_findings_win() {
    let world = World::new();
    world.file("bad.pkl", COMMAND);
    world.file("custom.pkl", CUSTOM);
    world.file("call.pkl", CALL);
    world.file("good.pkl", DATA);
    world
        .scan(&["good.pkl"])
        .ends(0)
        .says(&["clean", "good.pkl"]);
    world
        .scan(&["bad.pkl"])
        .ends(1)
        .says(&["DANGEROUS", "echo MARKER"]);
    world.scan(&["call.pkl"]).ends(1).says(&["UNKNOWN"]);
    world.scan(&["custom.pkl"]).ends(3).says(&["custom"]);
    world.scan(&["--strict", "custom.pkl"]).ends(1);
    world.scan(&["--fail-on", "custom", "custom.pkl"]).ends(1);
    world.scan(&["--fail-on", "dangerous", "call.pkl"]).ends(3);
    world
        .scan(&["good.pkl", "nowhere.pkl"])
        .ends(2)
        .says(&["nowhere.pkl"]);
    world.scan(&["bad.pkl", "nowhere.pkl"]).ends(1);
    world.scan(&["custom.pkl", "nowhere.pkl"]).ends(2);
}

#[test]
fn what_was_said_wrongly_ends_with_2_before_anything_is_read() {
    let world = World::new();
    world.file("good.pkl", DATA);
    for arguments in [
        &[][..],
        &["--output-format", "xml", "good.pkl"],
        &["--fail-on", "never", "good.pkl"],
        &["--jobs", "0", "good.pkl"],
        &["--write-baseline", "b.toml", "good.pkl"],
        &["--write-baseline", "b.toml", "--reason", " ", "good.pkl"],
        &[
            "--write-baseline",
            "b.toml",
            "--reason",
            "x",
            "--expires",
            "2020-01-01",
            "good.pkl",
        ],
        &["--baseline", "missing.toml", "good.pkl"],
        &["--policy", "missing.toml", "good.pkl"],
        &["--since", "missing.pkl", "good.pkl"],
        &["--without-rules", "abacus", "good.pkl"],
        &["--source", ".", "good.pkl"],
    ] {
        let done = world.scan(arguments).ends(2);
        assert!(done.out.is_empty() && !done.err.is_empty(), "{arguments:?}");
    }
    assert!(!world.work.join("b.toml").exists());
    assert!(!world.store().exists());
}

#[test]
fn every_entry_of_a_folder_is_accounted_for_and_nothing_is_followed() {
    let world = World::new();
    world.file("m/.hidden/bad.pkl", COMMAND);
    world.file("m/good.pkl", DATA);
    world.file("m/empty", b"");
    world.file("m/notes.txt", b"plain words");
    world.file("outside.pkl", COMMAND);
    symlink("good.pkl", world.work.join("m/link")).unwrap();
    symlink("..", world.work.join("m/up")).unwrap();
    symlink("nowhere", world.work.join("m/dangling")).unwrap();
    let odd = OsString::from_vec(b"m/\xff\x1b[2J\n\xe2\x80\xae.pkl".to_vec());
    std::fs::write(world.work.join(&odd), COMMAND).unwrap();
    let value = world.scan_json(&["m"], 1);
    let verdicts = verdicts(&value);
    let expected = [
        ("m/.hidden/bad.pkl", "dangerous"),
        ("m/dangling", "incomplete"),
        ("m/empty", "not_a_model"),
        ("m/good.pkl", "clean"),
        ("m/link", "link"),
        ("m/notes.txt", "not_a_model"),
        ("m/up", "incomplete"),
        ("m/\\xff\\x1b[2J\\x0a\u{202e}.pkl", "dangerous"),
    ];
    let expected = expected.map(|(path, verdict)| (path.to_owned(), verdict.to_owned()));
    assert_eq!(verdicts, expected);
    assert_eq!(value["totals"]["files"], 8);
    for format in ["plain", "json", "sarif", "github"] {
        let text = world.scan(&["--output-format", format, "m"]).ends(1).out();
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.chars().any(acts), "{format}: {text:?}");
    }
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let world = World::new();
    let pipe = world.work.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    world.scan(&["pipe"]).ends(2).says(&["a named pipe"]);
    world.scan(&["."]).ends(3).says(&["a named pipe"]);
    world
        .scan(&["/dev/null"])
        .ends(2)
        .says(&["a character device"]);
    world
        .scan(&["/proc/self/status"])
        .ends(3)
        .says(&["it gives bytes"]);
}

#[test]
fn standard_input_is_examined_whether_it_is_a_file_or_a_pipe() {
    let world = World::new();
    world.file("bad.pkl", COMMAND);
    let mut command = world.command(["scan", "-"]);
    command.stdin(std::fs::File::open(world.work.join("bad.pkl")).unwrap());
    finish(&mut command).ends(1).says(&["runs-command"]);
    let piped = |arguments: &[&str]| {
        let mut command = world.command(["scan"].iter().chain(arguments));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever refuses to read more than it may closes the pipe early.
        let _ = child.stdin.take().unwrap().write_all(COMMAND);
        let done = child.wait_with_output().unwrap();
        Done {
            code: done.status.code().unwrap(),
            out: done.stdout,
            err: done.stderr,
        }
    };
    piped(&["-"]).ends(1).says(&["runs-command"]);
    piped(&["--stdin-limit", "10", "-"])
        .ends(2)
        .says(&["more than 10 bytes", "hint:"]);
}

#[test]
fn a_hundred_gigabytes_of_nothing_are_done_with_at_once() {
    let world = World::new();
    let file = std::fs::File::create(world.work.join("huge.bin")).unwrap();
    file.set_len(100 << 30).unwrap();
    let value = world.scan_json(&["huge.bin"], 0);
    assert_eq!(value["files"][0]["size"], 100_u64 << 30);
}

#[test]
fn many_files_come_in_their_order_however_many_work() {
    let world = World::new();
    for number in 0..300 {
        let bytes = if number % 7 == 0 { COMMAND } else { DATA };
        world.file(&format!("m/{number:03}.pkl"), bytes);
    }
    let one = world.scan_json(&["--jobs", "1", "m"], 1);
    let many = world.scan_json(&["--jobs", "5", "m"], 1);
    assert_eq!(one["files"], many["files"]);
    assert_eq!(one["totals"]["dangerous"], 43);
}

#[test]
fn a_thousand_names_on_the_command_line_are_examined_like_one() {
    let world = World::new();
    let names: Vec<String> = (0..1000).map(|number| format!("m/{number}.pkl")).collect();
    for name in &names {
        world.file(name, DATA);
    }
    world.file("other/bad.pkl", COMMAND);
    symlink("../other/bad.pkl", world.work.join("m/link.pkl")).unwrap();
    let names = names.iter().map(String::as_str);
    let given: Vec<&str> = names.chain(["m/link.pkl", "-"]).collect();
    let value = world.scan_json(&given, 1);
    assert_eq!(value["totals"]["clean"], 1000);
    assert_eq!(value["totals"]["dangerous"], 1);
    assert_eq!(
        value["totals"]["not_models"], 1,
        "standard input is empty here"
    );
}

#[test]
fn what_a_baseline_accepts_holds_for_these_bytes_until_its_day() {
    let world = World::new();
    world.file("m/bad.pkl", COMMAND);
    world
        .scan(&["--write-baseline", "b.toml", "--reason", "a drill", "m"])
        .ends(0)
        .says(&["1 accepted in b.toml"]);
    world
        .scan(&["--baseline", "b.toml", "m"])
        .ends(0)
        .says(&["accepted    m/bad.pkl", "a drill"]);
    let mut other = COMMAND.to_vec();
    let last = other.iter().rposition(|byte| *byte == b'R').unwrap();
    other.insert(last, b'0');
    other.insert(last, b'N');
    world.file("m/bad.pkl", &other);
    world.scan(&["--baseline", "b.toml", "m"]).ends(1);
    world.file("m/bad.pkl", COMMAND);
    let path = world.work.join("b.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("expires"))
        .unwrap();
    std::fs::write(&path, text.replace(line, "expires = \"2020-01-01\"")).unwrap();
    world
        .scan(&["--baseline", "b.toml", "m"])
        .ends(1)
        .says(&["counts again", "2020-01-01"]);
    std::fs::write(&path, text.replace("a drill", "")).unwrap();
    world
        .scan(&["--baseline", "b.toml", "m"])
        .ends(2)
        .says(&["no reason", "hint:"]);
}

#[test]
fn what_decides_is_never_read_from_what_is_scanned() {
    let world = World::new();
    world.file("m/bad.pkl", COMMAND);
    world.file("m/p.toml", b"schema = \"taintline.policy/1\"\n");
    world.file("m/b.toml", b"schema = \"taintline.baseline/1\"\n");
    symlink("m/p.toml", world.work.join("p.toml")).unwrap();
    for arguments in [
        &["--policy", "m/p.toml", "m"][..],
        &["--policy", "p.toml", "m"],
        &["--policy", "m/p.toml", "."],
        &["--baseline", "m/b.toml", "m"],
        &["--baseline", "m/b.toml", "m/b.toml"],
        &["--write-baseline", "m/new.toml", "--reason", "x", "m"],
        &["--learn", "m/new.toml", "m"],
    ] {
        world
            .scan(arguments)
            .ends(2)
            .says(&["lies in what is scanned", "hint:"]);
    }
    world.scan(&["--policy", "m/p.toml", "m/bad.pkl"]).ends(1);
}

#[test]
fn a_learnt_policy_admits_the_projects_own_code_until_that_code_changes() {
    let world = World::new();
    world.file("m/a.pkl", CUSTOM);
    world.file("m/b.pkl", CALL);
    let source = b"class Config:\n    pass\n\ndef rebuild(x):\n    return x\n";
    world.file("src/mine/model.py", source);
    world
        .scan(&["--learn", "p.toml", "--source", "src", "m"])
        .says(&["2 names in p.toml"]);
    world.scan(&["--policy", "p.toml", "m"]).ends(0);
    world.scan(&["--strict", "--policy", "p.toml", "m"]).ends(0);
    world.file(
        "src/mine/model.py",
        b"class Config: ...\ndef rebuild(x): ...\n",
    );
    world
        .scan(&["--policy", "p.toml", "m"])
        .ends(1)
        .says(&["mine.model.rebuild is not admitted"]);
    world.file("m/c.pkl", COMMAND);
    world
        .scan(&["--learn", "q.toml", "--source", "src", "m"])
        .ends(1)
        .says(&["nothing was learnt from m/c.pkl"]);
    world
        .scan(&["--learn", "q.toml", "m"])
        .ends(2)
        .says(&["there already"]);
}

#[test]
fn what_is_new_since_an_older_checkpoint_counts_unless_it_is_allowed() {
    let world = World::new();
    world.file("old.pkl", CUSTOM);
    world.file("same.pkl", &[CUSTOM, b" "].concat());
    world.file("new.pkl", CALL);
    world
        .scan(&["--since", "old.pkl", "same.pkl"])
        .ends(3)
        .says(&["the same"]);
    let value = world.scan_json(
        &["--since", "old.pkl", "--fail-on", "dangerous", "new.pkl"],
        1,
    );
    let added = &value["since"]["needs_added"];
    assert!(added.to_string().contains("rebuild"), "{added}");
}

#[test]
fn each_way_to_write_it_says_the_same() {
    let world = World::new();
    world.file("m/bad.pkl", COMMAND);
    world.file("m/good.pkl", DATA);
    symlink("/nowhere", world.work.join("m/out")).unwrap();
    let text = |format: &str| {
        let done = world.scan(&["--output-format", format, "m"]).ends(1);
        let text = done.out().replace(&why(&world), "WHY");
        super::scrub::scrub(&world, &[], &text)
    };
    insta::assert_snapshot!("scan", text("plain"));
    insta::assert_snapshot!("scan-github", text("github"));
    let parsed = |format| -> Value {
        let text = world.scan(&["--output-format", format, "m"]).out();
        serde_json::from_str(&text.replace(&why(&world), "WHY")).unwrap()
    };
    let mut whole = parsed("json");
    assert_eq!(whole["confinement"]["processes"], true);
    // What holds depends on the kernel.
    whole["confinement"] = Value::Null;
    insta::assert_snapshot!("scan-json", super::scrub::json(&world, &[], &whole));
    let mut sarif = parsed("sarif");
    sarif["runs"][0]["properties"]["confinement"] = Value::Null;
    let driver = &mut sarif["runs"][0]["tool"]["driver"];
    driver["rules"] = Value::Null;
    driver["notifications"] = Value::Null;
    insta::assert_snapshot!("scan-sarif", super::scrub::json(&world, &[], &sarif));
}

/// The engine's own sentence about the finding: its words are not what is tested here.
fn why(world: &World) -> String {
    let value = world.scan_json(&["m/bad.pkl"], 1);
    let why = value["files"][0]["findings"][0]["why"].as_str();
    why.unwrap().to_owned()
}

#[test]
fn a_worker_that_nobody_started_does_nothing() {
    let world = World::new();
    for arguments in [
        &["scan-worker"][..],
        &["scan-worker", "x"],
        &["scan-worker", "99"],
    ] {
        let done = world.taintline(arguments).ends(2);
        assert!(done.out.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_explanation_shows_what_a_pickle_says_with_its_findings_and_nothing_acts() {
    let world = World::new();
    let hostile = [COMMAND.strip_suffix(b"R.").unwrap(), b"R0U\x05a\x1b[2J."].concat();
    world.file("bad.pkl", &hostile);
    let done = world.scan(&["--explain", "bad.pkl"]).ends(1).says(&[
        "import os.system",
        "echo MARKER",
        "^ dangerous",
    ]);
    assert!(!done.out().contains('\u{1b}'), "{}", done.out());
}

#[test]
fn a_result_that_cannot_be_written_is_no_result() {
    let world = World::new();
    world.file("good.pkl", DATA);
    for format in ["plain", "json", "sarif"] {
        let mut command = world.command(["scan", "--output-format", format, "good.pkl"]);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        command.stdout(full.unwrap()).stderr(Stdio::piped());
        let done = command.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{format}");
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.contains("cannot be written"), "{said}");
    }
}
