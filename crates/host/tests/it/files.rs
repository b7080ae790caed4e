//! Changes to files and who made them, of processes of the test's own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use taintline_host::files::{Change, Files, FilesError, What};

/// How long a change may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the kernel, the user's rights, the container or the file system leave it out.
fn is_missing(error: &FilesError) -> bool {
    let (at_start, answer) = match error {
        FilesError::Refused { source, .. } => (true, source.raw_os_error()),
        FilesError::RefusedAt { source, .. } => (false, source.raw_os_error()),
        FilesError::NoPath(_) => return false,
    };
    match answer {
        Some(libc::EPERM | libc::ENOSYS) => true,
        Some(libc::EINVAL) => at_start,
        Some(libc::EOPNOTSUPP | libc::ENODEV) => !at_start,
        _ => false,
    }
}

fn watched(at: &Path) -> Option<Files> {
    let files = Files::new().and_then(|mut files| {
        files.watch(at)?;
        Ok(files)
    });
    match files {
        Ok(mut files) => {
            files.only(vec![at.to_owned()]);
            Some(files)
        }
        Err(error) => {
            assert!(is_missing(&error), "{error}");
            println!("not checked: changes to files as the kernel tells them: {error}");
            None
        }
    }
}

/// A folder of the test's own, by its path without links.
struct Scene {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn scene() -> Scene {
    scene_in(tempfile::tempdir().unwrap())
}

fn scene_in(folder: tempfile::TempDir) -> Scene {
    let path = folder.path().canonicalize().unwrap();
    Scene {
        _folder: folder,
        path,
    }
}

impl Scene {
    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn start(&self, script: &str) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(&self.path);
        shell.spawn().unwrap()
    }

    /// Runs a script and gives its process and what was told until `end`, which it makes at the last.
    fn run(&self, files: &mut Files, script: &str) -> (u32, Vec<Change>) {
        let mut child = self.start(&format!("{script}\n: > {}", self.at("end").display()));
        let changes = until(files, |all| {
            all.iter()
                .any(|one| shows(one, &self.at("end"), What::is_closed))
        });
        assert!(child.wait().unwrap().success());
        std::fs::remove_file(self.at("end")).unwrap();
        (child.id(), changes)
    }
}

fn until(files: &mut Files, is_done: impl Fn(&[Change]) -> bool) -> Vec<Change> {
    let (mut all, end) = (Vec::new(), Instant::now() + PATIENCE);
    while !is_done(&all) {
        assert!(Instant::now() < end, "it was not told: {all:?}");
        let may_be_more = files.take(|change| all.push(change)).unwrap();
        if !may_be_more {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    all
}

fn shows(change: &Change, path: &Path, what: fn(What) -> bool) -> bool {
    change
        .place
        .as_ref()
        .is_some_and(|place| place.path() == path)
        && what(change.what)
}

#[track_caller]
fn find<'a>(all: &'a [Change], path: &Path, what: fn(What) -> bool) -> &'a Change {
    let found = all.iter().find(|one| shows(one, path, what));
    assert!(found.is_some(), "{}: {all:#?}", path.display());
    found.unwrap()
}

