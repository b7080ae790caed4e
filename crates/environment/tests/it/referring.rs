//! The ladder on a real folder: what wheels, lists and earlier checks find that RECORD does not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use domain::Digest;
use taintline_environment::reference::lock::{Lock, LockKind};
use taintline_environment::reference::{
    Candidates, Checked, Difference, DifferenceKind, Finder, Keeper, LocalLists, Manifest, NoWheel,
    RecordWord, References, Shelf, Silence, Voucher, check, conda, dpkg, find_lock, read_lock,
    read_wheel,
};
use taintline_environment::{Cache, Snapshot, records};

use crate::site::{Site, line, name};
use crate::wheels::{archive, file_name, wheel};

const TORCH: [(&str, &str); 3] = [
    ("torch/__init__.py", "torch"),
    ("torch/optim/adamw.py", "adamw"),
    ("torch/data.json", "{}"),
];
const ADAMW: &str = "torch/optim/adamw.py";

/// Keeps manifests in memory.
#[derive(Default)]
struct Memory(RefCell<BTreeMap<Digest, Manifest>>);

impl Keeper for Memory {
    fn load(&self, wheel: Digest) -> Option<Manifest> {
        self.0.borrow().get(&wheel).cloned()
    }

    fn keep(&self, manifest: &Manifest) {
        self.0.borrow_mut().insert(manifest.wheel, manifest.clone());
    }
}

/// A site with a folder of wheels and a lock file for it.
struct Ground {
    site: Site,
    memory: Memory,
    locked: Vec<(String, String, Digest)>,
}

impl Ground {
    fn new() -> Self {
        let mut ground = Self {
            site: Site::new(),
            memory: Memory::default(),
            locked: Vec::new(),
        };
        ground.lock("torch", "2.0", &wheel("torch", "2.0", &TORCH));
        ground.lock("six", "1.16", &wheel("six", "1.16", &[("six.py", "six")]));
        let shared = [("shared/__init__.py", ""), ("shared/a.py", "a")];
        ground.lock("shared-a", "1.0", &wheel("shared-a", "1.0", &shared));
        ground
    }

    /// Puts a wheel into the folder and its digest into the lock file.
    fn lock(&mut self, package: &str, version: &str, bytes: &[u8]) {
        let file = format!("wheels/{}", file_name(package, version));
        self.site.write(&file, bytes);
        self.locked.retain(|(name, ..)| name != package);
        let entry = (package.to_owned(), version.to_owned(), Digest::of(bytes));
        self.locked.push(entry);
    }

    fn lock_file(&self) -> Lock {
        let mut lines = String::new();
        for (name, version, digest) in &self.locked {
            lines += &format!("{name}=={version} --hash=sha256:{digest}\n");
        }
        Lock::parse(LockKind::Requirements, lines.as_bytes()).unwrap()
    }

    fn candidates(&self, snapshot: &Snapshot, lock: Option<&Lock>) -> Vec<Candidates> {
        let mut wheels = Shelf::default();
        if self.site.path("wheels").exists() {
            wheels.add_named(&self.site.path("wheels"));
        }
        let mut finder = Finder {
            lock,
            shelf: &wheels,
            keeper: &self.memory,
            cache: &mut Cache::empty(),
            began: SystemTime::now(),
        };
        finder.find(snapshot)
    }

    fn check_with(&self, change: impl FnOnce(&mut References)) -> (Snapshot, Checked) {
        let snapshot = self.site.snapshot();
        let lock = self.lock_file();
        let mut references = References {
            packages: self.candidates(&snapshot, Some(&lock)),
            ..References::default()
        };
        change(&mut references);
        let checked = check(&snapshot, &records::check(&snapshot), &references);
        (snapshot, checked)
    }

    fn differences(&self) -> Vec<Difference> {
        self.check_with(|_| {}).1.differences
    }

