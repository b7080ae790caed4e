//! What the job does, says and ends with is the job's own.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use super::world::{Done, World, finish, holds, words};

#[test]
fn the_exit_code_is_the_commands_own() {
    let world = World::new();
    for code in [0, 1, 2, 3, 7, 127, 255] {
        world.sh(&format!("exit {code}")).ends(code);
    }
}

#[test]
fn a_command_that_dies_of_a_signal_gives_128_and_its_number() {
    let world = World::new();
    for (name, number) in [
        ("KILL", 9),
        ("TERM", 15),
        ("SEGV", 11),
        ("HUP", 1),
        ("INT", 2),
        ("PIPE", 13),
    ] {
        world.sh(&format!("kill -{name} $$")).ends(128 + number);
        let shown = world.json(&["show", "last"]);
        assert_eq!(shown["outcome"], format!("signal {number} (SIG{name})"));
    }
}

#[test]
fn every_byte_of_input_and_output_passes_unchanged() {
    let world = World::new();
    let bytes: Vec<u8> = (0..1_000_003_u32)
        .map(|number| u8::try_from((number ^ (number / 251)) & 0xff).unwrap())
        .collect();
    let mut command = world.command(["run", "--quiet", "--", "/bin/sh", "-c", "tee /dev/stderr"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == bytes, "standard output differs");
    assert!(output.stderr == bytes, "standard error differs");
}

#[test]
fn messages_go_to_standard_error_only() {
    let world = World::new();
    let done = world.sh("echo out; echo err >&2").ends(0);
    assert_eq!(done.out, b"out\n");
    let err = done.err();
    assert!(err.starts_with("taintline  run "), "{err}");
    assert!(
        err.contains("\nerr\n") && err.contains("nothing found"),
        "{err}"
    );
}

#[test]
fn arguments_folder_and_variables_that_are_not_utf_8_reach_the_job_as_they_are() {
    let world = World::new();
    let folder = world.work.join(&words(&[b"w\xff\xfe"])[0]);
    std::fs::create_dir(&folder).unwrap();
    let script = b"printf '%s|%s|' \"$1\" \"$ODD\"; pwd -P";
    let mut command = world.command(words(&[
        b"run",
        b"--",
        b"/bin/sh",
        b"-c",
        script,
        b"sh",
        b"a\x80\n b",
    ]));
    command
        .current_dir(&folder)
        .env("ODD", &words(&[b"\xc3\x28"])[0]);
    let done: Done = finish(&mut command).ends(0);
    let start = b"a\x80\n b|\xc3\x28|";
    assert!(done.out.starts_with(start), "{:?}", done.out);
    assert!(holds(&done.out, b"w\xff\xfe\n"), "{:?}", done.out);
    let mut show = world.command(["show", "last", "--json"]);
    let shown = finish(show.current_dir(&folder)).ends(0);
    let shown: serde_json::Value = serde_json::from_slice(&shown.out).unwrap();
    assert_eq!(shown["state"], "ended");
    let mut show = world.command(["show", "last"]);
    finish(show.current_dir(&folder)).ends(0).out();
}

#[test]
fn the_job_gets_every_variable_that_was_set_and_only_the_sensors_beside() {
    let world = World::new();
    let mut direct = std::process::Command::new("/usr/bin/env");
    direct.arg("-0").env_clear();
    let mut guarded = world.command(["run", "--quiet", "--", "/usr/bin/env", "-0"]);
    let wanted = [
        ("MINE", "1"),
        ("EMPTY", ""),
        ("PYTHONPATH", "/a:/b"),
        ("LINES", "two\nlines"),
    ];
    for (name, value) in wanted {
        guarded.env(name, value);
    }
    let done = finish(&mut guarded).ends(0);
    let has = |wanted: &str| {
        done.out
            .split(|byte| *byte == 0)
            .any(|pair| pair == wanted.as_bytes())
    };
    assert!(has("MINE=1") && has("EMPTY=") && has("LINES=two\nlines"));
    let path = format!(
        "PYTHONPATH={}/sensor/startup:/a:/b",
        world.folder().display()
    );
    assert!(has(&path), "{}", String::from_utf8_lossy(&done.out));
}

#[test]
fn a_signal_to_the_supervisor_reaches_the_job_which_decides() {
    let world = World::new();
    for (name, number) in [
        ("INT", 2),
        ("TERM", 15),
        ("HUP", 1),
        ("USR1", 10),
        ("QUIT", 3),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
        );
        let mut running = world.start(&script);
        assert_eq!(running.line(), "ready");
        running.signal(name);
        assert_eq!(running.line(), format!("got {name}"));
        running.finish().ends(9);
        let shown = world.json(&["show", "last"]).to_string();
        let words = format!("SIG{name} from ");
        assert!(
            shown.contains(&words) && shown.contains("passed on to the command"),
            "{number}: {shown}"
        );
    }
}