/// A script, the name that it changes, and what it does to it.
type Step = (&'static str, &'static str, &'static [fn(What) -> bool]);

#[test]
fn each_thing_that_can_be_done_to_a_file_is_told_with_its_name_and_its_process() {
    let scene = scene();
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    // `exec` keeps the number of the shell.
    let steps: [Step; 6] = [
        (
            "echo 1 > a",
            "a",
            &[What::is_created, What::is_written, What::is_closed],
        ),
        (": > a", "a", &[What::is_written, What::is_closed]),
        ("exec chmod 600 a", "a", &[What::has_other_attributes]),
        ("exec ln a b", "b", &[What::is_created]),
        ("exec mv b c", "c", &[What::is_renamed]),
        ("exec rm c", "c", &[What::is_deleted]),
    ];
    for (script, name, whats) in steps {
        let mut child = scene.start(script);
        let all = until(&mut files, |all| {
            let is =
                |what: &fn(What) -> bool| all.iter().any(|one| shows(one, &scene.at(name), *what));
            whats.iter().all(is)
        });
        for change in &all {
            assert_eq!(change.pid, child.id(), "{script}: {change:?}");
            assert!(!change.is_folder, "{script}: {change:?}");
            let found = change.place.as_ref().unwrap();
            assert_eq!(found.path(), scene.at(name), "{script}");
        }
        assert!(child.wait().unwrap().success());
    }
    assert_eq!((files.overflows(), files.take(drop).unwrap()), (0, false));
}

#[test]
fn a_file_that_takes_the_name_of_another_is_told_with_both_names() {
    let scene = scene();
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    std::fs::create_dir(scene.at("d")).unwrap();
    std::fs::write(scene.at("a"), "1").unwrap();
    std::fs::write(scene.at("d/b"), "2").unwrap();
    let mut child = scene.start("exec mv -f d/b a");
    let all = until(&mut files, |all| !all.is_empty());
    child.wait().unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    let change = find(&all, &scene.at("a"), What::is_renamed);
    assert_eq!(change.from.as_ref().unwrap().path(), scene.at("d/b"));
    assert_eq!((change.pid, change.is_folder), (child.id(), false));
}

#[test]
fn a_folder_that_moved_has_later_changes_under_its_new_path() {
    let scene = scene();
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    let (_, before) = scene.run(&mut files, "mkdir d; echo 1 > d/f");
    assert!(find(&before, &scene.at("d"), What::is_created).is_folder);
    find(&before, &scene.at("d/f"), What::is_closed);
    let (_, moved) = scene.run(&mut files, "mv d e; echo 2 > e/f; chmod 700 e");
    let rename = find(&moved, &scene.at("e"), What::is_renamed);
    assert_eq!(rename.from.as_ref().unwrap().path(), scene.at("d"));
    assert!(rename.is_folder);
    find(&moved, &scene.at("e/f"), What::is_closed);
    assert!(find(&moved, &scene.at("e"), What::has_other_attributes).is_folder);
    assert!(
        !moved
            .iter()
            .any(|one| shows(one, &scene.at("d/f"), |_| true))
    );
    // A folder that is gone by now, of which we knew where it was.
    let mut child = scene.start("exec rm -r e");
    child.wait().unwrap();
    let gone = until(&mut files, |all| {
        all.iter()
            .any(|one| shows(one, &scene.at("e"), What::is_deleted))
    });
    find(&gone, &scene.at("e/f"), What::is_deleted);
    // Another one under its name is another one.
    let (_, again) = scene.run(&mut files, "mkdir e g; echo 3 > e/f");
    find(&again, &scene.at("e/f"), What::is_closed);
}

#[test]
fn what_lies_elsewhere_is_not_told_but_what_comes_from_there_is() {
    let (scene, other) = (scene(), scene());
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    let away = other.path.display();
    let script = format!("echo 1 > {away}/x; echo 2 > {away}/y; mv {away}/x a; mv a {away}/z");
    let (_, all) = scene.run(&mut files, &script);
    let is_ours = |place: &Option<taintline_host::files::Place>| {
        place
            .as_ref()
            .is_some_and(|place| place.folder == scene.path)
    };
    for change in &all {
        assert!(
            is_ours(&change.place) || is_ours(&change.from),
            "{change:?}"
        );
    }
    let came = find(&all, &scene.at("a"), What::is_renamed);
    assert_eq!(came.from.as_ref().unwrap().path(), other.at("x"));
    let went = find(&all, &other.at("z"), What::is_renamed);
    assert_eq!(went.from.as_ref().unwrap().path(), scene.at("a"));
    // The wanted folder's own name.
    let folder = scene.at("wanted");
    std::fs::create_dir(&folder).unwrap();
    files.only(vec![folder.clone()]);
    let mut child = scene.start("mv wanted aside; mkdir unwanted");
    child.wait().unwrap();
    let all = until(&mut files, |all| !all.is_empty());
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all.first().unwrap().from.as_ref().unwrap().path(), folder);
    find(&all, &scene.at("aside"), What::is_renamed);
}