    /// Changes a file and the line of it in RECORD.
    fn edit_with_record(&self, path: &str, text: &str) {
        self.site.write_in_site(path, text);
        let record = self.site.path(&Site::in_site("torch-2.0.dist-info/RECORD"));
        let lines = std::fs::read_to_string(&record).unwrap();
        let prefix = format!("{path},");
        let others = lines.lines().filter(|line| !line.starts_with(&prefix));
        let others: Vec<_> = others.collect();
        let new = format!("{}\n{}", others.join("\n"), line(path, text));
        std::fs::write(record, new).unwrap();
    }
}

fn only(differences: Vec<Difference>) -> Difference {
    assert_eq!(differences.len(), 1, "{differences:#?}");
    differences.into_iter().next().unwrap()
}

#[test]
fn a_clean_environment_has_no_finding_and_every_file_is_counted_once() {
    let ground = Ground::new();
    let (snapshot, checked) = ground.check_with(|_| {});
    assert_eq!(checked.differences, []);
    let vouched = checked.vouched();
    // Six files and three METADATA; three INSTALLER and REQUESTED are RECORD's, or nobody's.
    assert_eq!(vouched[&Voucher::LockedWheel], 9);
    assert_eq!(vouched[&Voucher::Record], 3);
    let all: u64 = vouched.values().chain(checked.silent().values()).sum();
    assert_eq!(all, snapshot.flat.len() as u64);
    assert_eq!(checked.silent()[&Silence::Interpreter], 3);
}

#[test]
fn an_edit_is_found_and_with_a_rewritten_record_that_is_said() {
    let ground = Ground::new();
    ground.site.write_in_site(ADAMW, "evil");
    let plain = only(ground.differences());
    assert_eq!(
        (plain.kind, plain.record),
        (DifferenceKind::Changed, RecordWord::Differs)
    );
    ground.edit_with_record(ADAMW, "evil");
    let snapshot = ground.site.snapshot();
    assert_eq!(
        records::check(&snapshot).mismatched,
        [],
        "RECORD alone finds nothing"
    );
    let found = only(ground.differences());
    assert_eq!(found.path, name(&format!("purelib/{ADAMW}")));
    assert_eq!(
        (found.kind, found.record),
        (DifferenceKind::Changed, RecordWord::Agrees)
    );
    assert_eq!(found.voucher, Some(Voucher::LockedWheel));
    assert_eq!(found.expected, Some(Digest::of(b"adamw")));
    assert_eq!(found.found, Some(Digest::of(b"evil")));
}

#[test]
fn an_edit_that_keeps_size_and_times_is_found() {
    let ground = Ground::new();
    let path = ground.site.path(&Site::in_site(ADAMW));
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "ADAMW").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(before).unwrap();
    assert_eq!(only(ground.differences()).kind, DifferenceKind::Changed);
}

#[test]
fn what_is_gone_added_or_owned_by_nobody_is_told_apart() {
    let ground = Ground::new();
    ground.site.remove_in_site("torch/data.json");
    ground.edit_with_record("torch/evil.py", "evil");
    ground.site.write_in_site("stranger.so", "elf");
    ground.site.write_in_site("start.pth", "import evil");
    let found: Vec<_> = ground
        .differences()
        .into_iter()
        .map(|it| (it.path.to_string(), it.kind, it.voucher))
        .collect();
    let locked = Some(Voucher::LockedWheel);
    assert_eq!(
        found,
        [
            (
                "purelib/start.pth".to_owned(),
                DifferenceKind::UnownedHook,
                None
            ),
            (
                "purelib/stranger.so".to_owned(),
                DifferenceKind::Unowned,
                None
            ),
            (
                "purelib/torch/data.json".to_owned(),
                DifferenceKind::Missing,
                locked
            ),
            (
                "purelib/torch/evil.py".to_owned(),
                DifferenceKind::NotInWheel,
                locked
            ),
        ]
    );
}

