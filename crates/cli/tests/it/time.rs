//! Trusted time as its users meet it: a stamp over all that is recorded, judged offline with the reader's own roots.

use std::fs;

use serde_json::Value;

use super::authority::Authority;
use super::world::{World, files_below};

/// A world with one run in it, and an authority.
fn recorded() -> (World, Authority) {
    let world = World::new();
    world.sh("true").ends(0);
    (world, Authority::new())
}

/// Asks by file and takes the answer.
fn stamped(world: &World, authority: &Authority) -> Value {
    let asked = world.json(&["ledger", "stamp", "--request", "q.tsq"]);
    assert_eq!(asked["state"], "asked");
    let answer = world.work.join("r.tsr");
    authority.answer(&world.work.join("q.tsq"), &answer);
    world.json(&["ledger", "stamp", "--response", "r.tsr"])
}

fn audit(world: &World, authority: &Authority, code: i32) -> Value {
    let root = authority.root();
    let words = ["ledger", "audit", "--json", "--time-roots"].map(Into::into);
    let words = words.into_iter().chain([root.into_os_string()]);
    let done = world.taintline(words).ends(code);
    serde_json::from_slice(&done.out).unwrap()
}

fn problems(audit: &Value) -> String {
    let problems = audit["problems"].as_array().unwrap();
    let all = problems
        .iter()
        .map(|it| it["what"].as_str().unwrap().to_owned());
    all.collect::<Vec<_>>().join("\n")
}

fn settle(world: &World, text: &str) {
    let folder = world.folder().join("home/.config/taintline");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("taintline.toml"), text).unwrap();
}

#[test]
fn a_stamp_says_no_later_than_to_whoever_trusts_the_authority_and_nothing_to_others() {
    let (world, authority) = recorded();
    let stamp = stamped(&world, &authority);
    assert_eq!(stamp["state"], "stamped");
    assert_eq!(
        stamp["stamp"]["standing"], "not_checked",
        "no root was named"
    );
    world
        .taintline(["show", "last"])
        .ends(0)
        .says(&["no later than", "NOT CHECKED", "time_roots"]);
    world
        .taintline(["ledger", "audit"])
        .ends(0)
        .says(&["1 stamp NOT CHECKED"]);
    let judged = audit(&world, &authority, 0);
    assert_eq!(judged["stamps"][0]["standing"], "holds");
    let judged = audit(&world, &Authority::new(), 0);
    assert_eq!(judged["stamps"][0]["standing"], "wrong", "a stranger's");
    settle(
        &world,
        &format!("[trust]\ntime_roots = {:?}", authority.root()),
    );
    world
        .taintline(["show", "last"])
        .ends(0)
        .says(&["no later than 20", "± 1 s (TSA CN=an authority)"]);
    world.sh("true").ends(0);
    let later = world.json(&["show", "last"]);
    assert_eq!(
        later["no_later_than"],
        Value::Null,
        "it is not under that head"
    );
    assert_eq!(later["not_before"]["standing"], "holds");
}

#[test]
fn openssl_accepts_the_request_and_the_token_that_the_store_keeps() {
    let (world, authority) = recorded();
    stamped(&world, &authority);
    let answer = world.work.join("r.tsr");
    let head = files_below(&world.store().join("blobs"))
        .into_iter()
        .find(|file| fs::read(file).unwrap().starts_with(b"taintline"))
        .unwrap();
    let verify = |data: &std::path::Path| {
        authority.openssl(&format!(
            "ts -verify -in {} -data {} -CAfile ca.pem",
            answer.display(),
            data.display()
        ))
    };
    assert!(verify(&head), "the token is over the signed head");
    assert!(!verify(&answer), "and over nothing else");
    let query = format!(
        "ts -verify -in {} -queryfile {} -CAfile ca.pem",
        answer.display(),
        world.work.join("q.tsq").display()
    );
    assert!(authority.openssl(&query), "nonce and all");
    assert_eq!(files_below(&world.store().join("asked")).len(), 0);
}

