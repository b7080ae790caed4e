//! Where signatures lie: in a folder beside what they sign, under names that the signature itself leaves out.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use trust::measure::Model;
use trust::name::Name;

use super::SealError;

/// The two files.
pub(crate) struct Files {
    /// The model signature.
    pub(crate) bundle: PathBuf,
    /// The seal.
    pub(crate) seal: PathBuf,
}

impl Files {
    /// `model.sig` and `model.seal` in a folder, `NAME.sig` and `NAME.seal` beside a file, or what the user named.
    pub(crate) fn of(model: &Model, named: Option<&Path>) -> Self {
        let (bundle, seal) = match (named, model.single()) {
            (Some(named), _) if named.extension().is_some_and(|it| it == "sig") => {
                (named.to_owned(), named.with_extension("seal"))
            }
            (Some(named), _) => (named.to_owned(), with(named, ".seal")),
            (None, None) => {
                let at = |name| model.path().join(name);
                (at("model.sig"), at("model.seal"))
            }
            (None, Some(_)) => (with(model.path(), ".sig"), with(model.path(), ".seal")),
        };
        Self { bundle, seal }
    }

    /// Their names in the model's folder, where they lie there.
    pub(crate) fn inside(&self, model: &Model) -> Vec<Name> {
        let all = [&self.bundle, &self.seal];
        all.into_iter()
            .filter_map(|file| name_inside(model, file))
            .collect()
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The name that `path` has in the model's folder; `None` where it lies elsewhere. It need not exist.
pub(crate) fn name_inside(model: &Model, path: &Path) -> Option<Name> {
    if model.single().is_some() {
        return None;
    }
    let path = std::path::absolute(path).ok()?;
    let folder = path.parent()?.canonicalize().ok()?;
    let below = folder.strip_prefix(model.path()).ok()?;
    let name = below.join(path.file_name()?);
    Name::new(name.to_str()?).ok()
}

/// Links that are followed on one way, as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// Whether a name is looked up in the model on the way to `path`, or the way ends there: then who made the model decides
/// where it leads. Links are followed one at a time, for one outside may lead in and out again.
pub(super) fn leads_through(path: &Path, model: &Model) -> bool {
    let Ok(path) = std::path::absolute(path) else {
        return false; // it has no place at all, and cannot be read
    };
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    let (mut at, mut left, mut links) = (PathBuf::from("/"), parts(&path), 0);
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
        } else if part == "/" {
            at = PathBuf::from("/");
        } else if part != "." {
            if at.starts_with(model.path()) {
                return true;
            }
            let next = at.join(&part);
            match std::fs::read_link(&next) {
                Ok(target) if links < MAX_LINKS => {
                    links += 1;
                    left.extend(parts(&target));
                }
                _ => at = next,
            }
        }
    }
    at.starts_with(model.path())
}

/// Whether files can be made in the folder of `path`; asked before anything is read.
pub(crate) fn can_write_beside(path: &Path) -> Result<(), SealError> {
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let folder = folder_of(path);
    let is_folder = std::fs::metadata(&folder).and_then(|facts| {
        let not = std::io::ErrorKind::NotADirectory;
        if facts.is_dir() {
            Ok(())
        } else {
            Err(not.into())
        }
    });
    let may = is_folder.and_then(|()| Ok(rustix::fs::access(&folder, access)?));
    may.map_err(failed(path))
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> SealError {
    move |source| SealError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Puts both texts in the place of what is there, which must be signatures or nothing. Without a model signature nothing is
/// valid and nothing invalid, so it goes first and comes last.
pub(crate) fn publish(files: &Files, bundle: &[u8], seal: &[u8]) -> Result<(), SealError> {
    let bundle = Ready::new(&files.bundle, bundle)?;
    let seal = Ready::new(&files.seal, seal)?;
    // Dying up to here leaves what was there before, and no other file.
    for path in [&files.bundle, &files.seal] {
        if !may_replace(path) {
            let path = path.clone();
            return Err(SealError::Occupied { path });
        }
    }
    clear(&files.bundle)?;
    clear(&files.seal)?;
    // Dying here leaves no signature, or before that the old seal without one; then, the new seal without one.
    seal.appear()?;
    bundle.appear()
}

/// Puts another text in the place of one signature, by one rename.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), SealError> {
    if !may_replace(path) {
        let path = path.to_owned();
        return Err(SealError::Occupied { path });
    }
    let temporary = with(path, &format!(".new-{}", std::process::id()));
    let written = std::fs::File::create_new(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    if written.is_err() {
        // Nothing that anybody asked for.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(failed(path))?;
    sync_folder(path)
}

/// Takes an old signature away, durably.
fn clear(path: &Path) -> Result<(), SealError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path)(error)),
    }
}

fn sync_folder(path: &Path) -> Result<(), SealError> {
    let folder = std::fs::File::open(folder_of(path));
    folder.and_then(|it| it.sync_all()).map_err(failed(path))
}

/// A text that is on the disk and has no name yet, so that nothing is left of it if we die.
struct Ready<'a> {
    path: &'a Path,
    file: std::fs::File,
    /// The name that it has where the file system knows no files without names.
    temporary: Option<PathBuf>,
}

