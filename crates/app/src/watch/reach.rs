//! Who may read or write a file by its owner, group and mode. Access lists are not read: they may allow more, or less.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

/// No honest local file of groups or accounts is larger.
const FILE_MAX: u64 = 4 << 20;

/// What a user may do, by number and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) groups: Vec<u32>,
}

impl Account {
    /// Whether it may do to a file what `bit` says: 4 read, 2 write, 1 search.
    pub(super) fn may(&self, bit: u32, mode: u32, uid: u32, gid: u32) -> bool {
        let shift = match () {
            () if self.uid == 0 => return true,
            () if self.uid == uid => 6,
            () if self.groups.contains(&gid) => 3,
            () => 0,
        };
        mode >> shift & bit != 0
    }

    fn may_meta(&self, bit: u32, meta: &Metadata) -> bool {
        self.may(bit, meta.mode(), meta.uid(), meta.gid())
    }

    /// Whether it could find `path` by going down from `top`, which it may read: each folder on the way can be searched, and the last one listed.
    pub(super) fn may_find(&self, top: &Path, path: &Path) -> bool {
        if self.uid == 0 {
            return true;
        }
        let mut folder = path.parent();
        let mut is_last = true;
        while let Some(at) = folder {
            // What is gone cannot be asked; the folders above it can.
            if let Ok(meta) = at.symlink_metadata() {
                let bits = if is_last { [4, 1] } else { [1, 1] };
                if !bits.iter().all(|bit| self.may_meta(*bit, &meta)) {
                    return false;
                }
                is_last = false;
            }
            if at == top {
                return true;
            }
            folder = at.parent();
        }
        path == top
    }
}

/// Whether an account may write a file, or put another one in its place.
pub(super) fn may_write(
    account: &Account,
    file: Option<&Metadata>,
    folder: Option<&Metadata>,
) -> bool {
    let into = |meta: &Metadata| account.may_meta(2, meta);
    if file.is_some_and(into) {
        return true;
    }
    let Some(folder) = folder else { return false };
    // In a folder with the sticky bit only owners replace what is there.
    let is_kept = folder.mode() & 0o1000 != 0
        && file.is_some_and(|file| file.uid() != account.uid)
        && folder.uid() != account.uid
        && account.uid != 0;
    into(folder) && account.may_meta(1, folder) && !is_kept
}

/// The groups of accounts, by the local files; those of a directory service are not there.
#[derive(Debug, Default)]
pub(super) struct Groups {
    read: Option<(Option<SystemTime>, Option<SystemTime>)>,
    of: HashMap<u32, Vec<u32>>,
}

impl Groups {
    /// An account with the groups that it has now.
    pub(super) fn account(&mut self, uid: u32) -> Account {
        let changed = |path: &str| {
            std::fs::metadata(path)
                .and_then(|meta| meta.modified())
                .ok()
        };
        let stamp = (changed("/etc/passwd"), changed("/etc/group"));
        if self.read != Some(stamp) {
            self.read = Some(stamp);
            self.of = groups(&text("/etc/passwd"), &text("/etc/group"));
        }
        Account {
            uid,
            groups: self.of.get(&uid).cloned().unwrap_or_default(),
        }
    }
}

fn text(path: &str) -> String {
    let bytes = crate::bounded::read(Path::new(path), FILE_MAX);
    bytes.map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

fn groups(passwd: &str, group: &str) -> HashMap<u32, Vec<u32>> {
    let mut of: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut by_name: HashMap<&str, u32> = HashMap::new();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let (Some(name), Some(uid), Some(gid)) = (fields.first(), fields.get(2), fields.get(3))
        else {
            continue;
        };
        if let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) {
            by_name.insert(name, uid);
            of.entry(uid).or_default().push(gid);
        }
    }
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let (Some(gid), Some(members)) = (fields.get(2), fields.get(3)) else {
            continue;
        };
        let Ok(gid) = gid.parse() else { continue };
        for member in members.split(',') {
            if let Some(uid) = by_name.get(member) {
                of.entry(*uid).or_default().push(gid);
            }
        }
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_group_and_others_are_told_apart_as_the_kernel_does() {
        let of = |uid, groups: &[u32]| Account {
            uid,
            groups: groups.to_vec(),
        };
        // The owner counts as the owner even where others may more.
        assert!(!of(5, &[]).may(2, 0o022, 5, 9));
        assert!(of(6, &[9]).may(2, 0o020, 5, 9) && !of(6, &[9]).may(2, 0o002, 5, 9));
        assert!(of(6, &[]).may(2, 0o002, 5, 9) && of(0, &[]).may(2, 0, 5, 9));
    }

    #[test]
    fn groups_are_joined_by_name_and_broken_lines_hide_none() {
        let passwd = "root:x:0:0::/:/bin/sh\nbroken\nada:x:7:70::/:/bin/sh\nx:x:y:z\n";
        let group = "root:x:0:\nml:x:80:ada,nobody\nhalf\nbad:x:no:ada\n";
        let of = groups(passwd, group);
        assert_eq!(of.get(&7), Some(&vec![70, 80]));
        assert_eq!(of.get(&0), Some(&vec![0]));
    }

    #[test]
    fn what_lies_in_a_closed_folder_is_not_found() {
        use std::os::unix::fs::PermissionsExt as _;
        let top = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let (open, closed) = (top.path().join("open"), top.path().join("closed"));
        for folder in [&open, &closed] {
            std::fs::create_dir(folder).unwrap();
        }
        mode(top.path(), 0o755);
        mode(&open, 0o755);
        mode(&closed, 0o700);
        let owner = top.path().metadata().unwrap().uid();
        let stranger = Account {
            uid: owner + 1,
            groups: Vec::new(),
        };
        assert!(stranger.may_find(top.path(), &open.join("a")));
        assert!(!stranger.may_find(top.path(), &closed.join("a")));
        assert!(
            !stranger.may_find(&open, &closed.join("a")),
            "it is not below"
        );
        // What was deleted with its folder is told by the folders above it.
        assert!(stranger.may_find(top.path(), &open.join("gone/a")));
        let meta = |path: &Path| path.metadata().unwrap();
        assert!(!may_write(&stranger, None, Some(&meta(&open))));
        mode(&open, 0o777);
        assert!(may_write(&stranger, None, Some(&meta(&open))));
        mode(&open, 0o1777);
        std::fs::write(open.join("a"), "").unwrap();
        mode(&open.join("a"), 0o644);
        let file = meta(&open.join("a"));
        assert!(!may_write(&stranger, Some(&file), Some(&meta(&open))));
    }
}