#[test]
fn changes_in_a_folder_that_was_made_and_is_gone_again_are_told() {
    let scene = scene();
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    let mut child = scene.start("mkdir -p t/u; echo 1 > t/u/f; rm -r t");
    child.wait().unwrap();
    let all = until(&mut files, |all| {
        all.iter()
            .any(|one| shows(one, &scene.at("t"), What::is_deleted))
    });
    let change = find(&all, &scene.at("t/u/f"), What::is_closed);
    assert_eq!(change.pid, child.id());
    find(&all, &scene.at("t/u/f"), What::is_deleted);
    find(&all, &scene.at("t/u"), What::is_deleted);
}

#[test]
fn our_own_changes_are_left_out() {
    let scene = scene();
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    std::fs::write(scene.at("a"), "1").unwrap();
    let (child, all) = scene.run(&mut files, "echo 1 > b");
    assert!(all.iter().all(|one| one.pid == child), "{all:?}");
    assert!(!all.iter().any(|one| shows(one, &scene.at("a"), |_| true)));
}

#[test]
fn a_process_that_lives_comes_with_a_descriptor_and_one_that_is_gone_without() {
    let scene = scene();
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    let mut living = scene.start("echo 1 > a; exec sleep 60");
    let all = until(&mut files, |all| {
        all.iter()
            .any(|one| shows(one, &scene.at("a"), What::is_closed))
    });
    let process = find(&all, &scene.at("a"), What::is_closed).process.as_ref();
    let text = format!("/proc/self/fdinfo/{}", raw(process.unwrap()));
    let said = std::fs::read_to_string(text).unwrap();
    let pid = format!("Pid:\t{}\n", living.id());
    assert!(said.contains(&pid), "{said}");
    living.kill().unwrap();
    living.wait().unwrap();
    let mut gone = scene.start("echo 1 > b");
    gone.wait().unwrap();
    let all = until(&mut files, |all| {
        all.iter()
            .any(|one| shows(one, &scene.at("b"), What::is_closed))
    });
    let change = find(&all, &scene.at("b"), What::is_closed);
    assert_eq!((change.pid, change.process.is_none()), (gone.id(), true));
}

fn raw(descriptor: &std::os::fd::OwnedFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(descriptor)
}

/// How many descriptors of processes we have open.
fn open_processes() -> usize {
    let listed = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = listed.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().contains("pidfd"))
        .count()
}