#[test]
fn an_answer_to_another_question_or_by_a_stranger_is_not_recorded() {
    let (world, authority) = recorded();
    world
        .taintline(["ledger", "stamp", "--request", "q.tsq"])
        .ends(0);
    let answer = world.work.join("r.tsr");
    // The same head, asked about by somebody else: the nonce is another.
    let imprint = world.json(&["ledger", "stamp", "--request", "again.tsq"])["imprint"].clone();
    let query = format!(
        "ts -query -digest {} -sha256 -cert -out other.tsq",
        imprint.as_str().unwrap()
    );
    assert!(authority.openssl(&query));
    authority.answer(&authority.file("other.tsq"), &answer);
    world
        .taintline(["ledger", "stamp", "--response", "r.tsr"])
        .ends(2)
        .says(&["another request (nonce)"]);
    assert!(authority.openssl("ts -query -data cnf -sha256 -cert -out other.tsq"));
    authority.answer(&authority.file("other.tsq"), &answer);
    world
        .taintline(["ledger", "stamp", "--response", "r.tsr"])
        .ends(2)
        .says(&["answers no request of this store", "--request FILE"]);
    authority.answer(&world.work.join("q.tsq"), &answer);
    let stranger = Authority::new();
    let root = stranger.root();
    let root = root.to_str().unwrap();
    world
        .taintline([
            "ledger",
            "stamp",
            "--response",
            "r.tsr",
            "--time-roots",
            root,
        ])
        .ends(2)
        .says(&["the certificate of the authority does not count"]);
    fs::write(&answer, "<html>").unwrap();
    world
        .taintline(["ledger", "stamp", "--response", "r.tsr"])
        .ends(2)
        .says(&["not the answer of a time stamping authority"]);
    let entries = world.json(&["ledger", "log", "-n", "100"]);
    assert!(!entries.to_string().contains("time stamp"));
}

#[test]
fn a_history_that_was_signed_anew_is_told_by_an_older_stamp() {
    let (world, authority) = recorded();
    // The same key, another history: what somebody with the key can do.
    let log = fs::read_dir(world.store().join("ledger")).unwrap();
    let log = log
        .map(|it| it.unwrap().path())
        .find(|it| it.is_dir())
        .unwrap();
    let kept = world.folder().join("kept");
    copy(&log, &kept);
    world.sh("exit 0; # one").ends(0);
    stamped(&world, &authority);
    assert_eq!(problems(&audit(&world, &authority, 0)), "");
    let entry = stamp_entry(&world);
    fs::remove_dir_all(&log).unwrap();
    copy(&kept, &log);
    world.sh("exit 0; # another").ends(0);
    append(&world, &entry);
    let told = problems(&audit(&world, &authority, 1));
    assert!(
        told.contains("does not begin with the tree that was stamped"),
        "{told}"
    );
}

/// The JSON of the newest time stamp's entry.
fn stamp_entry(world: &World) -> Value {
    let entries = world.json(&["ledger", "log", "-n", "1000"]);
    let all = entries["entries"].as_array().unwrap().clone();
    let newest = all.iter().rfind(|it| it["what"] == "time stamp").unwrap();
    let number = newest["number"].to_string();
    world.json(&["ledger", "show", &number])["entry"].clone()
}

/// Appends an entry as Taintline would, with the log's own key.
fn append(world: &World, entry: &Value) {
    let store = ledger::Store::open(&world.store()).unwrap();
    let name = store.logs().unwrap()[0].name().to_owned();
    let keys = world.folder().join("data/taintline/keys");
    let writer = store.writer(&name, &keys).unwrap();
    writer
        .append(&[serde_json::to_vec(entry).unwrap()])
        .unwrap();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for file in files_below(from) {
        let there = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        fs::copy(&file, there).unwrap();
    }
}

/// An entry of an act, made at another time by its own clock.
fn at(entry: &Value, seconds: i64, seq: u64) -> Value {
    let mut entry = entry.clone();
    let now = entry["capture_us"].as_i64().unwrap() + seconds * 1_000_000;
    entry["capture_us"] = now.into();
    entry["event_us"] = now.into();
    entry["seq"] = seq.into();
    entry["body"] = serde_json::json!({"kind": "gap", "what": "x", "why": "y"});
    entry
}

#[test]
fn backdated_entries_and_clocks_that_were_ahead_are_named() {
    let (world, authority) = recorded();
    stamped(&world, &authority);
    let entry = stamp_entry(&world);
    append(&world, &at(&entry, 1, 1));
    assert_eq!(problems(&audit(&world, &authority, 0)), "", "an honest one");
    append(&world, &at(&entry, -3600, 2));
    let told = problems(&audit(&world, &authority, 1));
    assert!(told.contains("earlier than a time stamp"), "{told}");
    assert!(
        told.contains("backdated") && !told.contains("ahead"),
        "{told}"
    );

    let (world, authority) = recorded();
    append(&world, &at(&entry, 7200, 3));
    stamped(&world, &authority);
    let told = problems(&audit(&world, &authority, 1));
    assert!(
        told.contains("later than a time stamp that covers"),
        "{told}"
    );
    assert!(
        told.contains("was ahead") && !told.contains("backdated"),
        "{told}"
    );
}

