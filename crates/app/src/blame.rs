//! `taintline blame`: who wrote a file or these bytes, how well that is known, and who else could have.
//!
//! What the host's daemon saw, what runs saved and what they loaded is put in order of time. Nothing is concluded that does not stand in an
//! entry; a time in which nobody watched is said.

use std::collections::HashMap;
use std::path::PathBuf;

use domain::entry::{Act, Kind, Load, Write};
use domain::signals::Party;
use domain::watched::{Actor, Blind, FileChange};
use domain::{Body, Digest, Entry, Gap, Node, PathText, RunId, Tree};
use ledger::Store;
use report::blame::{BlameView, LinkView};
use report::time::rfc3339;

use crate::changes::{self, Places};
use crate::error::AppError;
use crate::party;
use crate::place::Surroundings;
use crate::run::EnvironmentSummary;

/// As many as lie in one file of a log.
const BATCH: u64 = 256;
/// What is shown at most: the newest.
const LINKS_MAX: usize = 1_000;

/// What is asked for.
enum Asked {
    Digest(Digest),
    /// As given, and as it is called with no links in its way.
    Path(Vec<PathText>),
}

/// What is being put together.
struct Search {
    asked: Asked,
    store: Store,
    links: Vec<(i64, LinkView)>,
    runs: HashMap<RunId, String>,
    /// When somebody began to watch, and the times in between.
    first_watch_us: Option<i64>,
    blind: Vec<Blind>,
    /// Trees by digest, and what they hold of what was asked for.
    trees: HashMap<(Digest, PathText), Vec<(PathText, Digest)>>,
    gaps: Vec<Gap>,
    /// The same change is in the daemon's log and in those of the runs that it told.
    seen: std::collections::HashSet<(PathText, u64, u32)>,
}

/// Who wrote a file, or bytes of this digest.
pub fn blame(surroundings: &Surroundings, asked: &str) -> Result<BlameView, AppError> {
    let store = Store::open(&surroundings.store_to_read()?)?;
    let mut search = Search {
        asked: read(surroundings, asked),
        store: store.clone(),
        links: Vec::new(),
        runs: HashMap::new(),
        first_watch_us: None,
        blind: Vec::new(),
        trees: HashMap::new(),
        gaps: Vec::new(),
        seen: std::collections::HashSet::new(),
    };
    for log in store.logs()? {
        let size = log.head()?.size;
        let mut next = 0;
        while next < size {
            let end = size.min((next / BATCH + 1) * BATCH);
            for (number, bytes) in (next..end).zip(log.entries(next..end)?) {
                if is_of_use(&bytes)
                    && let Ok(entry) = Entry::decode(&bytes)
                {
                    search.take(entry, (log.name().to_owned(), number));
                }
            }
            next = end;
        }
    }
    Ok(search.finish(asked))
}

