//! Small environments made here, judged with the system's Python. The byte code is made by that Python and never run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use environment::{Cache, Layout, Options, RootKind};

use super::*;

const PYTHON: &str = "/usr/bin/python3";
/// Makes byte code of a text under the name of a source, tied as it is asked; or plain bytes behind a true header.
const MAKE: &str = r#"
import importlib._bootstrap_external as external, importlib.util, os, sys
source, text, how = sys.argv[1:]
stat = os.stat(source)
data = open(source, "rb").read()
if how == "bytes":
    made = external._code_to_timestamp_pyc(compile("", "", "exec"), int(stat.st_mtime), stat.st_size)[:16] + text.encode("latin-1")
else:
    code = compile(text, "elsewhere.py", "exec", dont_inherit=True)
    if how in ("time", "stale"):
        made = external._code_to_timestamp_pyc(code, int(stat.st_mtime) - (how == "stale"), stat.st_size)
    else:
        made = external._code_to_hash_pyc(code, importlib.util.source_hash(data), how != "unchecked")
target = importlib.util.cache_from_source(source)
os.makedirs(os.path.dirname(target), exist_ok=True)
open(target, "wb").write(made)
"#;
const TEXT: &str =
    "def f(x):\n    return x + 1\n\nclass C:\n    names = {'a', 'b', 'c'}\n    big = 1 << 70\n";
