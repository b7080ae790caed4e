//! What a confined process can and cannot do, asked of one that is.
//!
//! The worker at the end of this file is this binary again, in a pool; requests are words.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, getppid, test_kill_process};
use taintline_host::sandbox::{
    Confinement, Limits, Readable, confine, confine_program, confine_writes, still_answered,
};
use taintline_host::worker::{Failure, Outcome, Pool, PoolLimits, serve};

use crate::helper::helper_line;

pub(crate) const REQUEST_BYTES: usize = 64 * 1024;
const MEGABYTE: u64 = 1024 * 1024;

pub(crate) fn arguments(name: &str) -> Vec<OsString> {
    let line = helper_line(name);
    line.into_iter().skip(1).map(OsString::from).collect()
}

pub(crate) fn pool(count: usize, name: &str, processor: Duration) -> Pool {
    pool_with(count, name, processor, Duration::from_mins(5))
}

pub(crate) fn pool_with(count: usize, name: &str, processor: Duration, wall: Duration) -> Pool {
    let limits = PoolLimits {
        request_bytes: REQUEST_BYTES,
        answer_bytes: 1024 * 1024,
        processor,
        wall,
        start: Duration::from_mins(1),
    };
    Pool::new(count, arguments(name), limits)
}

/// The outcome of one request, and what the worker said of its confinement.
fn ask(name: &str, request: &str) -> (Result<String, Failure>, Confinement) {
    let mut pool = pool(1, name, Duration::from_mins(1));
    pool.submit(7, request.as_bytes().to_vec()).unwrap();
    let Outcome { id, result } = pool.next_outcome().unwrap();
    assert_eq!((id, pool.next_outcome()), (7, None));
    let confinement = serde_json::from_slice(pool.greeting().unwrap()).unwrap();
    println!(
        "{confinement:?} {}",
        String::from_utf8_lossy(pool.last_words())
    );
    (
        result.map(|bytes| String::from_utf8(bytes).unwrap()),
        confinement,
    )
}

#[test]
fn a_confined_process_is_refused_every_way_out_and_reads_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = format!("tries {port} {}", file.display());
    let (answer, holds) = ask("confined::worker", &request);
    let answer = answer.unwrap();
    println!("{answer}");
    assert!(answer.contains("read: content\n"), "{answer}");
    assert!(holds.limits && holds.no_new_privileges && holds.undumpable && holds.dies_with_parent);
    if !holds.system_calls {
        println!("not checked: this kernel filters no system calls");
        return;
    }
    for line in answer.lines().filter(|line| !line.starts_with("read: ")) {
        assert!(line.ends_with(": refused"), "{answer}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_unconfined_process_is_answered_what_a_confined_one_is_refused() {
    let answered = still_answered();
    for name in ["socket", "execve", "ptrace", "process_vm_readv", "unlinkat"] {
        assert!(answered.contains(&name), "{name}: {answered:?}");
    }
}

#[test]
fn only_what_was_named_can_be_read_where_the_kernel_has_landlock() {
    let (answer, holds) = ask(
        "confined::worker_of_a_folder",
        "reads src/lib.rs Cargo.toml src",
    );
    if holds.landlock.is_none() {
        println!("not checked: this kernel has no Landlock");
        return;
    }
    assert_eq!(
        answer.unwrap(),
        "src/lib.rs: read\nCargo.toml: refused\nsrc: read\n"
    );
}

#[test]
fn a_file_far_larger_than_the_memory_can_be_read_in_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let file = File::create(&path).unwrap();
    let size = 100 * 1024 * MEGABYTE;
    if file.set_len(size).is_err() {
        println!("not checked: this file system holds no file of 100 GiB");
        return;
    }
    file.write_all_at(b"end", size - 3).unwrap();
    let (answer, _) = ask("confined::worker", &format!("ends {}", path.display()));
    assert_eq!(answer.unwrap(), "end");
}

/// What a program under test does for a request.
pub(crate) fn handle(request: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(request).into_owned();
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["tries", port, path] => tries(port.parse().unwrap(), Path::new(path)).into_bytes(),
        ["reads", paths @ ..] => paths
            .iter()
            .map(|path| reads(path))
            .collect::<String>()
            .into(),
        ["ends", path] => {
            let file = File::open(path).unwrap();
            let mut end = [0; 3];
            let size = file.metadata().unwrap().len();
            file.read_exact_at(&mut end, size - 3).unwrap();
            end.to_vec()
        }
        ["spins"] => loop {
            std::hint::spin_loop();
        },
        ["sleeps"] => loop {
            std::thread::sleep(Duration::from_mins(1));
        },
        ["naps"] => {
            std::thread::sleep(Duration::from_millis(300));
            b"rested".to_vec()
        }
        ["fills"] => fills(),
        ["gathers"] => {
            std::mem::forget(vec![1_u8; 24 * 1024 * 1024]);
            b"gathered".to_vec()
        }
        ["aborts"] => std::process::abort(),
        ["panics"] => vec!["no number".parse().unwrap()],
        ["leaves"] => std::process::exit(3),
        ["talks"] => vec![b'x'; 2 * 1024 * 1024],
        ["complains"] => {
            for _ in 0..10_000 {
                eprintln!("a line of complaint that nobody reads");
            }
            b"complained".to_vec()
        }
        _ => request.to_vec(),
    }
}