/// A package with a script, a launcher and a native library.
fn tooled(ground: &mut Ground, script: &str, launcher: &str) {
    let body = "import sys\nprint(sys.path)\n";
    let original = format!("#!python\n{body}");
    let points = "[console_scripts]\nrun = tool.main:go\n";
    let bytes = wheel(
        "tool",
        "1.0",
        &[
            ("tool/main.py", "go"),
            ("tool/native.so", "elf"),
            ("tool-1.0.data/scripts/tooled", &original),
            ("tool-1.0.dist-info/entry_points.txt", points),
        ],
    );
    ground.lock("tool", "1.0", &bytes);
    let files = [("tool/main.py", "go"), ("tool/native.so", "elf")];
    ground.site.install("tool", "1.0", &files);
    ground
        .site
        .write_in_site("tool-1.0.dist-info/entry_points.txt", points);
    ground.site.write("bin/tooled", format!("{script}\n{body}"));
    ground.site.write("bin/run", launcher);
}

fn launcher(python: &str, more: &str) -> String {
    format!(
        "#!{python}\n# -*- coding: utf-8 -*-\nimport re\nimport sys\nfrom tool.main import go\n{more}if __name__ == '__main__':\n    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n    sys.exit(go())\n"
    )
}

#[test]
fn first_lines_and_launchers_that_installers_write_are_no_finding() {
    let mut ground = Ground::new();
    let python = ground.site.path("bin/python3.11").display().to_string();
    tooled(&mut ground, &format!("#!{python}"), &launcher(&python, ""));
    assert_eq!(ground.differences(), []);
    let (_, checked) = ground.check_with(|_| {});
    let silent = checked.silent();
    assert_eq!(
        silent[&Silence::Unlisted],
        1,
        "the interpreter's name beside them alone"
    );
}

#[test]
fn another_interpreter_or_one_more_line_in_a_script_is_found() {
    let mut ground = Ground::new();
    let python = ground.site.path("bin/python3.11").display().to_string();
    let more = launcher(&python, "import tool.evil\n");
    tooled(&mut ground, "#!/elsewhere/bin/python3", &more);
    let found: Vec<_> = ground.differences().into_iter().map(|it| it.kind).collect();
    let starts = "/elsewhere/bin/python3".to_owned();
    assert_eq!(
        found,
        [
            DifferenceKind::NoLauncher,
            DifferenceKind::FirstLine { starts }
        ]
    );
}

#[test]
fn a_swapped_library_is_found() {
    let mut ground = Ground::new();
    let python = ground.site.path("bin/python3.11").display().to_string();
    tooled(&mut ground, &format!("#!{python}"), &launcher(&python, ""));
    let library = ground.site.path(&Site::in_site("tool/native.so"));
    ground.site.write_in_site("tool/.other.so", "fle");
    std::fs::rename(library.with_file_name(".other.so"), &library).unwrap();
    let found = only(ground.differences());
    assert_eq!(found.path, name("purelib/tool/native.so"));
}

#[test]
fn a_wheel_that_the_lock_file_does_not_allow_vouches_for_nothing() {
    let ground = Ground::new();
    // The environment and the wheel agree with each other; the lock file does with neither.
    let evil = [TORCH[0], (ADAMW, "evil"), TORCH[2]];
    ground.edit_with_record(ADAMW, "evil");
    let bytes = wheel("torch", "2.0", &evil);
    let file = file_name("torch", "2.0");
    ground.site.write(&format!("wheels/{file}"), &bytes);
    let snapshot = ground.site.snapshot();
    let candidates = ground.candidates(&snapshot, Some(&ground.lock_file()));
    let torch = snapshot
        .packages
        .iter()
        .position(|it| it.name == "torch")
        .unwrap();
    let Candidates::None(NoWheel::NotAllowed { digest, .. }) = &candidates[torch] else {
        panic!("{:?}", candidates[torch]);
    };
    assert_eq!(*digest, Digest::of(&bytes));
    let named = format!(
        "lock-version = \"1.0\"\n[[packages]]\nname = \"torch\"\nversion = \"2.0\"\nwheels = [{{ name = \"{file}\", hashes = {{ sha256 = \"{}\" }} }}]\n",
        Digest::of(b"the true one")
    );
    let lock = Lock::parse(LockKind::Pylock, named.as_bytes()).unwrap();
    let references = References {
        packages: ground.candidates(&snapshot, Some(&lock)),
        ..References::default()
    };
    let found = check(&snapshot, &records::check(&snapshot), &references).differences;
    assert_eq!(only(found).kind, DifferenceKind::OtherWheel { file });
}

