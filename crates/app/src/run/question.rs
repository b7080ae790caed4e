//! What is asked about, and what loading it would do: a file, an open descriptor, or a folder with all that is below it.
//!
//! Whoever asks wants no exceptions, so what cannot be examined (unreadable, over a limit, a fault of ours) is a gap of the
//! examination here, and who answers refuses it. A folder is walked as a loader could walk it: into subfolders and through
//! links, each folder once, within limits. Who asks, over what, and what is answered, this does not know.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::PathText;
use domain::scan::{Examination, GapKind, Weight};
use domain::sensor::Ask;

use super::examined::of_file;
use crate::examination::only_gap;

/// What a folder may hold. One that holds more is not answered for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Files and folders in all.
    pub(super) entries: usize,
    /// Folders within folders.
    pub(super) depth: usize,
    /// How long the walk through a folder may take: looked at before each file, so the last one comes on top. The job's side
    /// waits longer, so that it gets the reason.
    pub(super) time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            depth: 32,
            time: Duration::from_secs(100),
        }
    }
}

/// The file that decides the answer, and what was learnt of it.
#[derive(Debug)]
pub(super) struct Learnt {
    /// What a person calls it.
    pub(super) path: PathText,
    /// What loading it would do.
    pub(super) examination: Examination,
}

impl Learnt {
    /// How much speaks against loading it: danger first, then what is not known.
    fn severity(&self) -> (bool, bool, Option<Weight>) {
        let weight = self.examination.weight();
        let dangerous = weight == Some(Weight::Dangerous);
        (dangerous, !self.examination.is_complete(), weight)
    }
}

/// Examines what process `pid` asks about.
pub(super) fn learn(ask: &Ask, pid: u32, limits: Limits) -> Learnt {
    let learnt = |examination| Learnt {
        path: ask.name.clone(),
        examination,
    };
    let path = match (ask.descriptor, &ask.path) {
        (Some(descriptor), _) => PathBuf::from(format!("/proc/{pid}/fd/{descriptor}")),
        (None, Some(path)) => PathBuf::from(OsString::from_vec(path.to_bytes())),
        (None, None) => {
            let what = "the question names nothing".to_owned();
            return learnt(only_gap(GapKind::NotAFile, what));
        }
    };
    match open(&path) {
        Err(error) => learnt(unreadable(&error)),
        Ok(Met::Neither) => learnt(no_file()),
        // A descriptor of a folder is read where it leads to; nothing below it has a descriptor.
        Ok(Met::Folder) => folder(&path, &ask.name, limits),
        Ok(Met::File(file, size)) => learnt(as_pickle(&file, size, ask)),
    }
}

/// What stands at a path.
enum Met {
    Folder,
    /// A regular file, open, and its size in bytes.
    File(File, u64),
    /// A device, a pipe, a socket.
    Neither,
}

/// Opens a file, and nothing else: opening alone can be an act. A device may start something, and who waits to write into a
/// pipe goes on. Links are followed, as a loader would.
fn open(path: &Path) -> io::Result<Met> {
    let meta = path.metadata()?;
    if !meta.is_file() {
        return Ok(not_a_file(&meta));
    }
    let file = File::options()
        .read(true)
        // A pipe that came in between would hold the answer up.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let meta = file.metadata()?;
    Ok(if meta.is_file() {
        Met::File(file, meta.len())
    } else {
        not_a_file(&meta)
    })
}

fn not_a_file(meta: &Metadata) -> Met {
    if meta.is_dir() {
        Met::Folder
    } else {
        Met::Neither
    }
}

/// Who asks about one file is about to unpickle what is in it, whether it looks like a pickle or not: where nothing was
/// recognised, it is examined as one. Where nothing is left to read, the loader's own error says so.
fn as_pickle(file: &File, size: u64, ask: &Ask) -> Examination {
    let examination = of_file(file, size, ask.offset, &ask.name);
    let nothing = examination.formats.is_empty() && examination.is_complete();
    if !nothing || size <= ask.offset {
        return examination;
    }
    let name = PathText::from_bytes(b"data.pkl");
    of_file(file, size, ask.offset, &name)
}

fn unreadable(error: &io::Error) -> Examination {
    only_gap(GapKind::Unreadable, format!("it cannot be read: {error}"))
}

fn no_file() -> Examination {
    only_gap(GapKind::NotAFile, "it is no regular file".to_owned())
}

/// A checkpoint in many files: the worst of them answers.
fn folder(top: &Path, name: &PathText, limits: Limits) -> Learnt {
    let mut walk = Walk {
        limits,
        began: Instant::now(),
        entries: 0,
        been: HashSet::new(),
        waiting: vec![(top.to_owned(), 0)],
        worst: Learnt {
            path: name.clone(),
            examination: Examination::default(),
        },
    };
    while let Some((folder, depth)) = walk.waiting.pop() {
        if let Err((path, kind, what)) = walk.enter(&folder, depth) {
            walk.judge(PathText::from(path.as_path()), only_gap(kind, what));
        }
        if walk.is_decided() {
            break;
        }
    }
    walk.worst
}

