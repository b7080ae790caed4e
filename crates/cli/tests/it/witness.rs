//! Witnesses as they are met: real ones over loopback, and some that are away, lie, hang or flood; ledgers that were rolled
//! back or forked. Whatever a witness does, the job and its record are untouched; what it proves is named.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::world::{Done, World, kill};

/// A witness that is a process of its own; it ends with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(world: &World, folder: &str, log: &Path) -> Self {
        let folder = world.folder().join(folder);
        let mut child = world
            .command(["ledger", "witness", "serve", "--listen", "127.0.0.1:0"])
            .arg("--folder")
            .arg(folder)
            .arg("--log")
            .arg(log)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.split_whitespace().nth(2).unwrap_or_default();
        let url = url.trim_end_matches(',').to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        Self { child, url }
    }

    fn port(&self) -> u16 {
        self.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that answers everybody with the same bytes, then holds the connection or closes it.
fn answering(answer: &'static [u8], then: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
                let _ = stream.read(&mut [0; 16384]);
                let _ = stream.write_all(answer);
                then(&mut stream);
            });
        }
    });
    url
}

/// An address where nobody is.
fn nobody() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", free.local_addr().unwrap())
}

fn log(world: &World) -> PathBuf {
    let mut logs = std::fs::read_dir(world.store().join("ledger")).unwrap();
    logs.next().unwrap().unwrap().path()
}

/// The Ed25519 key and the ML-DSA-44 key of a witness, which are made on first use.
fn keys(world: &World, folder: &str) -> Vec<String> {
    let path = world.folder().join(folder);
    let path = path.to_str().unwrap();
    let name = format!("witness.example/{folder}");
    let done = world
        .taintline([
            "ledger", "witness", "key", "--folder", path, "--name", &name,
        ])
        .ends(0);
    done.out().lines().map(str::to_owned).collect()
}

/// Settings that name witnesses by key and address, and how many of them are needed.
fn settle(world: &World, witnesses: &[(&str, &str, &str)], needed: &str, patience: &str) {
    let folder = world.folder().join("home/.config/taintline");
    std::fs::create_dir_all(&folder).unwrap();
    let mut policy = String::new();
    for (name, key, url) in witnesses {
        policy += &format!("witness {name} {key} {url}\n");
    }
    let names: Vec<_> = witnesses.iter().map(|it| it.0).collect();
    policy += &format!(
        "group all-of-them {needed} {}\nquorum all-of-them\n",
        names.join(" ")
    );
    std::fs::write(folder.join("witnesses.policy"), policy).unwrap();
    let settings = format!(
        "[ledger]\nwitnesses = \"witnesses.policy\"\nwitness_every = \"1s\"\nwitness_patience = \"{patience}\"\n"
    );
    std::fs::write(folder.join("taintline.toml"), settings).unwrap();
}

fn command(world: &World, arguments: &[&str]) -> Done {
    let mut command = world.command(arguments);
    command.env_remove("XDG_CONFIG_HOME");
    super::world::finish(&mut command)
}

/// A world with one run, and a real witness with its key.
fn witnessed() -> (World, Server, String) {
    let world = World::new();
    world.sh("exit 0").ends(0);
    let key = keys(&world, "w1").remove(0);
    let server = Server::start(&world, "w1", &log(&world).join("vkey"));
    (world, server, key)
}

