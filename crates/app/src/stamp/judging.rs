//! What a recorded stamp proves: of these bytes, by an authority that is trusted, over a head that the log still has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::entry::Act;
use domain::vouch::{Stamp, StampOf};
use domain::{Body, Digest, Entry};
use ledger::{LogError, Snapshot, Store, TreeHead, tree_head};
use report::stamp::{StampView, Standing};
use report::time::rfc3339;
use trust::certificate::Roots;
use trust::keyfile;
use trust::pem::MAX_PEM_BYTES;
use trust::time::{ChainFault, NotStamped, Stamped, Token, TokenSyntax, token_in};

use super::StampError;
use crate::error::AppError;
use crate::index::Index;
use crate::place::Surroundings;
use crate::settings::Settings;

/// Authorities that the reader trusts; nobody, where none is named.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimeRoots(Option<Roots>);

impl TimeRoots {
    /// Reads the roots that the user settled and those that are named now.
    pub(crate) fn load(
        surroundings: &Surroundings,
        settings: &Settings,
        named: &[PathBuf],
    ) -> Result<Self, StampError> {
        let named = named.iter().map(|path| surroundings.cwd.join(path));
        let mut all: Option<Roots> = None;
        for path in settings.trust.time_roots.iter().cloned().chain(named) {
            let roots = read(&path)?;
            match &mut all {
                Some(all) => all.extend(roots),
                None => all = Some(roots),
            }
        }
        Ok(Self(all))
    }

    /// One value over all of them: another answer for another circle of authorities.
    pub(crate) fn fingerprint(&self) -> Option<Digest> {
        self.0.as_ref().map(Roots::fingerprint)
    }

    /// The certificates in DER; `None` where nobody is trusted.
    pub(crate) fn certificates(&self) -> Option<&[Vec<u8>]> {
        self.0.as_ref().map(Roots::certificates)
    }
}

fn read(path: &Path) -> Result<Roots, StampError> {
    let text = keyfile::read(path, MAX_PEM_BYTES)?;
    Roots::from_pem(&text).map_err(|why| StampError::Roots {
        path: path.to_owned(),
        why,
    })
}

/// A judged stamp.
pub(crate) struct Judged {
    /// As it is shown.
    pub(crate) view: StampView,
    /// The time, where it is believed.
    pub(crate) stamped: Option<Stamped>,
    /// The token is not over these bytes, or is not what an authority makes: nobody honest keeps such a one. One by an
    /// authority that is not trusted proves nothing, and nothing against anybody.
    pub(crate) is_changed: bool,
}