#[test]
fn what_a_wheel_holds_is_kept_and_the_wheel_not_needed_again() {
    let ground = Ground::new();
    assert_eq!(ground.differences(), []);
    std::fs::remove_dir_all(ground.site.path("wheels")).unwrap();
    ground.edit_with_record(ADAMW, "evil");
    assert_eq!(
        only(ground.differences()).voucher,
        Some(Voucher::LockedWheel)
    );
}

#[test]
fn a_package_of_another_version_than_locked_is_a_finding_only_if_the_lock_was_named() {
    let mut ground = Ground::new();
    ground.lock("torch", "2.1", &wheel("torch", "2.1", &TORCH));
    let (_, found) = ground.check_with(|_| {});
    assert_eq!(found.differences, []);
    // That a wheel of the installed version lies about does not change that.
    assert!(
        ground
            .site
            .path("wheels/torch-2.0-py3-none-any.whl")
            .exists()
    );
    let (_, named) = ground.check_with(|references| references.lock_named = true);
    let locked = "2.1".to_owned();
    assert_eq!(
        only(named.differences).kind,
        DifferenceKind::OtherVersion { locked }
    );
}

#[test]
fn a_stronger_voucher_that_contradicts_wins_and_a_weaker_one_speaks_where_it_is_silent() {
    let ground = Ground::new();
    let before = ground.site.snapshot().flat;
    ground.site.write("lib/python3.11/os.py", "evil");
    ground
        .site
        .write_in_site("torch-2.0.dist-info/REQUESTED", "x");
    let (_, checked) = ground.check_with(|it| it.baseline = Some(before.clone()));
    let found: Vec<_> = checked
        .differences
        .iter()
        .map(|it| (it.path.as_str(), it.voucher))
        .collect();
    let baseline = Some(Voucher::Baseline);
    assert_eq!(
        found,
        [
            ("purelib/torch-2.0.dist-info/REQUESTED", baseline),
            ("stdlib/os.py", baseline)
        ]
    );
    let (_, checked) =
        ground.check_with(|it| it.first_seen = Some(std::borrow::Cow::Owned(before)));
    let os: Vec<_> = checked
        .differences
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    assert_eq!(os, ["stdlib/os.py"], "the interpreter stayed itself");
    // An upgrade that the locked wheel agrees with is none of the baseline's business.
    let ground = Ground::new();
    let mut old = ground.site.snapshot().flat;
    let node = old[&name("purelib/six.py")].clone();
    old.insert(name(&format!("purelib/{ADAMW}")), node);
    let (_, checked) = ground.check_with(|it| it.baseline = Some(old));
    assert_eq!(checked.differences, []);
}

#[test]
fn a_name_that_makers_of_environments_use_proves_nothing() {
    let ground = Ground::new();
    ground.site.write_in_site("_virtualenv.py", "evil");
    ground
        .site
        .write_in_site("_virtualenv.pth", "import _virtualenv");
    let found: Vec<_> = ground.differences().into_iter().map(|it| it.kind).collect();
    assert_eq!(
        found,
        [DifferenceKind::UnownedHook, DifferenceKind::Unowned]
    );
}