fn run(world: &World) -> Done {
    command(world, &["run", "--", "/bin/sh", "-c", "echo done"])
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("/bin/cp")
        .args(["-a".as_ref(), from.as_os_str(), to.as_os_str()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_run_is_witnessed_to_its_last_entry_and_whoever_has_the_policy_can_verify_it() {
    let (world, first, key) = witnessed();
    let both = keys(&world, "w2");
    let second = Server::start(&world, "w2", &log(&world).join("vkey"));
    settle(
        &world,
        &[("w1", &key, &first.url), ("w2", &both[1], &second.url)],
        "all",
        "1h",
    );
    let done = run(&world).ends(0).says(&["by 2 of 2 (w1, w2)"]);
    assert!(!done.err().contains("newer entries"), "{}", done.err());
    command(&world, &["show", "last"])
        .ends(0)
        .says(&["by 2 of 2 (w1, w2)"]);
    command(&world, &["ledger", "cosign"]).ends(0);
    command(&world, &["ledger", "audit"])
        .ends(0)
        .says(&["by 2 of 2 (w1, w2)", "is as it was written"]);
    command(&world, &["ledger", "prove", "0", "--output", "proof"])
        .ends(0)
        .says(&["cosigned by  witness.example/w1, witness.example/w2"]);
    // Elsewhere, with the policy alone.
    let policy = world
        .folder()
        .join("home/.config/taintline/witnesses.policy");
    let text = std::fs::read_to_string(&policy).unwrap();
    let vkey = std::fs::read_to_string(log(&world).join("vkey")).unwrap();
    std::fs::write(world.work.join("p"), format!("log {vkey}{text}")).unwrap();
    let verify = ["ledger", "verify-proof", "proof", "--policy", "p"];
    command(&world, &verify)
        .ends(0)
        .says(&["proved", "by 2 of 2"]);
    let third = keys(&world, "w3").remove(0);
    let short = format!("log {vkey}witness w9 {third}\nquorum w9\n");
    std::fs::write(world.work.join("p"), short).unwrap();
    command(&world, &verify).ends(1).says(&[
        "NOT PROVED",
        "short quorum",
        "missing w9",
        "wrong witness",
    ]);
    std::fs::write(world.work.join("p"), format!("{text}quorum none\n")).unwrap();
    command(&world, &verify)
        .ends(2)
        .says(&["line 5", "quorum line already"]);
    std::fs::write(world.work.join("p"), text).unwrap();
    command(&world, &verify).ends(2).says(&["--key"]);
}

#[test]
fn a_witness_that_is_away_is_named_and_costs_nothing_but_its_word() {
    let (world, first, key) = witnessed();
    let other = keys(&world, "w2").remove(0);
    let away = nobody();
    settle(
        &world,
        &[("w1", &key, &first.url), ("w2", &other, &away)],
        "any",
        "1h",
    );
    let done = run(&world).ends(0);
    assert_eq!(done.out(), "done\n");
    done.says(&["by 1 of 2 (w1)", "missing: w2: connection refused"]);
    command(&world, &["ledger", "cosign"]).ends(0);
    command(&world, &["ledger", "audit"]).ends(0);
    // Both are needed: entries go on, the head says what it lacks, and after a set time that is a finding.
    settle(
        &world,
        &[("w1", &key, &first.url), ("w2", &other, &away)],
        "all",
        "1h",
    );
    run(&world).ends(0).says(&["short quorum: 2 needed"]);
    command(&world, &["ledger", "cosign"])
        .ends(1)
        .says(&["short quorum: 2 needed", "w2: connection refused"]);
    command(&world, &["ledger", "audit"])
        .ends(1)
        .says(&["cosigned: short quorum", "missing w2"]);
    settle(
        &world,
        &[("w1", &key, &first.url), ("w2", &other, &away)],
        "all",
        "1s",
    );
    std::thread::sleep(Duration::from_millis(1100));
    let done = run(&world).ends(1);
    assert_eq!(done.out(), "done\n", "the job is untouched");
    done.says(&["ledger-unwitnessed", "2 needed"]);
    command(&world, &["ledger", "audit"])
        .ends(1)
        .says(&["old head"]);
}

#[test]
fn a_witness_that_answers_with_another_key_or_for_another_head_is_named_a_liar_and_not_believed() {
    let (world, first, key) = witnessed();
    let other = keys(&world, "w2").remove(0);
    // Under w2's name stands w1.
    settle(&world, &[("w2", &other, &first.url)], "all", "1h");
    command(&world, &["ledger", "cosign"])
        .ends(1)
        .says(&["wrong witness"]);
    assert!(!log(&world).join("cosigned").exists());
    // What w1 said of the present head, told again of the next.
    settle(&world, &[("w1", &key, &first.url)], "all", "1h");
    command(&world, &["ledger", "cosign"]).ends(0);
    let cosigned = std::fs::read_to_string(log(&world).join("cosigned")).unwrap();
    let line = cosigned.lines().find(|line| line.contains("/w1 ")).unwrap();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}\n",
        line.len() + 1
    );
    let liar = answering(Box::leak(answer.into_boxed_str()).as_bytes(), |_| {});
    settle(&world, &[("w1", &key, &liar)], "all", "1h");
    world.sh("exit 0").ends(0).says(&["does not verify"]);
    command(&world, &["ledger", "cosign"])
        .ends(1)
        .says(&["does not verify"]);
    let kept = std::fs::read_to_string(log(&world).join("cosigned")).unwrap();
    assert_eq!(kept, cosigned, "what was kept stays");
    for (answer, word) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..],
            "has no cosignature",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n",
            "malformed",
        ),
        (
            b"HTTP/1.1 409 C\r\nContent-Length: 2\r\n\r\n1\n",
            "refuses (status 409)",
        ),
        (
            b"HTTP/1.1 409 C\r\nContent-Length: 8\r\n\r\n9999999\n",
            "does not show the signed head",
        ),
        (
            b"HTTP/1.1 422 U\r\nContent-Length: 0\r\n\r\n",
            "refuses (status 422)",
        ),
        (
            b"HTTP/1.1 307 R\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "redirection",
        ),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
    ] {
        settle(
            &world,
            &[("w1", &key, &answering(answer, |_| {}))],
            "all",
            "1h",
        );
        let done = command(&world, &["ledger", "cosign"]).ends(1);
        assert!(done.out().contains(word), "{word}: {}", done.out());
        assert!(
            !done.out().contains("FOUND"),
            "a lie proves nothing: {}",
            done.out()
        );
    }
}

