//! One look at one file: what it is, and what is in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use domain::Hasher;
use domain::entry::Identity;

use super::Now;
use crate::run::files;

/// Content up to this size is kept, so that what differed can be told.
const KEPT_BYTES_MAX: u64 = 1 << 20;
/// Files up to this size are read; what a larger one holds is the scan's at the end to tell.
const READ_BYTES_MAX: u64 = 16 << 30;
const BUFFER_BYTES: usize = 256 << 10;

/// What is at a path.
pub(super) enum Look {
    /// A file, nothing, or what is not read.
    At(Option<Identity>, Now),
    /// A folder.
    Folder,
    /// A file that changed while it was read: look again.
    Unsettled(Identity),
}

/// Size and times of what is at a path, links followed; nothing for what is no file.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    let meta = path.metadata().ok()?;
    meta.is_file().then(|| files::identity(&meta))
}

/// Reads what is at a path.
pub(super) fn look(path: &Path) -> Look {
    let mut options = std::fs::OpenOptions::new();
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let opened = options
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((meta, _)) if meta.is_dir() => Look::Folder,
        Ok((meta, file)) if meta.is_file() => read(&file, files::identity(&meta)),
        Ok(_) => Look::At(None, Now::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let link = path.symlink_metadata().is_ok();
            Look::At(None, if link { Now::Other } else { Now::Gone })
        }
        Err(error) => Look::At(identity(path), unread(&error)),
    }
}

fn read(file: &File, identity: Identity) -> Look {
    if identity.size > READ_BYTES_MAX {
        let why = format!("it is larger than {READ_BYTES_MAX} bytes");
        return Look::At(Some(identity), unknown(why));
    }
    let mut content = (identity.size <= KEPT_BYTES_MAX).then(Vec::new);
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut offset = 0;
    while offset < identity.size {
        let read = match file.read_at(&mut buffer, offset) {
            Ok(read) => read,
            Err(error) => return Look::At(Some(identity), unread(&error)),
        };
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return Look::Unsettled(identity);
        };
        hasher.update(piece);
        if let Some(content) = &mut content {
            content.extend_from_slice(piece);
        }
        offset += read as u64;
    }
    let after = file.metadata().map(|meta| files::identity(&meta));
    if after.is_ok_and(|after| after == identity) && offset == identity.size {
        let now = Now::File {
            digest: Some(hasher.finish()),
            content,
            why: None,
        };
        return Look::At(Some(identity), now);
    }
    Look::Unsettled(identity)
}

fn unread(error: &io::Error) -> Now {
    unknown(format!("it cannot be read: {error}"))
}

/// A file of which nobody knows what is in it.
pub(super) fn unknown(why: String) -> Now {
    Now::File {
        digest: None,
        content: None,
        why: Some(why),
    }
}