fn fills() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1024 * 1024]);
        std::hint::black_box(&all);
    }
}

fn reads(path: &str) -> String {
    let result = if Path::new(path).is_dir() {
        std::fs::read_dir(path).map(drop)
    } else {
        File::open(path).map(drop)
    };
    line(path, "read", result)
}

fn line<T>(name: &str, done: &str, result: io::Result<T>) -> String {
    match result {
        Ok(_) => format!("{name}: {done}\n"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("{name}: refused\n")
        }
        Err(error) => format!("{name}: {error}\n"),
    }
}

fn tries(port: u16, path: &Path) -> String {
    let beside = path.with_extension("new");
    let open = |options: &mut OpenOptions| options.open(path);
    let truncating = open(OpenOptions::new().write(true).truncate(true));
    let parent: Option<Pid> = getppid();
    let mut told = String::new();
    told += &line(
        "connect",
        "done",
        std::net::TcpStream::connect(("127.0.0.1", port)),
    );
    told += &line("bind", "done", TcpListener::bind("127.0.0.1:0"));
    told += &line("datagram", "done", std::net::UdpSocket::bind("127.0.0.1:0"));
    told += &line("pair", "done", std::os::unix::net::UnixStream::pair());
    told += &line("create", "done", File::create(&beside));
    told += &line("append", "done", open(OpenOptions::new().append(true)));
    told += &line("truncate", "done", truncating);
    told += &line("rename", "done", std::fs::rename(path, &beside));
    told += &line("link", "done", std::fs::hard_link(path, &beside));
    told += &line("symlink", "done", std::os::unix::fs::symlink(path, &beside));
    told += &line("folder", "done", std::fs::create_dir(&beside));
    told += &line("remove", "done", std::fs::remove_file(path));
    told += &line(
        "program",
        "done",
        std::process::Command::new("/bin/true").status(),
    );
    told += &line("thread", "done", std::thread::Builder::new().spawn(|| ()));
    if let Some(parent) = parent {
        told += &line(
            "signal",
            "done",
            test_kill_process(parent).map_err(io::Error::from),
        );
    }
    for name in still_answered() {
        told += &format!("{name}: answered\n");
    }
    let content = std::fs::read_to_string(path);
    told + &format!(
        "read: {}\n",
        content.unwrap_or_else(|error| error.to_string())
    )
}

fn work(readable: Readable<'_>) {
    let limits = Limits {
        memory_bytes: 64 * MEGABYTE,
        cpu_seconds: 60,
        descriptors: 32,
    };
    let holds = confine(&limits, readable);
    let hello = serde_json::to_vec(&holds).unwrap();
    serve(&hello, REQUEST_BYTES, handle).unwrap();
    // The harness would report to a descriptor that may be refused by now.
    std::process::exit(0);
}

#[test]
#[ignore = "a helper process: a confined worker"]
fn worker() {
    work(Readable::Everything);
}

#[test]
#[ignore = "a helper process: a confined worker that may read one folder"]
fn worker_of_a_folder() {
    work(Readable::Only(&[
        Path::new("src"),
        Path::new("no such folder"),
    ]));
}

#[test]
#[ignore = "a helper process: a worker that dies before it greets"]
fn stillborn() {
    std::process::exit(9);
}

#[test]
fn a_program_that_is_not_ours_can_answer_and_can_neither_write_nor_start_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("written");
    let script = "read -r line < /proc/self/stat && echo read\n\
        { : > \"$1\"; } 2> /dev/null || echo unwritten\n\
        (echo child)";
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(&file).env_clear();
    let limits = Limits {
        memory_bytes: 512 << 20,
        ..Limits::default()
    };
    confine_program(&mut command, &limits);
    let output = command.output().unwrap();
    assert!(!file.exists());
    let told = String::from_utf8(output.stdout).unwrap();
    // The shell gives up where it cannot fork.
    assert_eq!(told, "read\nunwritten\n");
    assert!(!output.status.success());
}

#[test]
fn what_a_program_and_its_children_write_stays_in_the_folders_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("there"), "as it was").unwrap();
    let script = "echo a > inside/one && mkdir inside/deep && mv inside/one inside/deep/one && echo b > /dev/null && cat there > inside/read\n\
        sh -c 'echo c > there; echo c > outside' 2> /dev/null; rm there 2> /dev/null; ln inside/read linked 2> /dev/null; exit 0";
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", script]).current_dir(folder.path());
    let held = confine_writes(&mut command, &[&inside]);
    assert!(command.status().unwrap().success());
    assert_eq!(
        std::fs::read_to_string(inside.join("deep/one")).unwrap(),
        "a\n"
    );
    assert_eq!(
        std::fs::read_to_string(inside.join("read")).unwrap(),
        "as it was"
    );
    if !held {
        println!("not checked: this kernel has no Landlock");
        return;
    }
    let there = std::fs::read_to_string(folder.path().join("there"));
    assert_eq!(there.unwrap(), "as it was");
    assert!(!folder.path().join("outside").exists() && !folder.path().join("linked").exists());
}