/// A digest, or a path as it is called from here.
fn read(surroundings: &Surroundings, asked: &str) -> Asked {
    if let Ok(digest) = asked.parse() {
        return Asked::Digest(digest);
    }
    let given = surroundings.cwd.join(asked);
    let plain: PathBuf = given.components().collect();
    let mut paths = vec![PathText::from(plain.as_path())];
    // The last name may be a link, which is written as itself.
    let folder = plain.parent().and_then(|folder| folder.canonicalize().ok());
    let real = folder.and_then(|folder| Some(folder.join(plain.file_name()?)));
    for path in real.into_iter().chain(plain.canonicalize().ok()) {
        let path = PathText::from(path.as_path());
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Asked::Path(paths)
}

/// Whether an entry may say something: most are steps.
fn is_of_use(bytes: &[u8]) -> bool {
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    [
        &b"\"file_changed\""[..],
        b"\"kind\":\"write\"",
        b"\"kind\":\"load\"",
        b"\"launch\"",
        b"\"watch_begun\"",
        b"\"run_registered\"",
    ]
    .into_iter()
    .any(has)
}

impl Search {
    fn wants(&self, path: &PathText, digests: &[Option<Digest>]) -> bool {
        match &self.asked {
            Asked::Digest(digest) => digests.contains(&Some(*digest)),
            Asked::Path(paths) => paths.contains(path),
        }
    }

    fn take(&mut self, entry: Entry, ledger: (String, u64)) {
        let (run, at_us) = (entry.run, entry.event_us);
        match entry.body {
            Body::Act(Act::Launch(launch)) => {
                self.runs.insert(run, launch.name.to_string());
            }
            Body::Act(Act::RunRegistered(registered)) => {
                self.runs.insert(registered.run, registered.name);
            }
            Body::Act(Act::WatchBegun(begun)) => {
                let first = self.first_watch_us.get_or_insert(at_us);
                *first = (*first).min(at_us);
                self.blind.extend(begun.blind);
            }
            Body::Act(Act::FileChanged(change)) => self.change(at_us, &change, ledger),
            Body::Write(write) => self.saved(run, at_us, &write, ledger),
            Body::Load(load) => self.loaded(run, at_us, &load, &ledger),
            _ => {}
        }
    }

    fn change(&mut self, at_us: i64, change: &FileChange, ledger: (String, u64)) {
        let after = change.after.as_ref().and_then(|state| state.digest);
        let also = change.from.as_ref();
        if !self.wants(&change.path, &[after, change.before])
            && !also.is_some_and(|from| self.wants(from, &[]))
        {
            return;
        }
        let key = (change.path.clone(), change.first_ns, change.actor.pid);
        if !self.seen.insert(key) {
            return;
        }
        let (rung, may_be_said) = rung(&change.actor);
        let view = LinkView {
            at: rfc3339(at_us),
            kind: "changed",
            path: change.path.to_string(),
            from: change.from.as_ref().map(ToString::to_string),
            what: changes::what(change),
            before: change.before,
            after,
            known: changes::known(change.actor.known),
            who: self.who(&change.actor),
            parents: parents(&change.actor),
            rung,
            may_be_said,
            could: change.could.iter().map(party::principal).collect(),
            could_more: change.could_more,
            ledger,
        };
        self.push(at_us, view);
    }

    fn who(&self, actor: &Actor) -> String {
        let who = party::actor(actor);
        let Some(run) = actor.run else { return who };
        let name = self.runs.get(&run).cloned();
        let name = name.unwrap_or_else(|| run.to_string());
        format!("{who}, a process of run {name}")
    }

    fn saved(&mut self, run: RunId, at_us: i64, write: &Write, ledger: (String, u64)) {
        if !self.wants(&write.path, &[write.digest]) {
            return;
        }
        let step = write
            .step
            .map_or_else(String::new, |step| format!(" at step {step}"));
        let view = LinkView {
            kind: "saved",
            from: write.from.as_ref().map(ToString::to_string),
            what: format!("saved as a checkpoint{step}"),
            after: write.digest,
            ..self.by_run(run, at_us, &write.path, write.rank, ledger)
        };
        self.push(at_us, view);
    }

    fn loaded(&mut self, run: RunId, at_us: i64, load: &Load, ledger: &(String, u64)) {
        let is_tree = matches!(
            load.what,
            Kind::Environment | Kind::Compiled | Kind::Modules | Kind::Mapped
        );
        let found = match load.digest {
            Some(tree) if is_tree => self.in_tree(tree, load),
            digest if self.wants(&load.path, &[digest]) && !is_tree => {
                vec![(load.path.clone(), digest)]
            }
            _ => Vec::new(),
        };
        let what = match load.what {
            Kind::Environment | Kind::Compiled => "there to be loaded",
            _ => "loaded",
        };
        for (path, digest) in found {
            let view = LinkView {
                kind: "loaded",
                what: what.to_owned(),
                after: digest,
                ..self.by_run(run, at_us, &path, load.rank, ledger.clone())
            };
            self.push(at_us, view);
        }
    }

    /// What a run says of itself.
    fn by_run(
        &self,
        run: RunId,
        at_us: i64,
        path: &PathText,
        rank: Option<u32>,
        ledger: (String, u64),
    ) -> LinkView {
        let name = self.runs.get(&run).cloned();
        let name = name.unwrap_or_else(|| run.to_string());
        let rank = rank.map_or_else(String::new, |rank| format!(", rank {rank}"));
        LinkView {
            at: rfc3339(at_us),
            kind: "loaded",
            path: path.to_string(),
            from: None,
            what: String::new(),
            before: None,
            after: None,
            known: "claimed",
            who: format!("run {name}{rank}"),
            parents: Vec::new(),
            rung: 0,
            may_be_said: "the run's own supervisor says so".to_owned(),
            could: Vec::new(),
            could_more: 0,
            ledger,
        }
    }

    /// The files of a tree that were asked for, with their digests.
    fn in_tree(&mut self, tree: Digest, load: &Load) -> Vec<(PathText, Option<Digest>)> {
        let key = (tree, load.path.clone());
        if !self.trees.contains_key(&key) {
            let mut found = Vec::new();
            let summary = load
                .summary
                .and_then(|digest| self.store.blob(&digest).ok().flatten());
            let summary: Option<EnvironmentSummary> =
                summary.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let places = summary.map(|summary| summary.places).unwrap_or_default();
            self.look(tree, (&load.path.to_bytes(), &places), &mut found, 0);
            self.trees.insert(key.clone(), found);
        }
        let found = self.trees.get(&key).into_iter().flatten();
        found
            .map(|(path, digest)| (path.clone(), Some(*digest)))
            .collect()
    }

    fn look(
        &mut self,
        tree: Digest,
        (top, places): (&[u8], &Places),
        found: &mut Vec<(PathText, Digest)>,
        depth: u32,
    ) {
        let bytes = self.store.blob(&tree).ok().flatten();
        let Some(tree) = bytes.and_then(|bytes| Tree::decode(&bytes).ok()) else {
            self.gaps.push(Gap {
                what: format!("the files of {}", PathText::from_bytes(top)),
                why: "their list is not in the store".to_owned(),
            });
            return;
        };
        for (name, node) in tree.iter() {
            // The first names of an environment are those of its roots.
            let root = places.of(name.as_str()).next().filter(|_| depth == 0);
            let path = root.map_or_else(|| below(top, name), PathText::to_bytes);
            match node {
                Node::File { digest, .. } => {
                    let path = PathText::from_bytes(&path);
                    if self.wants(&path, &[Some(*digest)]) {
                        found.push((path, *digest));
                    }
                }
                Node::Tree { digest, .. } if depth < 32 && self.may_be_below(&path) => {
                    self.look(*digest, (&path, places), found, depth + 1);
                }
                _ => {}
            }
        }
    }

    fn may_be_below(&self, folder: &[u8]) -> bool {
        let is_below = |path: &PathText| {
            let path = path.to_bytes();
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with(b"/"))
        };
        match &self.asked {
            Asked::Digest(_) => true,
            Asked::Path(paths) => paths.iter().any(is_below),
        }
    }

    fn push(&mut self, at_us: i64, view: LinkView) {
        self.links.push((at_us, view));
    }

    fn finish(mut self, asked: &str) -> BlameView {
        self.links.sort_by_key(|(at_us, _)| *at_us);
        let extra = self.links.len().saturating_sub(LINKS_MAX);
        let mut gaps = std::mem::take(&mut self.gaps);
        gaps.dedup();
        if extra > 0 {
            gaps.push(Gap {
                what: format!("{extra} earlier entries"),
                why: format!("the newest {LINKS_MAX} are shown"),
            });
        }
        gaps.push(match self.first_watch_us {
            Some(first) => Gap {
                what: format!("anything before {}", rfc3339(first)),
                why: "no daemon watched this host then".to_owned(),
            },
            None => Gap {
                what: "who changes files".to_owned(),
                why: "this store has no record of a daemon of its own; what one told the runs is shown"
                    .to_owned(),
            },
        });
        gaps.extend(self.blind.iter().map(|blind| Gap {
            what: format!(
                "anything from {} to {}",
                rfc3339(blind.from_us),
                rfc3339(blind.to_us)
            ),
            why: if blind.ended {
                "the daemon had ended".to_owned()
            } else {
                "the daemon was gone without a word".to_owned()
            },
        }));
        BlameView {
            schema: "taintline.blame/1",
            asked: asked.to_owned(),
            links: self
                .links
                .into_iter()
                .skip(extra)
                .map(|(_, link)| link)
                .collect(),
            gaps,
        }
    }
}

