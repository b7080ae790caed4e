//! What of a change an account is told: nothing that it could not find or read by itself.

use domain::watched::{Deed, FileChange};

use super::reach::Account;

/// A change for an account that may find its path, the path before, or both.
pub(super) fn told(change: &FileChange, account: &Account, sees: (bool, bool)) -> FileChange {
    let mut told = change.clone();
    match sees {
        (true, true) => {}
        // Where it came from is a place that the account could not find.
        (true, false) => told.from = None,
        // It went to such a place.
        (false, _) => {
            told.path = told.from.take().unwrap_or_default();
            told.after = None;
            told.before = None;
        }
    }
    let reads = told
        .after
        .as_ref()
        .is_some_and(|state| account.may(4, state.mode, state.uid, state.gid));
    if !reads {
        told.before = None;
        if let Some(state) = &mut told.after {
            state.digest = None;
        }
    }
    // What was there before under this name may have been closed to it.
    let same_file = told
        .deeds
        .iter()
        .all(|deed| matches!(deed, Deed::Written | Deed::Closed));
    if account.uid != 0 && !same_file {
        told.before = None;
    }
    told
}

#[cfg(test)]
mod tests {
    use domain::watched::{Actor, FileState, Known};
    use domain::{Digest, PathText};

    use super::*;

    fn change(mode: u32, deeds: &[Deed]) -> FileChange {
        FileChange {
            path: PathText::from_bytes(b"/a/new"),
            from: Some(PathText::from_bytes(b"/b/old")),
            deeds: deeds.to_vec(),
            folder: false,
            notices: 1,
            first_ns: 1,
            last_ns: 1,
            actor: Actor {
                pid: 1,
                known: Known::Unknown,
                party: None,
                became: None,
                executable: None,
                parents: Vec::new(),
                run: None,
            },
            after: Some(FileState {
                size: 1,
                dev: 1,
                ino: 1,
                mtime_ns: 1,
                ctime_ns: 1,
                mode,
                uid: 5,
                gid: 5,
                links: 1,
                digest: Some(Digest::of(b"after")),
                value: None,
            }),
            before: Some(Digest::of(b"before")),
            could: Vec::new(),
            could_more: 0,
        }
    }

    fn account(uid: u32) -> Account {
        Account {
            uid,
            groups: Vec::new(),
        }
    }

    #[test]
    fn a_digest_is_told_to_who_may_read_the_file() {
        let written = [Deed::Written];
        let digests = |mode, uid, deeds: &[Deed]| {
            let told = told(&change(mode, deeds), &account(uid), (true, true));
            (told.after.unwrap().digest.is_some(), told.before.is_some())
        };
        assert_eq!(digests(0o644, 7, &written), (true, true));
        assert_eq!(digests(0o600, 7, &written), (false, false));
        assert_eq!(digests(0o600, 5, &written), (true, true));
        assert_eq!(digests(0o600, 0, &[Deed::Renamed]), (true, true));
        // Another file may have been there.
        assert_eq!(digests(0o644, 7, &[Deed::Renamed]), (true, false));
    }

    #[test]
    fn a_place_that_the_account_could_not_find_is_not_named() {
        let all = change(0o644, &[Deed::Renamed]);
        let from = told(&all, &account(7), (true, false));
        assert!(from.from.is_none() && from.path.as_str() == "/a/new");
        let gone = told(&all, &account(7), (false, true));
        assert_eq!((gone.path.as_str(), gone.from), ("/b/old", None));
        assert!(gone.after.is_none());
    }
}