#[test]
fn a_witness_that_hangs_or_floods_is_left_alone() {
    let (world, first, key) = witnessed();
    let (hanging, flooding) = (keys(&world, "w2").remove(0), keys(&world, "w3").remove(0));
    let hangs = answering(b"", |_| std::thread::sleep(Duration::from_mins(1)));
    let floods = answering(b"HTTP/1.1 200 OK\r\n\r\n", |stream| {
        while stream.write_all(&[b'a'; 16384]).is_ok() {}
    });
    settle(
        &world,
        &[
            ("w1", &key, &first.url),
            ("w2", &hanging, &hangs),
            ("w3", &flooding, &floods),
        ],
        "any",
        "1h",
    );
    let done = run(&world).ends(0);
    assert_eq!(done.out(), "done\n");
    done.says(&[
        "by 1 of 3 (w1)",
        "w2: no answer within",
        "w3: the answer is longer than",
    ]);
}

#[test]
fn a_ledger_that_was_rolled_back_is_found_by_the_witness_and_by_the_file_beside_it() {
    let (world, first, key) = witnessed();
    settle(&world, &[("w1", &key, &first.url)], "all", "1h");
    let earlier = world.folder().join("earlier");
    copy(&world.store(), &earlier);
    run(&world).ends(0);
    let later = std::fs::read(log(&world).join("cosigned")).unwrap();
    std::fs::remove_dir_all(world.store()).unwrap();
    copy(&earlier, &world.store());
    command(&world, &["ledger", "audit"]).ends(0);
    let done = command(&world, &["ledger", "cosign"]).ends(1);
    done.says(&["FOUND  old head", "witness w1 holds", "rolled back"]);
    // A run notices at once, and the job does not notice.
    let done = run(&world).ends(1);
    assert_eq!(done.out(), "done\n");
    done.says(&["ledger-forked", "TAINTED"]);
    // The newer head was left beside the older log: nobody needs to be asked.
    std::fs::remove_dir_all(world.store()).unwrap();
    copy(&earlier, &world.store());
    std::fs::write(log(&world).join("cosigned"), &later).unwrap();
    command(&world, &["ledger", "audit"])
        .ends(1)
        .says(&["cosigned: old head", "rolled back"]);
    drop(first);
    command(&world, &["ledger", "cosign"])
        .ends(1)
        .says(&["FOUND  old head"]);
    assert_eq!(
        std::fs::read(log(&world).join("cosigned")).unwrap(),
        later,
        "evidence stays"
    );
    // Nothing says that it is witnessed, for it is another history that was.
    let shown = command(&world, &["show", "last"]);
    assert!(
        !shown.out().contains("witnessed to entry"),
        "{}",
        shown.out()
    );
    shown.says(&["WRONG: old head"]);
}

