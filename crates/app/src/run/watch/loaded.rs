//! Loaded files outside of the environments: the project's own sources, configuration, mapped libraries.
//!
//! People edit code while a run is going, and what Python has loaded stays as it was: that is a note. It is a finding once
//! another process of the run loads the file again, for then the run has two versions of it. A forked process says the modules
//! of its parent and loads nothing. A library that is overwritten in place changes in the memory of whoever maps it.

use domain::entry::{Identity, Kind};
use domain::{Digest, PathText};

use super::cases::CASES_MAX;
use super::told::State;
use super::{Now, Order, Seen, Touch, words};
use crate::run::event::Connection;
use crate::run::recorder::Recorder;
use crate::run::ways::local;

/// A file outside of the environments that was loaded.
pub(super) struct Loaded {
    kind: Kind,
    digest: Digest,
    identity: Identity,
    other: Option<Changed>,
}

/// It is another one now.
pub(super) struct Changed {
    digest: Option<Digest>,
    at_us: i64,
    step: Option<u64>,
    blob: Option<Digest>,
}

impl State {
    /// A file outside of the environments was loaded with this content: watched from here on.
    pub(in crate::run) fn loaded(
        &mut self,
        kind: Kind,
        path: &PathText,
        digest: Digest,
        identity: &Identity,
    ) {
        let code = matches!(kind, Kind::Script | Kind::Config | Kind::Mapped);
        if !code || self.loaded.contains_key(path) {
            return;
        }
        if self.loaded.len() >= CASES_MAX {
            self.unfollowed += 1;
            return;
        }
        let loaded = Loaded {
            kind,
            digest,
            identity: identity.clone(),
            other: None,
        };
        self.loaded.insert(path.clone(), loaded);
        self.watching
            .order(Order::Alone(local(path), identity.clone()));
    }
}

impl Recorder<'_> {
    /// A loaded file outside of the environments was touched.
    pub(super) fn loaded_seen(&mut self, seen: Seen) {
        let step = self.lowest_step();
        let (digest, content) = match seen.now {
            Now::File {
                digest, content, ..
            } => (digest, content),
            _ => (None, None),
        };
        let Some(loaded) = self.watch.loaded.get_mut(&seen.path) else {
            return;
        };
        let same = digest == Some(loaded.digest);
        let was_other = loaded.other.as_ref().map(|it| it.digest);
        // Of another file under the same name nobody knows the old one's bytes, whatever its number.
        let members = self.members.values().filter(|it| it.outcome.is_none());
        let in_place = !seen.touch.has(Touch::GONE.and(Touch::COME))
            && members.into_iter().any(|it| it.mapped.contains(&seen.path))
            && seen.identity.as_ref().is_some_and(|now| {
                (now.dev, now.ino) == (loaded.identity.dev, loaded.identity.ino)
            });
        let path = &seen.path;
        let at = words::time(seen.at_us);
        let after = words::after(step);
        if same {
            loaded.other = None;
            let written = seen.touch.may_have_changed() || seen.touch.has(Touch::UNHEARD);
            let how = match was_other {
                Some(_) => "it was another one, and is as it was loaded",
                None if written => "written to, and as it was loaded",
                None => return,
            };
            return self.gap(
                &format!("who touched {path}"),
                &format!("{how}, {at}, {after}"),
            );
        }
        if was_other == Some(digest) {
            return;
        }
        let (kind, before) = (loaded.kind, loaded.digest);
        let blob = content.filter(|_| kind != Kind::Mapped);
        let blob = blob.and_then(|content| self.journal.blob(&content));
        if let Some(loaded) = self.watch.loaded.get_mut(path) {
            loaded.other = Some(Changed {
                digest,
                at_us: seen.at_us,
                step,
                blob,
            });
        }
        if kind == Kind::Mapped && in_place && digest.is_some() {
            let one = words::Loaded {
                path,
                before,
                now: digest,
                at_us: seen.at_us,
                step,
                blob: None,
            };
            let finding = words::under_mapping(&one);
            return self.found_at(seen.at_us, self.with_users(finding, path));
        }
        let now = digest.map_or_else(|| "gone".to_owned(), |digest| digest.short());
        let what = format!("who changed {path}");
        let why = format!(
            "it was loaded as {} and is {now} since {at}, {after}: what was loaded stays as it was",
            before.short()
        );
        self.gap(&what, &why);
    }

    /// A process loaded these files: one that an earlier process loaded with other content is told.
    pub(in crate::run) fn loaded_again(&mut self, connection: Connection, files: &[PathText]) {
        if self.is_forked(connection) {
            return; // it has what its parent loaded, and loaded nothing
        }
        let Some(member) = self.members.get(&connection) else {
            return;
        };
        let (label, rank) = (member.label(), member.rank());
        let mut found = Vec::new();
        for path in files {
            if member.modules.contains(path) {
                continue;
            }
            let Some(loaded) = self.watch.loaded.get(path) else {
                continue;
            };
            if let Some(other) = loaded.other.as_ref().filter(|it| it.digest.is_some()) {
                let one = words::Loaded {
                    path,
                    before: loaded.digest,
                    now: other.digest,
                    at_us: other.at_us,
                    step: other.step,
                    blob: other.blob,
                };
                found.push(words::loaded_again(&one, &label, rank));
            }
        }
        for finding in found {
            self.found_at(host::clock::wall_us(), finding);
        }
    }

    /// Whether a process is a copy of another one that speaks: it was started with the very words of its parent.
    fn is_forked(&self, connection: Connection) -> bool {
        let Some(member) = self.members.get(&connection) else {
            return false;
        };
        let argv = |hello: &domain::sensor::Hello| hello.argv.clone();
        let own = member.hello.as_ref().map(argv);
        let parent = self
            .members
            .values()
            .find(|other| Some(other.process.pid) == member.parent);
        parent.is_some_and(|parent| parent.hello.as_ref().map(argv) == own)
    }
}