const OTHER: &str = "def f(x):\n    return x + 1\n\nclass C:\n    names = {'a', 'b', 'c'}\n    def hidden(self):\n        return 'marker'\n";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// `None` where the machine has no Python to ask.
    fn new() -> Option<Self> {
        if !Path::new(PYTHON).exists() {
            println!("not checked: there is no {PYTHON}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("site")).unwrap();
        Some(Self { folder })
    }

    fn source(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join("site").join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn make(&self, source: &Path, text: &str, how: &str) {
        let made = Command::new(PYTHON)
            .args(["-I", "-S", "-c", MAKE])
            .arg(source)
            .args([text, how])
            .status();
        assert!(made.unwrap().success());
        let _ = self;
    }

    fn snapshot(&self) -> Snapshot {
        let mut layout = Layout::new();
        layout.add_root("site", RootKind::Site, self.folder.path().join("site"));
        let options = Options::new(SystemTime::now(), 1);
        environment::scan(&layout, &mut Cache::empty(), &options)
    }

    fn memory(&self) -> Memory {
        Memory {
            path: self.folder.path().join("cache/code"),
            secret: [7; 32],
        }
    }

    fn report(&self) -> Report {
        check(Path::new(PYTHON), &self.snapshot(), None, self.memory()).unwrap()
    }
}

fn words(report: &Report) -> String {
    match &report.wrong.first().unwrap().fault {
        Fault::Differs(words) => words.join("\n"),
        other => format!("{other:?}"),
    }
}

#[test]
fn honest_byte_code_is_the_same_however_it_is_tied_and_wherever_it_was_compiled() {
    let Some(place) = Place::new() else { return };
    for how in ["time", "checked", "unchecked"] {
        let source = place.source(&format!("{how}.py"), TEXT);
        place.make(&source, TEXT, how);
    }
    let report = place.report();
    assert!(report.wrong.is_empty(), "{report:?}");
    assert_eq!((report.same, report.unchecked, report.known), (3, 1, 0));
    let again = place.report();
    assert_eq!((again.same, again.unchecked), (3, 1));
    assert!(again.known >= 2, "at most one is looked at anew: {again:?}");
}

#[test]
fn other_code_under_a_true_header_is_wrong_and_what_differs_is_told() {
    let Some(place) = Place::new() else { return };
    for how in ["time", "checked", "unchecked"] {
        let source = place.source("m.py", TEXT);
        place.make(&source, OTHER, how);
        let report = place.report();
        assert_eq!(report.wrong.len(), 1, "{how}: {report:?}");
        let told = words(&report);
        assert!(told.contains("hidden") && told.contains('C'), "{told}");
        assert_eq!(report.same, 0);
        // Known from before is what was right, never what was wrong.
        assert_eq!(place.report().wrong.len(), 1);
    }
}

#[test]
fn one_changed_constant_is_told_with_both_values() {
    let Some(place) = Place::new() else { return };
    let source = place.source("m.py", TEXT);
    place.make(&source, &TEXT.replace("x + 1", "x + 777"), "time");
    let told = words(&place.report());
    assert!(told.contains("f: ") && told.contains("777"), "{told}");
}

#[test]
fn byte_code_that_would_not_be_used_is_not_wrong() {
    let Some(place) = Place::new() else { return };
    let source = place.source("m.py", TEXT);
    place.make(&source, OTHER, "stale");
    let report = place.report();
    assert_eq!((report.unused, report.wrong.len()), (1, 0), "{report:?}");
    place.make(&source, OTHER, "checked");
    fs::write(&source, format!("{TEXT}# edited\n")).unwrap();
    let report = place.report();
    assert_eq!((report.unused, report.wrong.len()), (1, 0), "{report:?}");
}

#[test]
fn an_unchecked_hash_is_wrong_as_soon_as_its_source_is_another() {
    let Some(place) = Place::new() else { return };
    let source = place.source("m.py", TEXT);
    place.make(&source, TEXT, "unchecked");
    assert!(place.report().wrong.is_empty());
    fs::write(&source, TEXT.replace("x + 1", "x + 2")).unwrap();
    let report = place.report();
    assert_eq!(report.wrong.len(), 1, "{report:?}");
    assert!(matches!(
        report.wrong.first().unwrap().tie,
        environment::compiled::Tie::Unchecked(_)
    ));
}

#[test]
fn what_is_no_byte_code_behind_a_true_header_is_wrong_and_never_given_to_python() {
    let Some(place) = Place::new() else { return };
    let deep = "(\u{1}\0\0\0".repeat(100_000);
    for hostile in ["", "N", "\u{e3}", "r\0\0\0\0", deep.as_str()] {
        let source = place.source("m.py", TEXT);
        // The bytes are put in here: an argument cannot hold all of them.
        place.make(&source, "", "bytes");
        let cached = fs::read_dir(source.with_file_name("__pycache__")).unwrap();
        let file = cached.map(|entry| entry.unwrap().path()).next().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend(hostile.chars().map(|one| one as u8));
        fs::write(&file, bytes).unwrap();
        let report = place.report();
        let fault = report.wrong.first().map(|wrong| &wrong.fault);
        assert!(matches!(fault, Some(Fault::Unreadable(_))), "{report:?}");
    }
}

#[test]
fn byte_code_of_a_source_that_is_no_program_is_wrong() {
    let Some(place) = Place::new() else { return };
    let source = place.source("m.py", "def broken(:\n");
    place.make(&source, TEXT, "time");
    let report = place.report();
    let fault = report.wrong.first().map(|wrong| &wrong.fault);
    assert!(
        matches!(fault, Some(Fault::NoProgram(word)) if word == "SyntaxError"),
        "{report:?}"
    );
}

#[test]
fn byte_code_in_the_place_of_a_source_is_listed() {
    let Some(place) = Place::new() else { return };
    place.source("alone.pyc", "anything");
    let report = place.report();
    let names: Vec<_> = report.sourceless.iter().map(PathText::as_str).collect();
    assert_eq!(names, ["site/alone.pyc"]);
}

#[test]
fn what_somebody_waits_for_is_judged_although_the_end_has_come_and_the_rest_is_pending() {
    let Some(place) = Place::new() else { return };
    for number in 0..3 {
        let source = place.source(&format!("m{number}.py"), TEXT);
        place.make(&source, OTHER, "time");
    }
    let outside = place.folder.path().join("own.py");
    fs::write(&outside, TEXT).unwrap();
    place.make(&outside, OTHER, "time");
    let control = Control {
        grace: Some(Duration::ZERO),
        ..Control::default()
    };
    let wanted = place.folder.path().join("site/m1.py");
    control.want([wanted, outside].map(|path| PathText::from(path.as_path())));
    let (snapshot, helpers) = (place.snapshot(), Helpers::default());
    let check = Check::prepare(Path::new(PYTHON), &snapshot, None, place.memory(), &helpers);
    let mut told = Vec::new();
    let report = check
        .unwrap()
        .finish(&control, &mut |wrong| told.push(wrong.source.clone()));
    assert_eq!((report.wrong.len(), report.pending), (2, 2), "{report:?}");
    assert_eq!(told.first().map(PathText::as_str), Some("site/m1.py"));
    assert!(told.last().unwrap().as_str().ends_with("/own.py"));
}

#[test]
fn a_hostile_interpreter_is_an_error_and_not_a_clean_answer() {
    let Some(place) = Place::new() else { return };
    let python = place.folder.path().join("python");
    fs::write(&python, "#!/bin/sh\necho hello\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&python, mode).unwrap();
    assert!(check(&python, &place.snapshot(), None, place.memory()).is_err());
}