#[test]
fn something_in_the_place_of_the_cosigned_head_is_told_and_keeps_nobody_from_being_asked() {
    let (world, server, key) = witnessed();
    settle(&world, &[("w1", &key, &server.url)], "all", "1h");
    let earlier = world.folder().join("earlier");
    copy(&world.store(), &earlier);
    run(&world).ends(0);
    std::fs::remove_dir_all(world.store()).unwrap();
    copy(&earlier, &world.store());
    let _ = std::fs::remove_file(log(&world).join("cosigned"));
    std::fs::create_dir(log(&world).join("cosigned")).unwrap();
    run(&world)
        .ends(1)
        .says(&["ledger-forked", "witness w1 holds"]);
    command(&world, &["ledger", "audit"])
        .ends(1)
        .says(&["cosigned"]);
    command(&world, &["ledger", "cosign"])
        .ends(1)
        .says(&["FOUND", "witness w1 holds"]);
}

#[test]
fn of_two_histories_of_one_ledger_the_second_is_proved_to_be_a_fork() {
    let (world, first, key) = witnessed();
    settle(&world, &[("w1", &key, &first.url)], "all", "1h");
    command(&world, &["ledger", "cosign"]).ends(0);
    let twin = world.folder().join("twin");
    copy(&world.store(), &twin);
    world.sh("echo one").ends(0);
    command(&world, &["ledger", "cosign"]).ends(0);
    let ours = world.folder().join("ours");
    std::fs::rename(world.store(), &ours).unwrap();
    copy(&twin, &world.store());
    // Out of the witness's sight, until it is the longer one.
    let settings = world.folder().join("home/.config/taintline/taintline.toml");
    std::fs::rename(&settings, world.folder().join("settings")).unwrap();
    world.sh("echo other").ends(0);
    world.sh("echo and more").ends(0);
    std::fs::rename(world.folder().join("settings"), &settings).unwrap();
    let done = command(&world, &["ledger", "cosign", "--json"]).ends(1);
    let found: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    let proof = &found["contradictions"][0];
    assert!(
        proof["what"]
            .as_str()
            .unwrap()
            .starts_with("fork: witness w1"),
        "{proof}"
    );
    for head in ["theirs", "ours"] {
        let text = proof[head].as_str().unwrap();
        assert!(
            text.starts_with("taintline/") && text.contains("\u{2014} taintline/"),
            "{text}"
        );
    }
    // The witness goes on with the history that it saw first.
    std::fs::remove_dir_all(world.store()).unwrap();
    std::fs::rename(&ours, world.store()).unwrap();
    command(&world, &["ledger", "cosign"]).ends(0);
}