#[test]
fn a_job_that_ignores_a_signal_goes_on_under_guard() {
    let world = World::new();
    let script = "trap '' INT TERM; echo ready; read word; echo \"still here: $word\"; exit 4";
    let mut running = world.start(script);
    assert_eq!(running.line(), "ready");
    for name in ["INT", "TERM", "INT"] {
        running.signal(name);
    }
    running.write("yes\n");
    assert_eq!(running.line(), "still here: yes");
    running.finish().ends(4).says(&["nothing found"]);
}

#[test]
fn an_interrupted_job_without_a_handler_dies_of_the_signal_and_that_is_no_finding() {
    let world = World::new();
    let mut running = world.start("echo ready; exec sleep 60");
    assert_eq!(running.line(), "ready");
    running.signal("INT");
    running
        .finish()
        .ends(130)
        .says(&["signal 2 (SIGINT)", "nothing found"]);
}

#[test]
fn a_python_without_torch_is_untouched_and_the_gap_is_said() {
    let world = World::new();
    let program = "import sys, os; print(sys.flags.no_site, [p for p in sys.path if 'sensor' in p], sorted(sys.modules) == sorted(sys.modules)); sys.exit(3)";
    let plain = std::process::Command::new("python3")
        .args(["-c", program])
        .output();
    let Ok(plain) = plain else {
        eprintln!("skipped: there is no python3 here");
        return;
    };
    let done = world
        .taintline(["run", "--", "python3", "-c", program])
        .ends(3)
        .says(&["not recorded: steps: no process of the run imported torch"]);
    assert_eq!(done.out, plain.stdout);
    let done = world
        .taintline(["run", "--quiet", "--", "python3", "-c", "pass"])
        .ends(0);
    assert!(done.out.is_empty() && done.err.is_empty(), "{done:?}");
}

#[test]
fn the_store_is_found_upward_and_a_flag_wins_over_the_variable() {
    let world = World::new();
    world.sh("true").ends(0);
    let below = world.work.join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    let mut command = world.command(["run", "--", "/bin/true"]);
    finish(command.current_dir(&below)).ends(0);
    assert!(!below.join(".taintline").exists());
    assert_eq!(world.run_names().len(), 2);
    let (one, two) = (world.folder().join("one"), world.folder().join("two"));
    let mut command = world.command(["run", "--", "/bin/true"]);
    finish(command.env("TAINTLINE_STORE", &one)).ends(0);
    let mut command = world.command(["run", "--store", two.to_str().unwrap(), "--", "/bin/true"]);
    finish(command.env("TAINTLINE_STORE", &one)).ends(0);
    for store in [one, two] {
        let runs = world.json(&["--store", store.to_str().unwrap(), "runs"]);
        assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn what_the_supervisor_starts_for_itself_is_not_called_a_process_of_the_job() {
    let world = World::new();
    let folder = world.work.join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let git = folder.join("git");
    // Slower than the grace that processes of the job get after its end.
    std::fs::write(&git, "#!/bin/sh\nsleep 3\nexit 1\n").unwrap();
    std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = world.command(["run", "--", "/bin/true"]);
    command.env("PATH", format!("{}:{path}", folder.display()));
    let done = finish(&mut command).ends(0);
    assert!(!done.err().contains("outlived"), "{}", done.err());
    assert!(done.err().contains("commit of the code"), "{}", done.err());
}
