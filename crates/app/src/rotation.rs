//! `taintline ledger rotate-key`: a new key for this writer's log.
//!
//! A key signs one log, so a new key means a new log. The old one's last entry names the new log and its key; the new one's
//! first entry names the old log, its size and its root. What is true if the process dies:
//!
//! 1. The new log and its key are made. *A log without entries that nothing names; the next rotation uses it.*
//! 2. The old log says that it ends. *The next opening finds that and goes on here.*
//! 3. The new log says what it continues. *The next opening finds the old key and removes it.*
//! 4. The old private key is removed. *Done.*
//!
//! A run that is going has the old key in memory and would write behind the end; so while one is, nothing is rotated.

use std::path::Path;

use domain::entry::Act;
use domain::upkeep::{LogBegun, LogEnded};
use domain::{Body, Entry};
use ledger::{Log, LogError, Store, Writer};
use report::view::RotationView;

use crate::error::AppError;
use crate::index::Index;
use crate::place::Surroundings;
use crate::writing::WritingError;
use crate::{acts, interrupted, writing};

/// The log of this user was not ended.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A run writes to it.
    #[error("run {run} is still going and writes to log {log}: rotate when it is over")]
    Running {
        /// Its name.
        run: String,
        /// The log.
        log: String,
    },
    /// Another process has it open.
    #[error(
        "another process has log {log} open (a run that starts, a scan that keeps verdicts): rotate when it is done"
    )]
    InUse {
        /// The log.
        log: String,
    },
}

/// Rotates.
pub fn rotate_key(surroundings: &Surroundings, reason: &str) -> Result<RotationView, AppError> {
    let store = Store::open_or_create(&surroundings.store_to_read()?)?;
    let keys = surroundings.keys()?;
    let writer = writing::open(&store, &keys)?;
    let log = writer.log();
    let runs = Index::open(&store)?.runs()?;
    let mut going = runs
        .iter()
        .filter(|run| run.state == "open" && run.log == log);
    if let Some(run) = going.find(|run| interrupted::is_alive(run)) {
        let run = run.name.clone();
        return Err(RotationError::Running { run, log }.into());
    }
    // From here on nobody else appends: what is said of the end stays true.
    if !writer.is_alone() {
        return Err(RotationError::InUse { log }.into());
    }
    let successor = writer.successor()?;
    let ended = LogEnded {
        log: log.clone(),
        size: writer.check()?.size,
        successor: successor.log.clone(),
        key: successor.key.clone(),
        reason: reason.to_owned(),
        person: crate::run::person(),
    };
    acts::record(&writer, Act::LogEnded(Box::new(ended)))?;
    let head = writer.publish()?;
    drop(writer);
    let new = writing::open(&store, &keys)?; // completes it
    Ok(RotationView {
        schema: "taintline.rotation/1",
        ended: log,
        entries: head.size,
        root: head.root.to_string(),
        begun: new.log(),
        key: successor.key,
    })
}

/// Brings a rotation to its end that was begun in this log; `false` when there is none.
pub(crate) fn complete(store: &Store, writer: &Writer, keys: &Path) -> Result<bool, WritingError> {
    let name = writer.log();
    let Some((log, ended)) = ended(store, &name)? else {
        return Ok(false);
    };
    let identity = writing::identity();
    let next = store.writer_of_successor(&identity, &ended.successor, keys)?;
    if next.log() == ended.successor && next.head().size == 0 {
        let head = log.head()?;
        let begun = LogBegun {
            log: ended.successor,
            predecessor: name.clone(),
            size: head.size,
            root: head.root,
            key: log.key()?.encode(),
            person: crate::run::person(),
        };
        acts::record(&next, Act::LogBegun(Box::new(begun)))?;
        next.publish()?;
    }
    store
        .lay_down_key(&name, keys)
        .map_err(ledger::StoreError::from)?;
    Ok(true)
}

/// Whether a log was ended by its writer: it is no surprise then that its key is not here.
pub(crate) fn is_ended(store: &Store, log: &str) -> bool {
    matches!(ended(store, log), Ok(Some(_)))
}

/// What the last entry of a log says, if it ends it.
fn ended(store: &Store, name: &str) -> Result<Option<(Log, LogEnded)>, WritingError> {
    let Some(log) = store.logs()?.into_iter().find(|log| log.name() == name) else {
        return Ok(None);
    };
    let size = log.head()?.size;
    let Some(last) = size.checked_sub(1) else {
        return Ok(None);
    };
    Ok(match entry_at(&log, last)? {
        Some(Body::Act(Act::LogEnded(ended))) if ended.log == name => Some((log, *ended)),
        _ => None,
    })
}

