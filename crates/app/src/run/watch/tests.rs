//! The watching thread on real folders, and what cases come to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use domain::{Digest, PathText};
use environment::{Layout, RootKind};
use host::watch::Watcher;

use super::cases::{Cases, First, Outcome, Place};
use super::ground::Ground;
use super::look;
use super::thread::{NobodyHears, Thread};
use super::{Coverage, Now, Order, Report, Seen, Touch};

/// A limit that only ends a hang.
const HANG: Duration = Duration::from_mins(1);

/// A folder of packages and the thread that watches it.
struct World {
    folder: tempfile::TempDir,
    orders: Sender<Order>,
    reports: Receiver<Report>,
    coverage: Coverage,
}

impl World {
    fn new(watches: Option<u64>) -> Self {
        Self::of(Watcher::new(), watches)
    }

    fn of(watcher: std::io::Result<Watcher>, most: Option<u64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let torch = folder.path().join("site/torch/optim");
        fs::create_dir_all(&torch).unwrap();
        fs::write(torch.join("adamw.py"), "one\ntwo\nthree\n").unwrap();
        fs::write(folder.path().join("site/torch/__init__.py"), "").unwrap();
        let (orders, queue) = mpsc::channel();
        let (reporter, reports) = mpsc::channel();
        let ground = Ground::new(watcher, most);
        std::thread::spawn(move || {
            let mut tell = |report| reporter.send(report).map_err(|_| NobodyHears);
            Thread::new(ground, queue).run(&mut tell);
        });
        let mut layout = Layout::new();
        layout.add_root("purelib", RootKind::Site, folder.path().join("site"));
        let (done, answer) = mpsc::channel();
        orders.send(Order::Cover(Box::new(layout), done)).unwrap();
        answer.recv_timeout(HANG).unwrap();
        let Report::Covered(coverage) = reports.recv_timeout(HANG).unwrap() else {
            panic!("not covered");
        };
        Self {
            folder,
            orders,
            reports,
            coverage,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("site").join(name)
    }

    /// The next report about a name that `is` so.
    fn seen(&self, name: &str, is: impl Fn(&Seen) -> bool) -> Seen {
        self.seen_at(&self.path(name), is)
    }

    fn seen_at(&self, path: &Path, is: impl Fn(&Seen) -> bool) -> Seen {
        let path = PathText::from(path);
        let end = Instant::now() + HANG;
        while Instant::now() < end {
            if let Ok(Report::Seen(seen)) = self.reports.recv_timeout(Duration::from_millis(100))
                && seen.path == path
                && is(&seen)
            {
                return seen;
            }
        }
        panic!("{path} was not seen");
    }

    /// All reports until the end.
    fn end(self) -> Vec<Seen> {
        self.orders.send(Order::End).unwrap();
        let mut all = Vec::new();
        loop {
            match self.reports.recv_timeout(HANG).unwrap() {
                Report::Seen(seen) => all.push(seen),
                Report::Over => return all,
                _ => {}
            }
        }
    }
}

fn has(text: &str) -> impl Fn(&Seen) -> bool {
    let digest = Digest::of(text.as_bytes());
    move |seen| matches!(&seen.now, Now::File { digest: Some(it), .. } if *it == digest)
}

const ADAMW: &str = "torch/optim/adamw.py";

#[test]
fn an_edit_and_its_undoing_are_each_seen_with_the_bytes() {
    let world = World::new(None);
    assert_eq!((world.coverage.folders, world.coverage.watched), (3, 3));
    fs::write(world.path(ADAMW), "one\nbad\nthree\n").unwrap();
    let seen = world.seen(ADAMW, has("one\nbad\nthree\n"));
    assert!(seen.touch.has(Touch::WRITTEN), "{:?}", seen.touch);
    assert!(
        matches!(seen.now, Now::File { content: Some(bytes), .. } if bytes == b"one\nbad\nthree\n")
    );
    fs::write(world.path(ADAMW), "one\ntwo\nthree\n").unwrap();
    world.seen(ADAMW, has("one\ntwo\nthree\n"));
}

#[test]
fn an_edit_that_was_undone_at_once_is_seen_as_written_to() {
    let world = World::new(None);
    fs::write(world.path(ADAMW), "bad").unwrap();
    fs::write(world.path(ADAMW), "one\ntwo\nthree\n").unwrap();
    let seen = world.seen(ADAMW, has("one\ntwo\nthree\n"));
    assert!(seen.touch.may_have_changed());
}

#[test]
fn a_file_replaced_by_a_rename_with_its_time_kept_is_seen() {
    let world = World::new(None);
    let (file, beside) = (world.path(ADAMW), world.folder.path().join("beside"));
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&beside, "one\nbad\nthree\n").unwrap();
    fs::File::options()
        .write(true)
        .open(&beside)
        .unwrap()
        .set_modified(time)
        .unwrap();
    fs::rename(&beside, &file).unwrap();
    let seen = world.seen(ADAMW, has("one\nbad\nthree\n"));
    assert!(seen.touch.has(Touch::COME));
    assert_ne!(seen.before.unwrap().ino, seen.identity.unwrap().ino);
}