impl<'a> Ready<'a> {
    fn new(path: &'a Path, bytes: &[u8]) -> Result<Self, SealError> {
        let nameless = std::fs::OpenOptions::new()
            .write(true)
            .custom_flags(rustix::fs::OFlags::TMPFILE.bits().cast_signed())
            .open(folder_of(path));
        // By this way it will get its name.
        let can_appear = Path::new("/proc/self/fd").is_dir();
        let mut ready = if let Some(file) = nameless.ok().filter(|_| can_appear) {
            Self {
                path,
                file,
                temporary: None,
            }
        } else {
            let temporary = with(path, &format!(".new-{}", std::process::id()));
            let file = std::fs::File::create_new(&temporary).map_err(failed(path))?;
            let temporary = Some(temporary);
            Self {
                path,
                file,
                temporary,
            }
        };
        let written = ready.file.write_all(bytes);
        let written = written.and_then(|()| ready.file.sync_all());
        written.map_err(failed(path))?;
        Ok(ready)
    }

    /// Gives it its name, durably; nothing that is there is replaced.
    fn appear(mut self) -> Result<(), SealError> {
        use rustix::fs::{AtFlags, CWD, linkat};
        let appeared = if let Some(temporary) = self.temporary.take() {
            let linked = std::fs::hard_link(&temporary, self.path);
            // Some file systems have no hard links either; there it may replace what came in between.
            let linked = linked.or_else(|_| std::fs::rename(&temporary, self.path));
            let _ = std::fs::remove_file(&temporary);
            linked
        } else {
            let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let follow = AtFlags::SYMLINK_FOLLOW;
            linkat(CWD, descriptor, CWD, self.path, follow).map_err(Into::into)
        };
        appeared.map_err(failed(self.path))?;
        sync_folder(self.path)
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing that anybody asked for.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

/// Whether nothing is there, or an older signature.
pub(crate) fn may_replace(path: &Path) -> bool {
    let Ok(facts) = std::fs::symlink_metadata(path) else {
        return true;
    };
    facts.is_file() && (facts.len() == 0 || is_signature(path))
}

fn is_signature(path: &Path) -> bool {
    use std::io::Read as _;
    use trust::statement::MAX_STATEMENT_BYTES;
    let mut first = [0; 1];
    // A look at the first byte spares reading a checkpoint whose name was typed by mistake.
    let begun = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
    if begun.is_err() || first != *b"{" {
        return false;
    }
    let Ok(bytes) = trust::keyfile::read(path, 64 * MAX_STATEMENT_BYTES) else {
        return false;
    };
    let limit = bytes.len() as u64;
    let is_envelope = trust::strict::from_slice::<trust::envelope::Envelope>(&bytes, limit).is_ok();
    is_envelope || trust::oms::Bundle::parse(&bytes, limit).is_ok()
}

/// The most bytes of a file that holds a statement of at most `limit` bytes: its base64, and what stands around it. The same
/// for who writes it and for who reads it.
pub(crate) fn most_bytes(limit: u64) -> u64 {
    limit.div_ceil(3).saturating_mul(4).saturating_add(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_way_through_the_model_is_seen_wherever_it_begins_and_ends() {
        let world = tempfile::tempdir().unwrap();
        let world = world.path().canonicalize().unwrap();
        let at = |name: &str| world.join(name);
        for folder in ["model/sub", "keys"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["model/own.pub", "keys/a.pub", "model.pub"] {
            std::fs::write(at(file), "").unwrap();
        }
        let link = |target: &str, name: &str| symlink(target, at(name)).unwrap();
        link(at("keys/a.pub").to_str().unwrap(), "model/out.pub");
        link("../keys", "model/keys");
        link("model", "also");
        link("../also/out.pub", "keys/round.pub");
        link("loop", "loop");
        let model = Model::open(&at("model")).unwrap();
        for inside in [
            "model/own.pub",
            "model/none.pub",
            "model/out.pub",
            "model/keys/a.pub",
            "also/out.pub",
            "keys/round.pub",
            "model/sub/../../keys/a.pub",
            "model",
        ] {
            assert!(leads_through(&at(inside), &model), "{inside}");
        }
        for outside in [
            "keys/a.pub",
            "model.pub",
            "model/../keys/a.pub",
            "also/../keys/a.pub",
            "loop",
            "none",
        ] {
            // `model/..` is no name in the model.
            assert!(!leads_through(&at(outside), &model), "{outside}");
        }
        let one = Model::open(&at("keys/a.pub")).unwrap();
        assert!(
            leads_through(&at("model/out.pub"), &one) && !leads_through(&at("model.pub"), &one)
        );
    }

    #[test]
    fn signatures_appear_whole_and_leave_nothing_else_behind() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            bundle: folder.path().join("model.sig"),
            seal: folder.path().join("model.seal"),
        };
        publish(&files, b"", b"").unwrap();
        publish(&files, b"one", b"two").unwrap();
        assert_eq!(std::fs::read(&files.bundle).unwrap(), b"one");
        assert_eq!(std::fs::read(&files.seal).unwrap(), b"two");
        // Neither is a signature: both stay.
        assert!(publish(&files, b"three", b"four").is_err());
        assert_eq!(std::fs::read(&files.bundle).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        let nowhere = folder.path().join("none/model.sig");
        assert!(can_write_beside(&nowhere).is_err());
        can_write_beside(&files.bundle).unwrap();
    }
}