#[test]
fn thousands_of_short_writers_are_each_seen_and_leave_no_descriptor_open() {
    const COUNT: usize = 2000;
    let scene = scene();
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    // Each in a process of its own, that is gone at once.
    let script = format!(
        "i=0; while [ $i -lt {COUNT} ]; do (: > w$i) & i=$((i+1)); [ $((i % 50)) = 0 ] && wait; done; wait"
    );
    let mut child = scene.start(&script);
    let (mut names, mut pids) = (HashSet::new(), HashSet::new());
    let end = Instant::now() + Duration::from_mins(1);
    while names.len() < COUNT {
        assert!(Instant::now() < end, "{} of {COUNT}", names.len());
        let mut note = |change: Change| {
            if change.what.is_closed() {
                names.insert(change.place.unwrap().name);
                pids.insert(change.pid);
            }
        };
        if !files.take(&mut note).unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    child.wait().unwrap();
    assert_eq!((names.len(), pids.len()), (COUNT, COUNT));
    assert_eq!(files.overflows(), 0);
    // Other tests may have some open for a moment.
    while open_processes() > 0 {
        assert!(Instant::now() < end, "{} are open", open_processes());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_queue_that_was_full_is_counted() {
    // Not among the files of other tests, whose queues would be full as well.
    let memory = Path::new("/dev/shm");
    let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
    let scene = scene_in(folder.unwrap());
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    let limit = std::fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        println!("not checked: a full queue: it takes {limit} changes here");
        return;
    }
    let script = format!("i=0; while [ $i -le {limit} ]; do : > w$i; i=$((i+1)); done");
    let mut child = scene.start(&script);
    child.wait().unwrap();
    let (mut count, mut calls) = (0, 1);
    while files.take(|_| count += 1).unwrap() {
        calls += 1;
    }
    assert!(count > 0 && count <= limit, "{count}");
    assert!(calls > 1, "a call is bounded");
    assert!(files.overflows() >= 1);
}

#[test]
fn who_writes_to_a_control_group_is_told() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mut fields = mounts.lines().map(|line| line.split(' '));
    let unified = fields.find_map(|mut fields| {
        let at = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(at))
    });
    let Some(unified) = unified else {
        println!("not checked: there is no unified tree of control groups");
        return;
    };
    let group = unified.join(format!("taintline-test-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&group) {
        println!("not checked: a control group cannot be made: {error}");
        return;
    }
    let told = group_written(&group);
    std::fs::remove_dir(&group).unwrap();
    let Some((pid, all)) = told else { return };
    let change = find(&all, &group.join("cgroup.freeze"), What::is_written);
    assert_eq!(change.pid, pid);
}

fn group_written(group: &Path) -> Option<(u32, Vec<Change>)> {
    let mut files = watched(group)?;
    let mut child = Command::new("sh")
        .args(["-c", "echo 0 > cgroup.freeze"])
        .current_dir(group)
        .spawn()
        .unwrap();
    child.wait().unwrap();
    let all = until(&mut files, |all| !all.is_empty());
    Some((child.id(), all))
}

const MOUNTED: &str = "TAINTLINE_HOST_TEST_MOUNTED";

#[test]
fn what_has_several_paths_by_several_mounts_is_told_by_the_one_that_is_wanted() {
    let scene = scene();
    let own = std::env::current_exe().unwrap();
    let script = "mkdir one two mnt && mount --bind one mnt && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(own);
    command.args(["--ignored", "--exact", "--nocapture"]);
    command.arg("files::watch_two_mounts").env(MOUNTED, "1");
    let Ok(output) = command.current_dir(&scene.path).output() else {
        println!("not checked: several mounts: there is no `unshare`");
        return;
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if said.contains("running 1 test") {
        print!("{said}");
        assert!(output.status.success(), "{said}");
    } else {
        println!("not checked: several mounts: {said}");
    }
}

#[test]
#[ignore = "a helper process: watches in a namespace where `mnt` is `one`"]
fn watch_two_mounts() {
    assert!(
        std::env::var(MOUNTED).is_ok(),
        "started by other tests only"
    );
    let here = std::env::current_dir().unwrap();
    let at = |name: &str| here.join(name);
    let Some(mut files) = watched(&at("mnt")) else {
        return;
    };
    let told = |files: &mut Files, script: &str, last: &str| {
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let all = until(files, |all| {
            all.iter().any(|one| shows(one, &at(last), What::is_closed))
        });
        child.wait().unwrap();
        let mut names: Vec<PathBuf> = all.iter().map(path).collect();
        names.dedup();
        names
    };
    // What lies on the same file system outside of the only mount that is known has no path.
    let names = told(&mut files, ": > two/a; : > one/b; : > mnt/c", "mnt/c");
    assert_eq!(names, [at("mnt/b"), at("mnt/c")]);
    assert!(files.unplaced() > 0);
    files.watch(&here).unwrap();
    files.only(vec![at("mnt"), at("two")]);
    let names = told(&mut files, ": > d; : > two/e; : > one/f", "mnt/f");
    assert_eq!(names, [at("two/e"), at("mnt/f")]);
    files.only(vec![at("one")]);
    let names = told(&mut files, ": > two/g; : > mnt/h", "one/h");
    assert_eq!(names, [at("one/h")]);
}

fn path(change: &Change) -> PathBuf {
    change.place.as_ref().unwrap().path()
}

#[test]
fn a_place_that_is_not_there_is_named_and_a_file_stands_for_its_folder() {
    let scene = scene();
    let Some(mut files) = watched(&scene.path) else {
        return;
    };
    let error = files.watch(&scene.at("none")).unwrap_err().to_string();
    assert!(error.contains("none"), "{error}");
    std::fs::write(scene.at("file"), "").unwrap();
    files.watch(&scene.at("file")).unwrap();
    let (child, all) = scene.run(&mut files, "echo 1 > file");
    assert_eq!(find(&all, &scene.at("file"), What::is_closed).pid, child);
}