#[test]
fn a_folder_that_is_swapped_for_another_and_back_is_seen_with_the_other_s_files() {
    let world = World::new(None);
    let (torch, away) = (world.path("torch"), world.folder.path().join("away"));
    let evil = world.folder.path().join("evil/optim");
    fs::create_dir_all(&evil).unwrap();
    fs::write(evil.join("adamw.py"), "bad\n").unwrap();
    fs::rename(&torch, &away).unwrap();
    world.seen("torch", |seen| seen.now == Now::FolderGone(2));
    fs::rename(world.folder.path().join("evil"), &torch).unwrap();
    world.seen(ADAMW, has("bad\n"));
    fs::rename(&torch, world.folder.path().join("evil")).unwrap();
    fs::rename(&away, &torch).unwrap();
    world.seen(ADAMW, has("one\ntwo\nthree\n"));
    // The folder that came is watched as the first one was.
    fs::write(world.path(ADAMW), "worse\n").unwrap();
    world.seen(ADAMW, has("worse\n"));
}

#[test]
fn a_new_folder_is_watched_with_all_that_was_in_it_when_it_came() {
    let world = World::new(None);
    fs::create_dir_all(world.path("new/deep")).unwrap();
    fs::write(world.path("new/deep/module.py"), "1").unwrap();
    world.seen("new/deep/module.py", has("1"));
    fs::write(world.path("new/deep/module.py"), "2").unwrap();
    world.seen("new/deep/module.py", has("2"));
}

#[test]
fn without_any_watch_a_change_is_seen_by_looking_and_the_reason_is_told() {
    let none = Err(std::io::Error::other("too many open files"));
    let world = World::of(none, None);
    assert_eq!((world.coverage.folders, world.coverage.watched), (3, 0));
    assert_eq!(world.coverage.why.as_deref(), Some("too many open files"));
    fs::write(world.path(ADAMW), "bad").unwrap();
    fs::write(world.path("torch/new.py"), "bad").unwrap();
    let all = world.end();
    let names: Vec<_> = all.iter().map(|seen| seen.path.file_name()).collect();
    assert!(
        names.contains(&"adamw.py") && names.contains(&"new.py"),
        "{names:?}"
    );
    assert!(all.iter().all(|seen| seen.touch.has(Touch::LOOKED)));
}

#[test]
fn a_run_takes_its_part_of_the_watches_and_tells_what_is_left() {
    let world = World::new(Some(8));
    assert_eq!((world.coverage.folders, world.coverage.watched), (3, 2));
    assert!(world.coverage.why.as_ref().unwrap().contains("2 watches"));
}

#[test]
fn a_write_through_another_name_gives_no_event_and_is_seen_by_looking() {
    let world = World::new(None);
    let other = world.folder.path().join("other-name");
    fs::hard_link(world.path(ADAMW), &other).unwrap();
    fs::write(&other, "bad").unwrap();
    world
        .orders
        .send(Order::InUse(vec![PathText::from(
            world.path(ADAMW).as_path(),
        )]))
        .unwrap();
    let seen = world.seen(ADAMW, has("bad"));
    assert_eq!(seen.touch, Touch::UNHEARD);
}

#[test]
fn a_single_file_is_followed_when_another_takes_its_name() {
    let world = World::new(None);
    let file = world.folder.path().join("train.py");
    fs::write(&file, "1").unwrap();
    let identity = look::identity(&file).unwrap();
    world
        .orders
        .send(Order::Alone(file.clone(), identity))
        .unwrap();
    for content in ["2", "3"] {
        let beside = world.folder.path().join("beside");
        fs::write(&beside, content).unwrap();
        fs::rename(&beside, &file).unwrap();
        world.seen_at(&file, has(content));
    }
}