/// Judges the stamps of one store. Each log is opened once.
pub(crate) struct Judge<'a> {
    store: &'a Store,
    roots: &'a TimeRoots,
    snapshots: BTreeMap<String, Result<Snapshot, String>>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(store: &'a Store, roots: &'a TimeRoots) -> Self {
        Self {
            store,
            roots,
            snapshots: BTreeMap::new(),
        }
    }

    /// Judges the stamp over a tree head. `recorded` is where its entry is.
    pub(crate) fn head(&mut self, stamp: &Stamp, recorded: Option<(String, u64)>) -> Judged {
        let mut view = empty(recorded);
        if let StampOf::TreeHead { log, size, .. } = &stamp.of {
            view.log = Some(log.clone());
            view.size = Some(*size);
        }
        let token = self.store.blob(&stamp.token).ok().flatten();
        let Some(token) = token else {
            return wrong(view, "its token is not in the store");
        };
        let judged = judge(&token, &stamp.over, None, self.roots, view);
        if judged.view.standing == Standing::Wrong {
            return judged;
        }
        match self.is_of_the_log(stamp) {
            Ok(()) => judged,
            Err(why) => wrong(judged.view, &why),
        }
    }

    /// Judges the stamp over the signature of a model.
    pub(crate) fn signature(&self, stamp: &Stamp, recorded: Option<(String, u64)>) -> Judged {
        let view = empty(recorded);
        match self.store.blob(&stamp.token).ok().flatten() {
            Some(token) => judge(&token, &stamp.over, None, self.roots, view),
            None => wrong(view, "its token is not in the store"),
        }
    }

    /// Whether the stamped head is signed by the log's key, is the one that the entry says, and the log still begins so.
    fn is_of_the_log(&mut self, stamp: &Stamp) -> Result<(), String> {
        let StampOf::TreeHead { log, size, root } = &stamp.of else {
            return Ok(());
        };
        let note = self.store.blob(&stamp.over).ok().flatten();
        let note = note.ok_or("the tree head that was stamped is not in the store")?;
        let logs = self.store.logs().map_err(|error| error.to_string())?;
        let found = logs.iter().find(|found| found.name() == log);
        let found = found.ok_or("the log that was stamped is gone")?;
        let key = found.key().map_err(|error| error.to_string())?;
        let (head, _) = tree_head::open(&note, &key).map_err(|error| error.to_string())?;
        let stated = TreeHead {
            size: *size,
            root: *root,
        };
        if head != stated {
            return Err(
                "the tree head that was stamped is another one than the entry says".to_owned(),
            );
        }
        let snapshot = self.snapshots.entry(log.clone());
        let snapshot =
            snapshot.or_insert_with(|| found.snapshot().map_err(|error| error.to_string()));
        let snapshot = snapshot.as_ref().map_err(Clone::clone)?;
        match snapshot.continues(head) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the log does not begin with the tree that was stamped: it was rewritten or put back since".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Judges a token, or the answer that holds it, over bytes with the digest `over`.
pub(crate) fn judge(
    token: &[u8],
    over: &Digest,
    nonce: Option<[u8; 8]>,
    roots: &TimeRoots,
    mut view: StampView,
) -> Judged {
    let token = match token_in(token) {
        Ok(token) => token,
        Err(why) => return wrong(view, &why.to_string()),
    };
    let token = match Token::parse(&token) {
        Ok(token) => token,
        Err(why) => {
            return Judged {
                is_changed: !matches!(why, TokenSyntax::Unknown),
                ..wrong(view, &why.to_string())
            };
        }
    };
    view.time = Some(rfc3339(token.stated().at.as_microsecond()));
    view.accuracy_us = token.stated().accuracy_us;
    let Some(roots) = roots.certificates() else {
        return match token.answers(over, nonce) {
            Ok(()) => {
                view.why = Some("no root of a time stamping authority is named (--time-roots, or `time_roots` under [trust] in the settings)".to_owned());
                Judged {
                    view,
                    stamped: None,
                    is_changed: false,
                }
            }
            Err(why) => Judged {
                is_changed: !is_a_stranger(&why),
                ..wrong(view, &why.to_string())
            },
        };
    };
    match token.verify(over, nonce, roots) {
        Ok(stamped) => {
            view.standing = Standing::Holds;
            view.authority = Some(stamped.authority.clone());
            Judged {
                view,
                stamped: Some(stamped),
                is_changed: false,
            }
        }
        Err(why) => Judged {
            is_changed: !is_a_stranger(&why),
            ..wrong(view, &why.to_string())
        },
    }
}

/// Whether it is only that the reader does not know the authority, or its way of signing: no sign that anything was changed.
/// An authority of the same name as a trusted one is a stranger too.
fn is_a_stranger(why: &NotStamped) -> bool {
    use ChainFault::{Other, UnknownIssuer};
    matches!(
        why,
        NotStamped::Algorithm(_)
            | NotStamped::NoCertificate
            | NotStamped::Chain(UnknownIssuer | Other)
    )
}

/// A stamp of which nothing is known yet.
pub(crate) fn empty(recorded: Option<(String, u64)>) -> StampView {
    StampView {
        standing: Standing::NotChecked,
        time: None,
        accuracy_us: None,
        authority: None,
        why: None,
        log: None,
        size: None,
        recorded,
    }
}

fn wrong(mut view: StampView, why: &str) -> Judged {
    view.standing = Standing::Wrong;
    view.why = Some(why.to_owned());
    Judged {
        view,
        stamped: None,
        is_changed: true,
    }
}

/// The first stamp that vouches for entry `number` of a log; where none does, the first that claims to.
pub(crate) fn no_later_than(
    store: &Store,
    index: &Index,
    roots: &TimeRoots,
    (log, number): (&str, u64),
) -> Option<StampView> {
    let places = index.stamps_over(log, number).ok()?;
    let covers = |stamp: &Stamp| matches!(&stamp.of, StampOf::TreeHead { log: of, size, .. } if of == log && *size > number);
    best(store, roots, places, &covers)
}

/// The last stamp that stands in a log before entry `number`: that entry did not exist before it.
pub(crate) fn not_before(
    store: &Store,
    index: &Index,
    roots: &TimeRoots,
    (log, number): (&str, u64),
) -> Option<StampView> {
    let places = index.stamps_before(log, number).ok()?;
    best(store, roots, places, &|_| true).filter(|view| view.standing == Standing::Holds)
}

/// The first that holds, else the first. Each is read again from its log: the index is no evidence.
fn best(
    store: &Store,
    roots: &TimeRoots,
    places: Vec<(String, u64)>,
    is_meant: &dyn Fn(&Stamp) -> bool,
) -> Option<StampView> {
    let logs = store.logs().ok()?;
    let mut judge = Judge::new(store, roots);
    let mut first: Option<StampView> = None;
    for (name, number) in places {
        let Some(log) = logs.iter().find(|log| log.name() == name) else {
            continue;
        };
        let Ok(Some(Act::Stamped(stamp))) = act_at(log, number) else {
            continue;
        };
        if !is_meant(&stamp) {
            continue;
        }
        let view = judge.head(&stamp, Some((name, number))).view;
        if view.standing == Standing::Holds {
            return Some(view);
        }
        first.get_or_insert(view);
    }
    first
}

/// The act at a place of a log, if there is one.
pub(crate) fn act_at(log: &ledger::Log, number: u64) -> Result<Option<Act>, LogError> {
    let entries = log.entries(number..number.saturating_add(1))?;
    let entry = entries.first().and_then(|bytes| Entry::decode(bytes).ok());
    Ok(entry.and_then(|entry| match entry.body {
        Body::Act(act) => Some(act),
        _ => None,
    }))
}

impl From<StampError> for AppError {
    fn from(error: StampError) -> Self {
        Self::Stamp(Box::new(error))
    }
}