/// One request, by hand.
fn ask(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let _ = stream.write_all(request);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn post(server: &Server, body: &[u8]) -> String {
    let head = format!(
        "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    ask(server, &[head.as_bytes(), body].concat())
}

fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn a_witness_knows_after_kill_minus_nine_what_it_cosigned_and_works_in_its_folder_alone() {
    let (world, mut first, key) = witnessed();
    settle(&world, &[("w1", &key, &first.url)], "all", "1h");
    command(&world, &["ledger", "cosign"]).ends(0);
    let vkey = log(&world).join("vkey");
    let (folder, vkey_text) = (world.folder().join("w1"), vkey.display().to_string());
    let serve = [
        "ledger",
        "witness",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--folder",
    ];
    let second = [&serve[..], &[folder.to_str().unwrap(), "--log", &vkey_text]].concat();
    command(&world, &second)
        .ends(2)
        .says(&["another witness works in this folder"]);
    kill("KILL", first.child.id());
    first.child.wait().unwrap();
    let again = Server::start(&world, "w1", &vkey);
    let checkpoint = std::fs::read(log(&world).join("checkpoint")).unwrap();
    let size = String::from_utf8_lossy(&checkpoint)
        .lines()
        .nth(1)
        .unwrap()
        .to_owned();
    let stale = post(&again, &[b"old 0\n\n", &checkpoint[..]].concat());
    assert_eq!(code(&stale), "409", "{stale}");
    assert!(
        stale.contains("content-type: text/x.tlog.size\r\n"),
        "{stale}"
    );
    assert!(stale.ends_with(&format!("\r\n\r\n{size}\n")), "{stale}");
    settle(&world, &[("w1", &key, &again.url)], "all", "1h");
    run(&world).ends(0).says(&["by 1 of 1 (w1)"]);
    let empty = world.folder().join("empty");
    let nothing = [&serve[..], &[empty.to_str().unwrap(), "--log", &vkey_text]].concat();
    command(&world, &nothing)
        .ends(2)
        .says(&["no witness here", "--name"]);
}

#[test]
fn what_is_no_request_gets_its_code_and_the_witness_goes_on_and_ends_when_asked() {
    let (world, mut server, _) = witnessed();
    let checkpoint = std::fs::read(log(&world).join("checkpoint")).unwrap();
    let good = [b"old 0\n\n", &checkpoint[..]].concat();
    let text = String::from_utf8(good.clone()).unwrap();
    let thousands = format!("{text}{}", "\u{2014} k AAAAAAA=\n".repeat(5000));
    for (body, expected) in [
        (b"".to_vec(), "400"),
        (b"old 0\n\n".to_vec(), "400"),
        (text.replacen("old 0", "old 00", 1).into_bytes(), "400"),
        (text.replacen("old 0", "old 999999", 1).into_bytes(), "400"),
        (thousands.into_bytes(), "400"),
        (
            text.replacen("taintline/", "elsewhere/", 1).into_bytes(),
            "404",
        ),
        (
            text.replacen("\n\u{2014}", "0\n\u{2014}", 1).into_bytes(),
            "400",
        ),
        (vec![b'a'; 200_000], "413"),
        (good.clone(), "200"),
        (good, "409"),
    ] {
        let answer = post(&server, &body);
        assert_eq!(code(&answer), expected, "{answer}");
    }
    let size = text.lines().nth(3).unwrap();
    let root = text.lines().nth(4).unwrap();
    let other = text.replacen(root, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 1);
    assert_eq!(code(&post(&server, other.as_bytes())), "403");
    let again = post(
        &server,
        text.replacen("old 0", &format!("old {size}"), 1).as_bytes(),
    );
    assert_eq!(code(&again), "200", "{again}");
    for (request, expected) in [
        (
            &b"GET /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n"[..],
            "405",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n",
            "404",
        ),
        (
            b"GET /00/checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n",
            "404",
        ),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 99999999999\r\n\r\n",
            "413",
        ),
        (b"\x16\x03\x01\x00\x00", ""),
    ] {
        let answer = ask(&server, request);
        assert!(expected.is_empty() || code(&answer) == expected, "{answer}");
    }
    kill("TERM", server.child.id());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn settings_that_cannot_be_followed_stop_a_run_before_it_starts() {
    let (world, server, key) = witnessed();
    settle(&world, &[("w1", &key, &server.url)], "2", "1h");
    let done = run(&world).ends(2).says(&["witnesses.policy: line 2"]);
    assert_eq!(done.out(), "");
    settle(&world, &[("w1", &key, &server.url)], "all", "soon");
    run(&world).ends(2).says(&["witness_patience"]);
    std::fs::remove_file(world.folder().join("home/.config/taintline/taintline.toml")).unwrap();
    command(&world, &["ledger", "cosign"])
        .ends(2)
        .says(&["name no witnesses"]);
}