#[test]
fn byte_code_that_python_writes_for_itself_and_data_are_not_followed() {
    let world = World::new(None);
    fs::create_dir(world.path("torch/__pycache__")).unwrap();
    fs::write(world.path("torch/__pycache__/a.cpython-311.pyc"), "1").unwrap();
    fs::write(world.path("torch/notes.txt"), "1").unwrap();
    fs::write(world.path("torch/module.py"), "1").unwrap();
    world.seen("torch/module.py", has("1"));
    let names: Vec<_> = world.end().into_iter().map(|seen| seen.path).collect();
    assert_eq!(names, []);
}

// Cases.

fn place(first: First) -> Place {
    Place {
        key: 0,
        logical: PathText::from_text("purelib/torch/optim/adamw.py"),
        first,
        early: false,
    }
}

fn one(text: Option<&str>, touch: Touch) -> Seen {
    let file = |text: &str| Now::File {
        digest: Some(Digest::of(text.as_bytes())),
        content: Some(text.as_bytes().to_vec()),
        why: None,
    };
    Seen {
        path: PathText::from_text("/env/torch/optim/adamw.py"),
        at_us: 1_000_000,
        touch,
        before: None,
        identity: None,
        now: text.map_or(Now::Gone, file),
    }
}

fn settled(first: Option<&str>, seen: &[(Option<&str>, Touch)]) -> Vec<Outcome> {
    let mut cases = Cases::default();
    let first = first.map_or(First::Absent, |text| {
        First::File(Digest::of(text.as_bytes()))
    });
    for (text, touch) in seen {
        cases.take(one(*text, *touch), place(first), Some(3));
    }
    cases.settle(0)
}

#[test]
fn what_stays_what_was_undone_and_what_was_only_touched_are_told_apart() {
    let written = Touch::WRITTEN;
    let stays = settled(Some("a"), &[(Some("b"), written)]);
    assert!(matches!(stays.as_slice(), [Outcome::Stays]), "{stays:?}");
    let undone = settled(Some("a"), &[(Some("b"), written), (Some("a"), written)]);
    let [Outcome::Restored(case)] = undone.as_slice() else {
        panic!("{undone:?}");
    };
    let other = case.other.as_ref().unwrap();
    assert_eq!(other.digest, Some(Digest::of(b"b")));
    assert_eq!(other.step, Some(3));
    let unknown = settled(Some("a"), &[(Some("a"), written)]);
    assert!(
        matches!(unknown.as_slice(), [Outcome::Written(_)]),
        "{unknown:?}"
    );
    let touched = settled(Some("a"), &[(Some("a"), Touch::ATTRIBUTES)]);
    assert!(
        matches!(touched.as_slice(), [Outcome::Attributes(_)]),
        "{touched:?}"
    );
    let opened = settled(Some("a"), &[(Some("a"), Touch::CLOSED)]);
    assert!(opened.is_empty(), "{opened:?}");
}

#[test]
fn a_file_that_came_and_went_is_told_with_what_was_in_it() {
    let outcomes = settled(None, &[(Some("evil"), Touch::COME), (None, Touch::GONE)]);
    let [Outcome::Restored(case)] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert_eq!(
        case.other.as_ref().unwrap().digest,
        Some(Digest::of(b"evil"))
    );
}

#[test]
fn a_file_that_was_away_on_its_way_to_another_content_is_told_with_that_content() {
    let seen = [
        (None, Touch::GONE),
        (Some("b"), Touch::COME),
        (Some("a"), Touch::COME),
    ];
    let outcomes = settled(Some("a"), &seen);
    let [Outcome::Restored(case)] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    let other = case.other.as_ref().unwrap();
    assert_eq!((other.digest, other.gone), (Some(Digest::of(b"b")), false));
}

#[test]
fn what_differed_is_told_by_lines_or_by_bytes() {
    let of = |one: &str, two: &str| super::words::difference(one.as_bytes(), two.as_bytes());
    assert_eq!(of("a\nb\n", "a\nb\n"), None);
    assert_eq!(
        of("a\nb\nc\n", "a\nx\ny\nc\n").unwrap(),
        "with 2 lines instead of 1 line from line 2 on"
    );
    assert_eq!(
        of("a\nb\n", "a\nb\nc\n").unwrap(),
        "with 1 line more from line 3 on"
    );
    assert_eq!(
        of("a\nb\n", "a\n").unwrap(),
        "without 1 line from line 2 on"
    );
    assert_eq!(
        super::words::difference(b"\xff\x00a", b"\xff\x00bc").unwrap(),
        "it differed from byte 2 on, with 4 bytes instead of 3"
    );
}