#[test]
fn each_changed_byte_of_a_kept_token_is_named() {
    let (world, authority) = recorded();
    stamped(&world, &authority);
    let token = stamp_entry(&world)["body"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = world
        .store()
        .join("blobs")
        .join(&token[..2])
        .join(&token[2..]);
    let good = fs::read(&file).unwrap();
    for position in (0..good.len()).step_by(97) {
        let mut bad = good.clone();
        bad[position] ^= 1;
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&file, &bad).unwrap();
        let told = problems(&audit(&world, &authority, 1));
        assert!(told.contains("proves nothing"), "{position}: {told}");
    }
    fs::remove_file(&file).unwrap();
    let told = problems(&audit(&world, &authority, 1));
    assert!(told.contains("its token is not in the store"), "{told}");
}

/// A world with a model, a root, and a signer's certificate of that root that was valid in these seconds around now.
fn certified(from: i64, until: i64) -> (World, Authority) {
    let (world, authority) = (World::new(), Authority::new());
    fs::create_dir(world.work.join("model")).unwrap();
    fs::write(world.work.join("model/weights"), "0123456789").unwrap();
    let configuration = "[issuer]\ndatabase = index\nserial = number\nnew_certs_dir = .\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n[leaf]\nbasicConstraints = CA:FALSE\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = codeSigning\n";
    fs::write(authority.file("issuer"), configuration).unwrap();
    fs::write(authority.file("index"), "").unwrap();
    fs::write(authority.file("number"), "77\n").unwrap();
    let time = |offset: i64| {
        let seconds = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        let at = i64::try_from(seconds).unwrap() + offset;
        let output = std::process::Command::new("date")
            .args(["-u", "-d", &format!("@{at}"), "+%Y%m%d%H%M%SZ"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    // The root must have been valid then as well.
    for command in [
        "ecparam -name prime256v1 -genkey -noout -out leaf.key".to_owned(),
        "req -config cnf -new -key leaf.key -subj /CN=signer -out leaf.csr".to_owned(),
        "req -config cnf -new -key ca.key -subj /CN=root -out ca.csr".to_owned(),
        format!(
            "ca -batch -selfsign -config issuer -name issuer -keyfile ca.key -in ca.csr -out old.pem -notext -extfile cnf -extensions ca -startdate {} -enddate {}",
            time(-900_000),
            time(900_000)
        ),
        format!(
            "ca -batch -config issuer -name issuer -cert old.pem -keyfile ca.key -in leaf.csr -out leaf.pem -notext -extfile issuer -extensions leaf -startdate {} -enddate {}",
            time(from),
            time(until)
        ),
    ] {
        assert!(authority.openssl(&command), "{command}");
    }
    let key = authority.file("leaf.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    (world, authority)
}

fn seal(world: &World, authority: &Authority, more: &[&str]) {
    let (key, leaf) = (authority.file("leaf.key"), authority.file("leaf.pem"));
    let words = [
        "seal",
        "model",
        "--key",
        key.to_str().unwrap(),
        "--certificate",
        leaf.to_str().unwrap(),
    ];
    world.taintline(words.iter().chain(more)).ends(0);
}

fn verified(world: &World, authority: &Authority, code: i32, with_time: bool) -> Value {
    let (old, root) = (authority.file("old.pem"), authority.root());
    let mut words = vec![
        "verify",
        "model",
        "--json",
        "--certificate-root",
        old.to_str().unwrap(),
    ];
    if with_time {
        words.extend(["--time-roots", root.to_str().unwrap()]);
    }
    let done = world.taintline(&words).ends(code);
    serde_json::from_slice(&done.out).unwrap()
}

fn stamp_the_seal(world: &World, authority: &Authority) {
    authority.answer(&world.work.join("s.tsq"), &world.work.join("s.tsr"));
    world
        .taintline(["seal", "model", "--time-response", "s.tsr"])
        .ends(0)
        .says(&["STAMPED"]);
}

#[test]
fn a_certificate_that_expired_after_the_stamp_counts_and_one_that_expired_before_does_not() {
    let (world, authority) = certified(-600, 8);
    seal(&world, &authority, &["--time-request", "s.tsq"]);
    stamp_the_seal(&world, &authority);
    std::thread::sleep(std::time::Duration::from_secs(9));
    let without = verified(&world, &authority, 1, false);
    assert!(without["problems"][0].as_str().unwrap().contains("expired"));
    for _ in 0..2 {
        // The second time it is remembered.
        let valid = verified(&world, &authority, 0, true);
        assert_eq!(valid["signer"]["at"][1], "stamped");
        assert_eq!(valid["time_stamps"][0]["standing"], "holds");
    }
    let (world, authority) = certified(-6000, -60);
    seal(&world, &authority, &["--time-request", "s.tsq"]);
    stamp_the_seal(&world, &authority);
    let late = verified(&world, &authority, 1, true);
    assert!(late["problems"][0].as_str().unwrap().contains("expired"));
    assert_eq!(late["time_stamps"][0]["standing"], "holds");
}

#[test]
fn a_stamp_that_was_made_over_another_signature_is_told() {
    let (world, authority) = certified(-600, 600);
    seal(&world, &authority, &["--time-request", "s.tsq"]);
    stamp_the_seal(&world, &authority);
    verified(&world, &authority, 0, true);
    let bundle = world.work.join("model/model.sig");
    let mut stamped: Value = serde_json::from_slice(&fs::read(&bundle).unwrap()).unwrap();
    let stamps = stamped["verificationMaterial"]["timestampVerificationData"].clone();
    fs::write(world.work.join("model/weights"), "9876543210").unwrap();
    seal(&world, &authority, &[]);
    assert_eq!(
        verified(&world, &authority, 0, true)["time_stamps"],
        serde_json::json!([])
    );
    stamped = serde_json::from_slice(&fs::read(&bundle).unwrap()).unwrap();
    stamped["verificationMaterial"]["timestampVerificationData"] = stamps;
    fs::write(&bundle, stamped.to_string()).unwrap();
    for with_time in [true, false] {
        let told = verified(&world, &authority, 1, with_time);
        let told = told["problems"].to_string();
        assert!(told.contains("over other bytes"), "{told}");
    }
    authority.answer(&world.work.join("s.tsq"), &world.work.join("s.tsr"));
    world
        .taintline(["seal", "model", "--time-response", "s.tsr"])
        .ends(2)
        .says(&["over other bytes"]);
}

#[test]
fn a_run_says_what_the_clock_was_like() {
    let world = World::new();
    world.sh("true").ends(0);
    let run = world.json(&["show", "last"]);
    let gaps = run["gaps"].to_string();
    let states = run["clock"].as_array().unwrap().len();
    assert!(states == 2 || gaps.contains("state of the clock"), "{run}");
    assert!(!gaps.contains("was set"), "{gaps}");
}

#[test]
fn an_authority_that_does_not_answer_costs_a_run_nothing_and_is_told() {
    let world = World::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/tsa", nobody.local_addr().unwrap());
    drop(nobody);
    settle(&world, &format!("[ledger]\ntsa = {url:?}"));
    world
        .sh("exit 0")
        .ends(0)
        .says(&["not recorded: time stamp"]);
    world.sh("exit 7").ends(7);
    world
        .taintline(["ledger", "stamp", "--tsa", "ftp://x/"])
        .ends(2)
        .says(&["not an http:// or https:// address"]);
    settle(&world, "");
    world
        .taintline(["ledger", "stamp"])
        .ends(2)
        .says(&["--tsa URL"]);
}

#[test]
fn a_run_has_itself_stamped_at_its_end_by_the_settled_authority() {
    use std::io::{Read as _, Write as _};
    let (world, authority) = (World::new(), Authority::new());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/tsa", listener.local_addr().unwrap());
    settle(
        &world,
        &format!(
            "[ledger]\ntsa = {url:?}\n[trust]\ntime_roots = {:?}",
            authority.root()
        ),
    );
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let body = loop {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "the request ended early");
            asked.extend_from_slice(&piece[..count]);
            let Some(end) = asked.windows(4).position(|it| it == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&asked[..end]).to_lowercase();
            assert!(
                head.contains("content-type: application/timestamp-query"),
                "{head}"
            );
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap().parse().unwrap();
            if asked.len() == end + 4 + length {
                break asked[end + 4..].to_vec();
            }
        };
        fs::write(authority.file("asked"), body).unwrap();
        authority.answer(&authority.file("asked"), &authority.file("reply"));
        let reply = fs::read(authority.file("reply")).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: {}\r\n\r\n",
            reply.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&reply).unwrap();
        authority
    });
    world
        .sh("true")
        .ends(0)
        .says(&["no later than 20", "(TSA CN=an authority)"]);
    let _authority = server.join().unwrap();
    let run = world.json(&["show", "last"]);
    assert_eq!(run["no_later_than"]["standing"], "holds");
    world
        .taintline(["ledger", "audit"])
        .ends(0)
        .says(&["1 stamp believed"]);
}