#[test]
fn a_program_beside_the_launchers_that_nobody_lists_is_counted_by_itself() {
    let ground = Ground::new();
    let stranger = |ground: &Ground| {
        let mut layout = ground.site.layout();
        layout.add_file("pyvenv.cfg", ground.site.path("pyvenv.cfg"));
        let options = crate::site::options();
        let snapshot = taintline_environment::scan(&layout, &mut Cache::empty(), &options);
        let report = records::check(&snapshot);
        let silent = check(&snapshot, &report, &References::default()).silent();
        silent.get(&Silence::Stranger).copied().unwrap_or(0)
    };
    ground.site.write("pyvenv.cfg", "home = /x\n");
    for name in ["bin/activate", "bin/git", "bin/notes.txt"] {
        ground.site.write(name, "text");
    }
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(ground.site.path("bin/activate"), mode.clone()).unwrap();
    assert_eq!(stranger(&ground), 0);
    std::fs::set_permissions(ground.site.path("bin/git"), mode).unwrap();
    assert_eq!(stranger(&ground), 1);
}

#[test]
fn lists_of_other_installers_speak_where_they_list_a_file_and_not_where_they_do_not() {
    let ground = Ground::new();
    let at = |path: &str| ground.site.path(path).display().to_string();
    let [stdlib, six, gone] = [
        "lib/python3.11/os.py",
        "lib/python3.11/site-packages/six.py",
        "lib/python3.11/gone.py",
    ];
    // MD5 of `os` and of `six`; and a file of another program.
    let list = format!(
        "dd302f94682dbd2a114d63b0433602e0  {}\n00000000000000000000000000000000  {}\n00000000000000000000000000000000  {}\n00000000000000000000000000000000  usr/bin/other\nbroken\n",
        at(stdlib).trim_start_matches('/'),
        at(six).trim_start_matches('/'),
        at(gone).trim_start_matches('/')
    );
    ground.site.write("info/python3.11.md5sums", list);
    let meta = format!(
        "{{\"paths_data\": {{\"paths\": [{{\"_path\": \"bin/python3.11\", \"sha256\": \"00\", \"sha256_in_prefix\": \"{}\"}}]}}}}",
        Digest::of(b"elf")
    );
    ground.site.write("conda-meta/python-3.11.json", meta);
    ground.site.write("conda-meta/torn.json", "{");
    let snapshot = ground.site.snapshot();
    let mut lists = LocalLists::default();
    dpkg(&snapshot, &ground.site.path("info"), &mut lists);
    conda(&snapshot, &ground.site.path(""), &mut lists);
    assert_eq!((lists.len(), lists.unread.len()), (4, 1));
    let references = References {
        lists,
        ..References::default()
    };
    let checked = check(&snapshot, &records::check(&snapshot), &references);
    let vouched = checked.vouched();
    assert_eq!((vouched[&Voucher::Dpkg], vouched[&Voucher::Conda]), (1, 1));
    let found: Vec<_> = checked
        .differences
        .iter()
        .map(|it| (it.path.as_str(), &it.kind, it.voucher))
        .collect();
    let dpkg = Some(Voucher::Dpkg);
    assert_eq!(
        found,
        [
            ("purelib/six.py", &DifferenceKind::Changed, dpkg),
            ("stdlib/gone.py", &DifferenceKind::Missing, dpkg)
        ]
    );
}

