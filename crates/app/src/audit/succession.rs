//! Whether logs that end and logs that go on agree with one another.
//!
//! A log is continued with its consent only if its last entry names the successor and its key, and the successor's first
//! entry names the log with the size and the root that it has. Everything else is named: somebody with a key of his own
//! could otherwise put his log behind another's, or write on behind the end with a key that should be gone.

use domain::Body;
use domain::entry::Act;
use domain::upkeep::{LogBegun, LogEnded};
use ledger::{Log, LogError, Store};
use report::view::ProblemView;

use crate::rotation::entry_at;

/// What is wrong between logs. `ends` are all entries that end a log, wherever they stand.
pub(super) fn problems(store: &Store, ends: &[LogEnded]) -> Vec<ProblemView> {
    let logs = store.logs().unwrap_or_default();
    let mut problems = Vec::new();
    for end in ends {
        if let Some(what) = of_end(&logs, end) {
            problems.push(problem(&end.log, what));
        }
    }
    for log in &logs {
        if let Ok(Some(Body::Act(Act::LogBegun(begun)))) = first(log)
            && let Some(what) = of_beginning(&logs, log, &begun)
        {
            problems.push(problem(log.name(), what));
        }
    }
    problems
}

fn problem(log: &str, what: String) -> ProblemView {
    ProblemView {
        file: format!("ledger/{log}"),
        what,
    }
}

fn first(log: &Log) -> Result<Option<Body>, LogError> {
    if log.head()?.size == 0 {
        return Ok(None);
    }
    entry_at(log, 0)
}

fn find<'a>(logs: &'a [Log], name: &str) -> Option<&'a Log> {
    logs.iter().find(|log| log.name() == name)
}

/// What is wrong with the end of a log.
fn of_end(logs: &[Log], end: &LogEnded) -> Option<String> {
    let Some(log) = find(logs, &end.log) else {
        return Some("a log that was ended is gone".to_owned());
    };
    // A log that cannot be read is named already.
    let size = log.head().ok()?.size;
    let stands_there = matches!(
        entry_at(log, end.size),
        Ok(Some(Body::Act(Act::LogEnded(there)))) if *there == *end
    );
    if !stands_there {
        return Some("an entry that ends this log stands elsewhere than at its end".to_owned());
    }
    let after = size.saturating_sub(end.size.saturating_add(1));
    if after > 0 {
        return Some(format!(
            "it grew after its end: {after} entries stand behind entry {}, which ends it",
            end.size
        ));
    }
    let Some(successor) = find(logs, &end.successor) else {
        return Some(format!("its successor {} is gone", end.successor));
    };
    let key = successor.key().ok()?.encode();
    if key != end.key {
        return Some(format!(
            "its successor {} has another key than it names",
            end.successor
        ));
    }
    match first(successor) {
        Ok(Some(Body::Act(Act::LogBegun(begun)))) if begun.predecessor == end.log => None,
        // The rotation died on the way, and the next command that writes brings it to its end.
        Ok(None) | Err(_) => None,
        Ok(_) => Some(format!("its successor {} does not name it", end.successor)),
    }
}

/// What is wrong with the beginning of a log that says that it continues another.
fn of_beginning(logs: &[Log], log: &Log, begun: &LogBegun) -> Option<String> {
    let predecessor = begun.predecessor.as_str();
    let Some(old) = find(logs, predecessor) else {
        return Some(format!("it continues {predecessor}, which is gone"));
    };
    let head = old.head().ok()?;
    let end = begun.size.checked_sub(1).map(|last| entry_at(old, last));
    let Some(Ok(Some(Body::Act(Act::LogEnded(end))))) = end else {
        return Some(format!(
            "it continues {predecessor} without that log's consent"
        ));
    };
    if end.successor != log.name() {
        return Some(format!(
            "a second successor: {predecessor} names {} as the one that goes on",
            end.successor
        ));
    }
    let key = log.key().ok()?.encode();
    if end.key != key {
        return Some(format!(
            "it is not signed with the key that {predecessor} names"
        ));
    }
    let root = old.snapshot().and_then(|it| it.root_at(begun.size)).ok()?;
    if begun.size > head.size || root != begun.root || old.key().ok()?.encode() != begun.key {
        return Some(format!(
            "it continues another {predecessor} than the one that is here"
        ));
    }
    None
}