/// The fact at a place of a log.
pub(crate) fn entry_at(log: &Log, number: u64) -> Result<Option<Body>, LogError> {
    let bytes = log.entries(number..number.saturating_add(1))?;
    let entry = bytes.first().and_then(|bytes| Entry::decode(bytes).ok());
    Ok(entry.map(|entry| entry.body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Place;

    fn problems(place: &Place) -> Vec<String> {
        let view = crate::audit(&place.surroundings, &[], &[]).unwrap();
        let told = view.problems.iter();
        told.map(|it| format!("{}: {}", it.file, it.what)).collect()
    }

    /// A store whose first log was ended.
    fn rotated() -> (Place, RotationView) {
        let place = Place::new();
        let run = place.run(1);
        place.append(&[run.launch(0), run.end(1)]);
        let view = rotate_key(&place.surroundings, "a test").unwrap();
        (place, view)
    }

    fn keys(place: &Place) -> Vec<String> {
        let items = std::fs::read_dir(place.surroundings.keys().unwrap()).unwrap();
        let names = items.map(|item| item.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.contains(".key")).collect();
        names.sort();
        names
    }

    fn ended_of(place: &Place, log: &str) -> LogEnded {
        ended(&place.store, log).unwrap().unwrap().1
    }

    /// A writer that still has the old key, as a process that was stopped for a while.
    fn appends(place: &Place, log: &Writer, act: Act) {
        acts::record(log, act).unwrap();
        assert!(place.store.logs().unwrap().len() >= 2);
    }

    #[test]
    fn a_rotation_ends_one_log_begins_the_next_and_leaves_one_key() {
        let (place, first) = rotated();
        assert_eq!(first.begun, format!("{}~2", first.ended));
        assert_eq!(keys(&place).len(), 1);
        assert!(keys(&place)[0].contains("~2"));
        assert_eq!(problems(&place), [""; 0]);
        let run = place.run(2);
        place.append(&[run.launch(0), run.end(1)]);
        assert_eq!(place.writer().log(), first.begun);
        let second = rotate_key(&place.surroundings, "again").unwrap();
        assert_eq!((&second.ended, keys(&place).len()), (&first.begun, 1));
        assert_eq!(problems(&place), [""; 0]);
        assert_eq!(place.reading().runs().unwrap().runs.len(), 2);
    }

    #[test]
    fn a_rotation_that_died_after_each_step_is_completed_by_the_next_that_writes() {
        for step in 1..=3 {
            let place = Place::new();
            let run = place.run(1);
            place.append(&[run.launch(0), run.end(1)]);
            let writer = place.writer();
            let successor = writer.successor().unwrap();
            if step >= 2 {
                let end = LogEnded {
                    log: writer.log(),
                    size: writer.head().size,
                    successor: successor.log.clone(),
                    key: successor.key.clone(),
                    reason: String::new(),
                    person: crate::run::person(),
                };
                acts::record(&writer, Act::LogEnded(Box::new(end))).unwrap();
            }
            let old = writer.log();
            drop(writer);
            assert_eq!(problems(&place), [""; 0], "step {step}");
            if step == 3 {
                let old_key = std::fs::read(place.key_file(&old)).unwrap();
                drop(place.writer());
                place.restore_key(&old, &old_key);
            }
            let expected = if step == 1 {
                old.clone()
            } else {
                successor.log
            };
            assert_eq!(place.writer().log(), expected, "step {step}");
            assert_eq!(place.key_file(&old).exists(), step == 1);
            assert_eq!(problems(&place), [""; 0], "step {step}");
        }
    }

    #[test]
    fn a_log_that_grows_after_its_end_is_named() {
        let place = Place::new();
        let run = place.run(1);
        place.append(&[run.launch(0), run.end(1)]);
        let late = place.writer();
        let refused = rotate_key(&place.surroundings, "a test").unwrap_err();
        assert!(refused.to_string().contains("open"), "{refused}");
        let old_key = place.key_file(&late.log());
        drop(late);
        let kept = std::fs::read(&old_key).unwrap();
        let view = rotate_key(&place.surroundings, "a test").unwrap();
        // Somebody kept the key, and goes on with it.
        place.restore_key(&view.ended, &kept);
        let keys = place.surroundings.keys().unwrap();
        let late = place.store.writer(&writing::identity(), &keys).unwrap();
        let end = ended_of(&place, &view.ended);
        appends(&place, &late, Act::EnvironmentAccepted);
        let told = problems(&place);
        assert!(
            told.iter()
                .any(|it| it.contains("grew after its end: 1 entries")),
            "{told:?}"
        );
        assert_eq!(end.size, 2);
    }

    #[test]
    fn a_successor_without_consent_and_a_second_one_are_named() {
        let (place, view) = rotated();
        let old = place.store.logs().unwrap().remove(0);
        let forged = |size| LogBegun {
            log: "mallory@elsewhere".to_owned(),
            predecessor: view.ended.clone(),
            size,
            root: old.snapshot().unwrap().root_at(size).unwrap(),
            key: old.key().unwrap().encode(),
            person: crate::run::person(),
        };
        for (name, size, what) in [
            ("a@x", view.entries, "a second successor"),
            ("b@x", 1, "without that log's consent"),
        ] {
            let keys = place.surroundings.keys().unwrap();
            let writer = place.store.writer(name, &keys).unwrap();
            acts::record(&writer, Act::LogBegun(Box::new(forged(size)))).unwrap();
            drop(writer);
            let told = problems(&place);
            let named =
                |it: &String| it.starts_with(&format!("ledger/{name}")) && it.contains(what);
            assert!(told.iter().any(named), "{told:?}");
        }
    }

    #[test]
    fn a_successor_that_was_taken_away_or_replaced_is_named() {
        let (place, view) = rotated();
        let folder = place.store.root().join("ledger").join(&view.begun);
        std::fs::remove_dir_all(&folder).unwrap();
        let told = problems(&place);
        assert!(
            told.iter()
                .any(|it| it.contains("successor") && it.contains("is gone")),
            "{told:?}"
        );
        std::fs::remove_file(place.key_file(&view.begun)).unwrap();
        let keys = place.surroundings.keys().unwrap();
        drop(place.store.writer(&writing::identity(), &keys).unwrap());
        let told = problems(&place);
        assert!(told.iter().any(|it| it.contains("another key")), "{told:?}");
    }
}