#[test]
fn a_wheel_on_which_installers_could_disagree_is_no_reference() {
    let papers = ("a-1.dist-info/METADATA", b"Name: a".as_slice());
    let refused = |members: &[(&str, &[u8])]| {
        let bytes = archive(members);
        read_wheel(&bytes.as_slice(), Digest::of(&bytes))
            .unwrap_err()
            .to_string()
    };
    for (bad, word) in [
        (("a.py", b"x".as_slice()), "twice"),
        (("../a.py", b"x".as_slice()), "leads out"),
        (("x/./a.py", b"x".as_slice()), "no plain path"),
        (("/etc/x", b"x".as_slice()), "leads out"),
        (
            ("b-1.dist-info/METADATA", b"x".as_slice()),
            "folders of papers",
        ),
        (
            ("a-1.data/evil/x", b"x".as_slice()),
            "installers put nothing",
        ),
    ] {
        let text = refused(&[papers, ("a.py", b"y"), bad]);
        assert!(text.contains(word), "{text}");
    }
    let mut torn = archive(&[papers, ("a.py", b"wwww")]);
    let at = torn.windows(4).position(|it| it == b"wwww").unwrap();
    torn[at] = b'z';
    let error = read_wheel(&torn.as_slice(), Digest::of(&torn)).unwrap_err();
    assert!(error.to_string().contains("check sum"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_neither_vouched_for_nor_a_finding() {
    let ground = Ground::new();
    let path = ground.site.path(&Site::in_site(ADAMW));
    std::fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (snapshot, checked) = ground.check_with(|_| {});
    assert_eq!(checked.differences, []);
    assert_eq!(snapshot.unread().count(), 1);
    assert_eq!(checked.silent()[&Silence::Unread], 1);
}

#[test]
fn a_link_that_leads_nowhere_in_place_of_a_file_is_found() {
    let ground = Ground::new();
    let path = ground.site.path(&Site::in_site(ADAMW));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert_eq!(only(ground.differences()).kind, DifferenceKind::Changed);
}

#[test]
fn lock_files_are_found_upwards_and_include_only_what_is_beside_them() {
    let ground = Ground::new();
    let digest = Digest::of(b"a");
    let write = |path: &str, text: String| ground.site.write(path, text);
    write(
        "p/requirements.txt",
        format!("-r in/more.txt\nsix==1 --hash=sha256:{digest}\n"),
    );
    write(
        "p/in/more.txt",
        format!("torch==2 --hash=sha256:{digest}\n-r ../requirements.txt\n"),
    );
    write("p/deep/er/x", String::new());
    let (path, lock) = find_lock(&ground.site.path("p/deep/er")).lock.unwrap();
    assert_eq!(path, ground.site.path("p/requirements.txt"));
    assert_eq!(lock.len(), 2);
    write("p/deep/.git/HEAD", String::new());
    assert!(
        find_lock(&ground.site.path("p/deep/er")).lock.is_none(),
        "the project ends there"
    );
    write("p/in/evil.txt", "-r ../../outside.txt\n".to_owned());
    write("outside.txt", format!("six==1 --hash=sha256:{digest}\n"));
    let error = |path: &str| read_lock(&ground.site.path(path)).unwrap_err().to_string();
    assert!(error("p/in/evil.txt").contains("lies outside"));
    write("p/in/plain.txt", "six==1\n".to_owned());
    assert!(error("p/in/plain.txt").contains("no SHA-256"));
}

#[test]
fn a_lock_file_that_is_broken_is_told_and_not_passed_over_in_silence() {
    let ground = Ground::new();
    let requirements = format!("six==1 --hash=sha256:{}\n", Digest::of(b"a"));
    ground.site.write("p/requirements.txt", requirements);
    ground.site.write("p/uv.lock", "version = [[[\n");
    let link = ground.site.path("p/pylock.toml");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let found = find_lock(&ground.site.path("p"));
    assert_eq!(
        found.lock.unwrap().0,
        ground.site.path("p/requirements.txt")
    );
    let told: Vec<_> = found.passed_over.iter().map(|(path, _)| path).collect();
    assert_eq!(told, [&ground.site.path("p/uv.lock"), &link]);
    // Requirements that name no digests are no lock file, and most projects have some.
    ground.site.write("q/requirements.txt", "six==1\n");
    let found = find_lock(&ground.site.path("q"));
    assert!(found.lock.is_none());
    assert_eq!(found.passed_over, []);
}