/// A name in a folder.
fn below(folder: &[u8], name: &PathText) -> Vec<u8> {
    let mut path = folder.to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend(name.to_bytes());
    path
}

fn parents(actor: &Actor) -> Vec<String> {
    let name = |ancestor: &domain::watched::Ancestor| {
        let program = ancestor.executable.as_ref().and_then(|path| {
            let bytes = path.to_bytes();
            let name = bytes.rsplit(|byte| *byte == b'/').next()?.to_vec();
            Some(PathText::from_bytes(&name).to_string())
        });
        format!(
            "{} ({})",
            program.unwrap_or_else(|| ancestor.name.clone()),
            ancestor.pid
        )
    };
    actor.parents.iter().map(name).collect()
}

/// How far a change may be attributed, and what may be said there. A person is on none of these rungs.
fn rung(actor: &Actor) -> (u8, String) {
    let Some(party) = &actor.party else {
        return (0, "these bytes; by whom is not known".to_owned());
    };
    let later = actor.became.as_ref();
    let is_settled = |later: &Party| {
        party.login_uid.is_some()
            && (later.login_uid, later.session) == (party.login_uid, party.session)
    };
    if later.is_some_and(|later| !is_settled(later)) {
        return (
            1,
            "this process; its login changed at about that time".to_owned(),
        );
    }
    match (party.login_uid, party.session) {
        (Some(login_uid), Some(session))
            if later.is_none() && party.came.as_ref().is_some_and(|it| it.remote.is_some()) =>
        {
            let from = party.came.as_ref().map_or_else(String::new, party::came);
            let login = party::user(login_uid);
            (
                3,
                format!(
                    "this process, in session {session} of {login},{from}; an account is not a person"
                ),
            )
        }
        (Some(login_uid), Some(session)) => (
            2,
            format!(
                "this process, with the login of {} (session {session}); an account is not a person",
                party::user(login_uid)
            ),
        ),
        (Some(login_uid), None) => (
            2,
            format!(
                "this process, with the login of {}; an account is not a person",
                party::user(login_uid)
            ),
        ),
        (None, _) => (
            1,
            format!(
                "this process, as user {}; no login is recorded for it",
                party::user(party.uid)
            ),
        ),
    }
}
