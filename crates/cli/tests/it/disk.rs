//! A full disk: at the start nothing is started; in mid-run the job goes on and the summary says what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::world::World;

/// A small disk of its own, gone with the value.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with the reason printed, where this user may not mount.
    fn mount(folder: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={size}"))
            .arg("tmpfs")
            .arg(&folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            _ => {
                eprintln!("skipped: a small disk can only be mounted by root");
                None
            }
        }
    }

    fn fill(&self) {
        let filled = Command::new("/bin/sh")
            .args(["-c", "dd if=/dev/zero of=filler bs=4k 2>/dev/null; dd if=/dev/zero of=rest bs=1 2>/dev/null"])
            .current_dir(&self.0)
            .status();
        assert!(!filled.unwrap().success(), "the disk did not become full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn store(path: &Path) -> String {
    path.join("store").display().to_string()
}

#[test]
fn a_disk_that_is_full_at_the_start_stops_before_anything_is_started() {
    let world = World::new();
    let Some(disk) = Disk::mount(world.folder().join("disk"), "256k") else {
        return;
    };
    disk.fill();
    world
        .taintline([
            "--store",
            &store(&disk.0),
            "run",
            "--",
            "/usr/bin/touch",
            "started",
        ])
        .ends(2)
        .says(&["No space left", "hint:", "nothing was started"]);
    assert!(!world.work.join("started").exists());
}

#[test]
fn a_disk_that_fills_up_between_two_runs_stops_the_second_and_keeps_the_first() {
    let world = World::new();
    let Some(disk) = Disk::mount(world.folder().join("disk"), "1m") else {
        return;
    };
    let store = store(&disk.0);
    world
        .taintline(["--store", &store, "run", "--", "true"])
        .ends(0)
        .says(&["this store is in memory"]);
    // Without its index, which is thrown away when it cannot be used: that would make room.
    for file in super::world::files_below(Path::new(&store)) {
        if file.to_string_lossy().contains("index.sqlite") {
            std::fs::remove_file(file).unwrap();
        }
    }
    disk.fill();
    world
        .taintline(["--store", &store, "run", "--", "/usr/bin/touch", "started"])
        .ends(2)
        .says(&["No space left", "hint:"]);
    assert!(!world.work.join("started").exists());
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    world
        .taintline(["--store", &store, "ledger", "audit"])
        .ends(0);
    let runs = world.json(&["--store", &store, "runs"]);
    assert_eq!(runs["runs"][0]["outcome"], "exit 0");
}

#[test]
fn a_disk_that_fills_up_in_mid_run_costs_neither_the_job_nor_what_fits_the_room_kept_for_entries() {
    let world = World::new();
    let Some(disk) = Disk::mount(world.folder().join("disk"), "1m") else {
        return;
    };
    let store = store(&disk.0);
    let script = format!(
        "cd {}; dd if=/dev/zero of=filler bs=4k 2>/dev/null; dd if=/dev/zero of=rest bs=1 2>/dev/null; echo went on; exit 5",
        disk.0.display()
    );
    let done = world
        .taintline(["--store", &store, "run", "--", "/bin/sh", "-c", &script])
        .ends(5);
    assert_eq!(done.out, b"went on\n");
    // The write-ahead file has its room from the start: the run is recorded to its end, and said to be sound while the
    // disk is still full.
    world
        .taintline(["--store", &store, "ledger", "audit"])
        .ends(0);
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    world
        .taintline(["--store", &store, "ledger", "audit"])
        .ends(0);
    let runs = world.json(&["--store", &store, "runs"]);
    assert_eq!(runs["runs"][0]["state"], "ended");
    assert_eq!(runs["runs"][0]["outcome"], "exit 5");
    world
        .taintline(["--store", &store, "run", "--", "true"])
        .ends(0);
}

#[test]
fn a_disk_that_is_full_when_the_room_kept_for_entries_is_used_up_keeps_what_was_acknowledged_and_tells_the_rest()
 {
    let world = World::new();
    let Some(disk) = Disk::mount(world.folder().join("disk"), "1m") else {
        return;
    };
    let store = store(&disk.0);
    // What a sensor says becomes an entry of that size; the room for entries is 64 KiB at first.
    let script = format!(
        r#"
import json, os, socket, struct, sys, time
stream = socket.socket(socket.AF_UNIX)
stream.connect(os.environ["TAINTLINE_SOCKET"])
said = 0
def say(what, size):
    global said
    body = {{"type": "gap", "what": what, "why": "x" * size}}
    frame = json.dumps({{"seq": said, "at_us": 1, "body": body}}).encode()
    stream.sendall(struct.pack("<I", len(frame)) + frame)
    said += 1
def fill(name, block):
    with open(os.path.join({disk:?}, name), "wb", buffering=0) as file:
        try:
            while file.write(b"0" * block):
                pass
        except OSError:
            pass
say("before the disk was full", 10)
time.sleep(2.5)
fill("filler", 4096)
fill("rest", 1)
say("while there was room kept", 10)
time.sleep(2.5)
say("beyond it", 62000)
time.sleep(2.5)
print("went on")
sys.exit(5)
"#,
        disk = disk.0.display().to_string()
    );
    let done = world
        .taintline([
            "--store", &store, "run", "--", "python3", "-I", "-c", &script,
        ])
        .ends(5)
        .says(&["not recorded: entries of the run:", "No space left"]);
    assert_eq!(done.out, b"went on\n");
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    world
        .taintline(["--store", &store, "ledger", "audit"])
        .ends(0);
    let shown = world.json(&["--store", &store, "show", "last"]);
    assert_eq!(shown["state"], "interrupted", "its end is not on the disk");
    let gaps = shown["gaps"].to_string();
    assert!(gaps.contains("before the disk was full"), "{gaps}");
    assert!(gaps.contains("while there was room kept"), "{gaps}");
    assert!(!gaps.contains("beyond it"), "{gaps}");
    world
        .taintline(["--store", &store, "run", "--", "true"])
        .ends(0);
}

#[test]
fn a_disk_that_goes_away_in_mid_run_is_told_and_the_job_goes_on() {
    let world = World::new();
    let Some(disk) = Disk::mount(world.folder().join("disk"), "1m") else {
        return;
    };
    let store = store(&disk.0);
    let script = format!("umount -l {}; echo went on; exit 6", disk.0.display());
    let done = world
        .taintline(["--store", &store, "run", "--", "/bin/sh", "-c", &script])
        .ends(6)
        .says(&["not recorded: entries of the run:", "ledger-rewritten"]);
    assert_eq!(done.out, b"went on\n");
}