/// Why the walk does not go on at a path.
type Stopped = (PathBuf, GapKind, String);

struct Walk {
    limits: Limits,
    began: Instant,
    entries: usize,
    /// Folders by device and inode: a link back up is no way to walk for ever.
    been: HashSet<(u64, u64)>,
    waiting: Vec<(PathBuf, usize)>,
    worst: Learnt,
}

impl Walk {
    fn enter(&mut self, folder: &Path, depth: usize) -> Result<(), Stopped> {
        let failed = |error: io::Error| (folder.to_owned(), GapKind::Unreadable, error.to_string());
        let meta = folder.metadata().map_err(failed)?;
        if !self.been.insert((meta.dev(), meta.ino())) {
            return Ok(());
        }
        for entry in folder.read_dir().map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            self.entries += 1;
            self.within_limits(&path)?;
            let name = PathText::from(path.as_path());
            match open(&path) {
                Err(error) => self.judge(name, unreadable(&error)),
                Ok(Met::Neither) => self.judge(name, no_file()),
                Ok(Met::Folder) if depth >= self.limits.depth => {
                    let what = format!("more than {} folders deep", self.limits.depth);
                    self.judge(name, only_gap(GapKind::TooDeep, what));
                }
                Ok(Met::Folder) => self.waiting.push((path, depth + 1)),
                Ok(Met::File(file, size)) => {
                    let examination = of_file(&file, size, 0, &name);
                    self.judge(name, examination);
                }
            }
            if self.is_decided() {
                break;
            }
        }
        Ok(())
    }

    fn within_limits(&mut self, path: &Path) -> Result<(), Stopped> {
        let Limits { entries, time, .. } = self.limits;
        let (kind, what) = if self.entries > entries {
            (
                GapKind::Limit,
                format!("the folder holds more than {entries} files"),
            )
        } else if self.began.elapsed() > time {
            (
                GapKind::TimedOut,
                format!("its files take more than {} s", time.as_secs()),
            )
        } else {
            return Ok(());
        };
        self.waiting.clear();
        Err((path.to_owned(), kind, what))
    }

    fn judge(&mut self, path: PathText, examination: Examination) {
        let learnt = Learnt { path, examination };
        if learnt.severity() > self.worst.severity() {
            self.worst = learnt;
        }
    }

    /// Nothing that is still to come could change the answer.
    fn is_decided(&self) -> bool {
        self.worst.severity().0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A pickle that would print; it is never loaded.
    const PAYLOAD: &[u8] = b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x04pass\x85R.";
    const PLAIN: &[u8] = b"\x80\x04K\x01.";

    fn ask(path: &Path) -> Ask {
        Ask {
            protocol: domain::sensor::PROTOCOL,
            path: Some(PathText::from(path)),
            descriptor: None,
            offset: 0,
            name: PathText::from(path),
            loader: "pickle.load".to_owned(),
        }
    }

    fn learnt(path: &Path) -> Learnt {
        learn(&ask(path), std::process::id(), Limits::default())
    }

    fn is_admitted(learnt: &Learnt) -> bool {
        learnt.examination.weight().is_none() && learnt.examination.is_complete()
    }

    #[test]
    fn a_payload_is_found_wherever_in_a_folder_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("a/.hidden")).unwrap();
        fs::write(top.join("plain.pkl"), PLAIN).unwrap();
        assert!(is_admitted(&learnt(&top)));
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let bad = elsewhere.join("bad.pkl");
        fs::write(&bad, PAYLOAD).unwrap();
        let places = [
            ("a/.hidden/0.pkl", None),
            ("link.pkl", Some(&bad)),
            ("a/link", Some(&elsewhere)),
        ];
        for (place, target) in places {
            let path = top.join(place);
            match target {
                Some(target) => symlink(target, &path).unwrap(),
                None => fs::write(&path, PAYLOAD).unwrap(),
            }
            let learnt = learnt(&top);
            assert_eq!(
                learnt.examination.weight(),
                Some(Weight::Dangerous),
                "{place}"
            );
            assert!(learnt.path.as_str().contains(place), "{}", learnt.path);
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn what_is_about_to_be_unpickled_is_examined_as_a_pickle_whatever_it_looks_like() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.mar");
        // It breaks off, after it has changed the modules of whoever loads it.
        fs::write(
            &path,
            b"csys\nmodules\nK\x010X\x04\x00\x00\x00jsonccollections\nabc\ns0000.",
        )
        .unwrap();
        let heavy = learnt(&path).examination.weight();
        assert_eq!(heavy, Some(Weight::Dangerous));
        fs::write(&path, b"I1\n.").unwrap();
        assert!(is_admitted(&learnt(&path)));
        fs::write(&path, b"").unwrap();
        assert!(
            is_admitted(&learnt(&path)),
            "the loader says that it is empty"
        );
        // Nothing happens before its first byte, which is no opcode: that too is the loader's own error.
        fs::write(&path, b"no pickle at all").unwrap();
        assert!(is_admitted(&learnt(&path)));
    }

    #[test]
    fn a_folder_that_leads_back_into_itself_comes_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plain.pkl"), PLAIN).unwrap();
        symlink(folder.path(), folder.path().join("again")).unwrap();
        let one = folder.path().join("one");
        fs::create_dir(&one).unwrap();
        symlink(folder.path(), one.join("round")).unwrap();
        assert!(is_admitted(&learnt(folder.path())));
    }

    #[test]
    fn what_cannot_be_examined_is_a_gap_of_the_whole_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plain.pkl"), PLAIN).unwrap();
        let broken = folder.path().join("nowhere");
        symlink("/nowhere/at/all", &broken).unwrap();
        let kinds = |learnt: &Learnt| -> Vec<GapKind> {
            learnt.examination.gaps.iter().map(|gap| gap.kind).collect()
        };
        assert_eq!(kinds(&learnt(folder.path())), [GapKind::Unreadable]);
        fs::remove_file(&broken).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
        assert_eq!(kinds(&learnt(folder.path())), [GapKind::NotAFile]);
        drop(socket);
        fs::remove_file(folder.path().join("s")).unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(kinds(&learnt(folder.path())), [GapKind::NotAFile]);
        assert_eq!(kinds(&learnt(&pipe)), [GapKind::NotAFile]);
        assert_eq!(kinds(&learnt(Path::new("/nowhere"))), [GapKind::Unreadable]);
    }

    /// `.metadata` of a distributed checkpoint whose one item lies in `part`.
    fn metadata(part: &str) -> Vec<u8> {
        let mut bytes =
            b"\x80\x02ctorch.distributed.checkpoint.filesystem\n_StorageInfo\n)\x81}(".to_vec();
        bytes.extend(b"U\x0drelative_pathU");
        bytes.push(u8::try_from(part.len()).unwrap());
        bytes.extend(part.as_bytes());
        bytes.extend(b"U\x06offsetK\0U\x06lengthK");
        bytes.push(u8::try_from(PLAIN.len()).unwrap());
        bytes.extend(b"ub.");
        bytes
    }

    #[test]
    fn what_a_set_of_files_shows_only_together_is_a_part_of_the_answer() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join(".metadata");
        for (part, weight) in [
            ("__0_0.distcp", None),
            // That it is not there is the loader's own error.
            ("__9_0.distcp", None),
            ("../outside/__0_0.distcp", Some(Weight::Dangerous)),
        ] {
            fs::write(folder.path().join("__0_0.distcp"), PLAIN).unwrap();
            fs::write(&named, metadata(part)).unwrap();
            for asked in [folder.path(), named.as_path()] {
                let learnt = learnt(asked);
                let told = learnt.examination;
                let heavy = told.weight().filter(|weight| *weight > Weight::Note);
                assert_eq!(heavy, weight, "{part}");
                assert!(told.is_complete(), "{part}: {:?}", told.gaps);
            }
        }
    }

    #[test]
    fn what_is_neither_file_nor_folder_is_not_even_opened() {
        use rustix::fs::{FileType, Mode, inotify, mknodat};

        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let pipe = outside.path().join("pipe");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        symlink(&pipe, folder.path().join("link")).unwrap();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, &pipe, inotify::WatchFlags::OPEN).unwrap();
        let was_opened = || {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 512];
            inotify::Reader::new(&watch, &mut buffer).next().is_ok()
        };
        assert!(!is_admitted(&learnt(folder.path())));
        assert!(!is_admitted(&learnt(&pipe)));
        assert!(!was_opened());
        // A reader and writer in one does not wait for the other end.
        File::options().read(true).write(true).open(&pipe).unwrap();
        assert!(was_opened(), "the kernel tells of it");
    }

    #[test]
    fn a_folder_over_a_limit_is_not_answered_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b/c")).unwrap();
        for name in ["1", "a/2", "a/b/3", "a/b/c/4"] {
            fs::write(folder.path().join(name), PLAIN).unwrap();
        }
        let kind = |limits| {
            let learnt = learn(&ask(folder.path()), std::process::id(), limits);
            learnt.examination.gaps.first().map(|gap| gap.kind)
        };
        let enough = Limits {
            entries: 7,
            depth: 3,
            ..Limits::default()
        };
        assert_eq!(kind(enough), None);
        let few = Limits {
            entries: 6,
            ..enough
        };
        assert_eq!(kind(few), Some(GapKind::Limit));
        let flat = Limits { depth: 2, ..enough };
        assert_eq!(kind(flat), Some(GapKind::TooDeep));
        let short = Limits {
            time: Duration::ZERO,
            ..enough
        };
        assert_eq!(kind(short), Some(GapKind::TimedOut));
    }
}
