//! The index: joins over all logs of a store, in SQLite, rebuilt from the ledger whenever it is missing, broken or behind.
//!
//! It is never evidence. Each answer that matters carries the number of the entry that it came from; what a user sees of a
//! run is folded from the entries themselves ([`crate::record`]). Catching up and rebuilding are the same code: entries
//! from where the index stands to where the log stands, in one transaction a log.

mod verdicts;
mod vouched;

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::entry::{Act, End, Kind, Launch, Write};
use domain::{Body, Digest, Entry, Gap, Outcome, PathText, Process, RunId};
use ledger::{Log, Store};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

const SCHEMA_VERSION: i64 = 5;
/// As many as lie in one file of a log, so that one that cannot be read costs no more than itself.
const BATCH: u64 = 256;

const SCHEMA: &str = "
CREATE TABLE logs (name TEXT PRIMARY KEY, size INTEGER NOT NULL, last TEXT) STRICT;
CREATE TABLE entries (run TEXT NOT NULL, seq INTEGER NOT NULL, log TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (run, seq, log)) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, same TEXT NOT NULL, started_us INTEGER NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL,
    ticks INTEGER NOT NULL, command TEXT NOT NULL, log TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'open', ended_us INTEGER, wall_us INTEGER,
    outcome TEXT, steps INTEGER NOT NULL DEFAULT 0, findings INTEGER NOT NULL DEFAULT 0, environment_findings INTEGER NOT NULL DEFAULT 0,
    accepted INTEGER NOT NULL DEFAULT 0, last_us INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX runs_by_name ON runs (name);
CREATE INDEX runs_by_same ON runs (same, started_us);
CREATE TABLE saves (run TEXT NOT NULL, path TEXT NOT NULL, digest TEXT NOT NULL, step INTEGER, at_us INTEGER NOT NULL, summary TEXT) STRICT;
CREATE INDEX saves_by_path ON saves (path, at_us);
CREATE INDEX saves_by_digest ON saves (digest);
CREATE TABLE environments (run TEXT NOT NULL, prefix TEXT NOT NULL, tree TEXT NOT NULL, summary TEXT) STRICT;
CREATE INDEX environments_by_run ON environments (run);
CREATE TABLE ways (run TEXT PRIMARY KEY, list TEXT NOT NULL) STRICT;
CREATE TABLE verdicts (
    log TEXT NOT NULL, number INTEGER NOT NULL, line INTEGER NOT NULL, at_us INTEGER NOT NULL, scanner TEXT NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, layout TEXT NOT NULL, content TEXT NOT NULL, heavy INTEGER NOT NULL) STRICT;
CREATE TABLE examined_loads (
    run TEXT NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, digest TEXT NOT NULL, examined TEXT NOT NULL, at_us INTEGER NOT NULL,
    log TEXT NOT NULL, number INTEGER NOT NULL) STRICT;
CREATE TABLE vouched (kind TEXT NOT NULL, about TEXT NOT NULL, size INTEGER NOT NULL, log TEXT NOT NULL, number INTEGER NOT NULL) STRICT;
CREATE INDEX vouched_by_kind ON vouched (kind, about, size);
CREATE INDEX vouched_by_place ON vouched (kind, log, number);
CREATE TABLE prunings (log TEXT NOT NULL, number INTEGER NOT NULL) STRICT;
CREATE INDEX examined_loads_by_size ON examined_loads (size);
CREATE INDEX verdicts_by_size ON verdicts (size, layout, content);
CREATE INDEX verdicts_that_were_heavy ON verdicts (scanner, at_us) WHERE heavy = 1;
";

/// An index that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite refused.
    #[error("index {path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The ledger could not be read.
    #[error(transparent)]
    Store(#[from] ledger::StoreError),
    /// A log could not be read.
    #[error(transparent)]
    Log(#[from] ledger::LogError),
    /// The old index could not be put away.
    #[error("index {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A run as the index has it.
#[derive(Debug, Clone)]
pub struct IndexedRun {
    /// Identity.
    pub id: RunId,
    /// Readable name.
    pub name: String,
    /// When it began, microseconds since 1970.
    pub started_us: i64,
    /// `open`, `ended` or `interrupted`.
    pub state: String,
    /// Its supervisor.
    pub supervisor: Process,
    /// Wall time in microseconds, once ended.
    pub wall_us: Option<u64>,
    /// Outcome as JSON, once ended.
    pub outcome: Option<Outcome>,
    /// Steps.
    pub steps: u64,
    /// Findings.
    pub findings: u64,
    /// Blob of the sealed command.
    pub command: Option<Digest>,
    /// Its log.
    pub log: String,
    /// When its supervisor recorded something last, microseconds since 1970.
    pub last_us: i64,
}

/// A checkpoint that a recorded run saved.
#[derive(Debug, Clone)]
pub(crate) struct IndexedSave {
    /// Name of the run.
    pub(crate) run: String,
    /// Path as it was then.
    pub(crate) path: PathText,
    /// Digest of its content.
    pub(crate) digest: Digest,
    /// Last finished step then.
    pub(crate) step: Option<u64>,
    /// When, microseconds since 1970.
    pub(crate) at_us: i64,
    /// Blob with the summary of its tensors.
    pub(crate) summary: Option<Digest>,
}

/// Where an entry of a run is.
#[derive(Debug, Clone)]
pub(crate) struct IndexedEntry {
    /// Its number within the run.
    pub(crate) seq: u64,
    /// The log.
    pub(crate) log: String,
    /// Its number within the log.
    pub(crate) number: u64,
}

/// The index of one store.
pub(crate) struct Index {
    connection: Connection,
    path: PathBuf,
    /// Logs that could not be read to their end.
    unread: Vec<Gap>,
}

impl Index {
    /// Opens the index and brings it up to the ledger; a broken or older one is made anew. Where the store cannot be written,
    /// as an investigator's copy, the index lives in memory.
    pub(crate) fn open(store: &Store) -> Result<Self, IndexError> {
        let path = store.root().join("index.sqlite");
        let attempt = |index: Result<Self, IndexError>| {
            index.and_then(|mut index| index.sync(store).map(|()| index))
        };
        match attempt(Self::connect(&path)) {
            Err(IndexError::Sqlite { .. }) => {}
            other => return other,
        }
        if remove(&path).is_ok()
            && let Ok(index) = attempt(Self::connect(&path))
        {
            return Ok(index);
        }
        attempt(Self::connect(Path::new(":memory:")))
    }

    /// Throws the index away and builds it from the ledger.
    pub(crate) fn rebuild(store: &Store) -> Result<Self, IndexError> {
        remove(&store.root().join("index.sqlite"))?;
        Self::open(store)
    }

    fn connect(path: &Path) -> Result<Self, IndexError> {
        let sql = |source| IndexError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let connection = Connection::open(path).map_err(sql)?;
        connection
            .busy_timeout(Duration::from_secs(20))
            .map_err(sql)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(sql)?;
        connection
            .pragma_update(None, "synchronous", "OFF")
            .map_err(sql)?; // it can be rebuilt
        let mut index = Self {
            connection,
            path: path.to_owned(),
            unread: Vec::new(),
        };
        index.lay_out().map_err(sql)?;
        Ok(index)
    }

    fn lay_out(&mut self) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        } else if version != SCHEMA_VERSION {
            return Err(rusqlite::Error::InvalidQuery);
        }
        transaction.commit()
    }

    /// Takes in what the logs have beyond the index. A log that became shorter, or another one under the same name, empties
    /// the index first. One that cannot be
    /// read (damaged, or rewritten by somebody who wants to hide) does not hide the others: it becomes a gap.
    pub(crate) fn sync(&mut self, store: &Store) -> Result<(), IndexError> {
        self.unread.clear();
        for log in store.logs()? {
            match self.sync_log(store, &log) {
                Err(IndexError::Log(error)) => self.unread.push(Gap {
                    what: format!("log {}", log.name()),
                    why: format!("{error}; `taintline ledger audit` names all that is wrong"),
                }),
                other => other?,
            }
        }
        Ok(())
    }

    fn sync_log(&mut self, store: &Store, log: &Log) -> Result<(), IndexError> {
        let path = self.path.clone();
        let sql = |source| IndexError::Sqlite {
            path: path.clone(),
            source,
        };
        // In this order: another process may append and index in between, and a log only grows.
        let (known, last) = indexed(&self.connection, log.name()).map_err(sql)?;
        let size = log.head()?.size;
        if known > size || (known > 0 && last != Some(digest_at(log, known - 1)?)) {
            return Err(sql(rusqlite::Error::InvalidQuery)); // rebuilt by `open`
        }
        if size == known {
            return Ok(());
        }
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(sql)?;
        let (mut next, mut last) = indexed(&transaction, log.name()).map_err(sql)?;
        let mut read = Ok(());
        while next < size {
            let end = size.min((next / BATCH + 1) * BATCH);
            match log.entries(next..end) {
                Ok(batch) => {
                    last = batch.last().map(|bytes| Digest::of(bytes));
                    for (number, bytes) in (next..end).zip(batch) {
                        if let Ok(entry) = Entry::decode(&bytes) {
                            let place = (log.name(), number);
                            apply(&transaction, store, place, &entry).map_err(sql)?;
                        }
                    }
                }
                Err(error) => {
                    read = Err(error.into()); // what came before it is kept, and the next command tries again
                    break;
                }
            }
            next = end;
        }
        transaction
            .execute(
                "INSERT OR REPLACE INTO logs VALUES (?1, ?2, ?3)",
                params![log.name(), next, last.map(|last| last.to_string())],
            )
            .map_err(sql)?;
        transaction.commit().map_err(sql)?;
        read
    }

    /// All runs, oldest first.
    pub(crate) fn runs(&self) -> Result<Vec<IndexedRun>, IndexError> {
        self.query(&format!("{RUN} ORDER BY started_us, id"), [], run_row)
    }

    /// Runs whose name or id is `name`, or whose id begins with it; newest last.
    pub(crate) fn find(&self, name: &str) -> Result<Vec<IndexedRun>, IndexError> {
        let exact = self.query(
            &format!("{RUN} WHERE name = ?1 OR id = ?1 ORDER BY started_us"),
            [name],
            run_row,
        )?;
        if !exact.is_empty() || name.len() < 6 {
            return Ok(exact);
        }
        let prefix = |run: &IndexedRun| run.id.to_string().starts_with(name);
        Ok(self.runs()?.into_iter().filter(prefix).collect())
    }

    /// Where it is said that blobs were pruned: log and number of each entry.
    pub(crate) fn prunings(&self) -> Result<Vec<(String, u64)>, IndexError> {
        let sql = "SELECT log, number FROM prunings ORDER BY log, number";
        self.query(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Where the entries of a run are, in their order; one that was recorded again in a further log is there twice.
    pub(crate) fn entries_of(&self, run: RunId) -> Result<Vec<IndexedEntry>, IndexError> {
        let sql = "SELECT seq, log, number FROM entries WHERE run = ?1 ORDER BY seq, log";
        self.query(sql, [run.to_string()], |row| {
            Ok(IndexedEntry {
                seq: row.get(0)?,
                log: row.get(1)?,
                number: row.get(2)?,
            })
        })
    }

    /// Logs that could not be read to their end when the index was brought up to the ledger.
    pub(crate) fn unread(&self) -> &[Gap] {
        &self.unread
    }

    /// The number that the next entry of a run has.
    pub(crate) fn next_seq(&self, run: RunId) -> Result<u64, IndexError> {
        let sql = "SELECT max(seq) + 1 FROM entries WHERE run = ?1";
        let found = self.query(sql, [run.to_string()], |row| row.get::<_, Option<u64>>(0))?;
        Ok(found.into_iter().flatten().next().unwrap_or(0))
    }

    /// Every recorded save of these bytes.
    pub(crate) fn saves_of(&self, digest: &Digest) -> Result<Vec<IndexedSave>, IndexError> {
        self.query(
            &format!("{SAVE} WHERE saves.digest = ?1 ORDER BY at_us"),
            [digest.to_string()],
            save_row,
        )
    }

    /// Every recorded save at this path.
    pub(crate) fn saves_at(&self, path: &PathText) -> Result<Vec<IndexedSave>, IndexError> {
        self.query(
            &format!("{SAVE} WHERE saves.path = ?1 ORDER BY at_us"),
            [path.as_str()],
            save_row,
        )
    }

    /// The newest earlier run of the same command whose environment is recorded and was not found wanting, or was accepted:
    /// its name, its environment's tree and the summary of its packages.
    pub(crate) fn last_good_environment(
        &self,
        same: &Digest,
        not: RunId,
    ) -> Result<Option<(String, Digest, Option<Digest>)>, IndexError> {
        let sql = "SELECT runs.name, environments.tree, environments.summary FROM runs JOIN environments ON environments.run = runs.id
            WHERE runs.same = ?1 AND runs.id != ?2 AND (runs.environment_findings = 0 OR runs.accepted = 1)
            ORDER BY runs.started_us DESC LIMIT 1";
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, digest(row, 1)?, optional_digest(row, 2)?));
        Ok(self
            .query(sql, [same.to_string(), not.to_string()], row)?
            .into_iter()
            .next())
    }

    /// The list of ways in of the last good run of the same command, with the run's name.
    pub(crate) fn last_good_ways(
        &self,
        same: &Digest,
        not: RunId,
    ) -> Result<Option<(String, Digest)>, IndexError> {
        let sql = "SELECT runs.name, ways.list FROM runs JOIN ways ON ways.run = runs.id
            WHERE runs.same = ?1 AND runs.id != ?2 AND (runs.environment_findings = 0 OR runs.accepted = 1)
            ORDER BY runs.started_us DESC LIMIT 1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, digest(row, 1)?));
        Ok(self
            .query(sql, [same.to_string(), not.to_string()], row)?
            .into_iter()
            .next())
    }

    fn query<T, P: rusqlite::Params>(
        &self,
        sql: &str,
        parameters: P,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, IndexError> {
        let run = || -> rusqlite::Result<Vec<T>> {
            self.connection
                .prepare_cached(sql)?
                .query_map(parameters, row)?
                .collect()
        };
        run().map_err(|source| IndexError::Sqlite {
            path: self.path.clone(),
            source,
        })
    }
}

pub(crate) use verdicts::{IndexedVerdict, scanner_name};
pub(crate) use vouched::{STAMPS, about};

/// How far a log is indexed, and the digest of the last entry there.
fn indexed(connection: &Connection, log: &str) -> rusqlite::Result<(u64, Option<Digest>)> {
    let sql = "SELECT size, last FROM logs WHERE name = ?1";
    let found = connection.query_row(sql, [log], |row| {
        Ok((row.get(0)?, optional_digest(row, 1)?))
    });
    Ok(found.optional()?.unwrap_or((0, None)))
}

fn digest_at(log: &Log, number: u64) -> Result<Digest, ledger::LogError> {
    let entries = log.entries(number..number.saturating_add(1))?;
    Ok(Digest::of(entries.first().map_or(&[][..], Vec::as_slice)))
}

const RUN: &str = "SELECT id, name, started_us, state, boot, pid, ticks, wall_us, outcome, steps, findings, command, log, last_us FROM runs";
const SAVE: &str = "SELECT runs.name, saves.path, saves.digest, saves.step, saves.at_us, saves.summary FROM saves JOIN runs ON runs.id = saves.run";

fn apply(
    transaction: &Transaction<'_>,
    store: &Store,
    (log, number): (&str, u64),
    entry: &Entry,
) -> rusqlite::Result<()> {
    let run = entry.run.to_string();
    let known = transaction
        .prepare_cached("SELECT 1 FROM entries WHERE run = ?1 AND seq = ?2")?
        .exists(params![run, entry.seq])?;
    transaction
        .prepare_cached("INSERT OR IGNORE INTO entries VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![run, entry.seq, log, number])?;
    if known {
        return Ok(()); // recorded again, in a further log, after the first was rewritten
    }
    note_life(transaction, &run, entry)?;
    let add = |sql: &str| transaction.prepare_cached(sql)?.execute([&run]).map(|_| ());
    match &entry.body {
        Body::Act(Act::Launch(launch)) => {
            apply_launch(transaction, log, &run, entry.event_us, launch)
        }
        Body::Act(Act::End(end)) => apply_end(transaction, &run, entry.event_us, end),
        Body::Act(Act::Interrupted) => {
            add("UPDATE runs SET state = 'interrupted' WHERE id = ?1 AND state = 'open'")
        }
        Body::Act(Act::Pruned(_)) => note_pruning(transaction, log, number),
        Body::Act(Act::WaysIn { list, .. }) => note_ways(transaction, &run, list),
        Body::Act(Act::EnvironmentAccepted) => add("UPDATE runs SET accepted = 1 WHERE id = ?1"),
        Body::Steps(steps) => {
            let sql = "UPDATE runs SET steps = steps + ?2 WHERE id = ?1";
            transaction
                .prepare_cached(sql)?
                .execute(params![run, steps.count])
                .map(|_| ())
        }
        Body::Finding(finding) => {
            add("UPDATE runs SET findings = findings + 1 WHERE id = ?1")?;
            if finding.rule.technique().starts_with('C') {
                add(
                    "UPDATE runs SET environment_findings = environment_findings + 1 WHERE id = ?1",
                )?;
            }
            Ok(())
        }
        Body::Examined(examined) => verdicts::apply(transaction, store, (log, number), examined),
        Body::Write(write) => apply_write(transaction, &run, entry.event_us, write),
        Body::Load(load) if load.what == Kind::Environment => {
            let Some(tree) = load.digest else {
                return Ok(());
            };
            let sql = "INSERT INTO environments VALUES (?1, ?2, ?3, ?4)";
            let summary = load.summary.map(|digest| digest.to_string());
            transaction
                .prepare_cached(sql)?
                .execute(params![run, load.path.as_str(), tree.to_string(), summary])
                .map(|_| ())
        }
        Body::Load(load) => {
            verdicts::apply_load(transaction, (log, number), (&run, entry.event_us), load)
        }
        Body::Act(act) => vouched::apply(transaction, (log, number), act),
        Body::Gap(_) => Ok(()),
    }
}

fn apply_end(
    transaction: &Transaction<'_>,
    run: &str,
    ended_us: i64,
    end: &End,
) -> rusqlite::Result<()> {
    let outcome = serde_json::to_string(&end.outcome).unwrap_or_default();
    let sql =
        "UPDATE runs SET state = 'ended', ended_us = ?2, wall_us = ?3, outcome = ?4 WHERE id = ?1";
    transaction
        .prepare_cached(sql)?
        .execute(params![run, ended_us, end.wall_us, outcome])
        .map(|_| ())
}

/// The ways into the processes of a run, for later ones to compare with.
fn note_ways(transaction: &Transaction<'_>, run: &str, list: &Digest) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO ways VALUES (?1, ?2)")?
        .execute(params![run, list.to_string()])
        .map(|_| ())
}

fn note_pruning(transaction: &Transaction<'_>, log: &str, number: u64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO prunings VALUES (?1, ?2)")?
        .execute(params![log, number])
        .map(|_| ())
}

/// What its own supervisor recorded is a sign of life; what others say of it later is none.
fn note_life(transaction: &Transaction<'_>, run: &str, entry: &Entry) -> rusqlite::Result<()> {
    if matches!(&entry.body, Body::Act(Act::Interrupted | Act::Launch(_))) {
        return Ok(());
    }
    let sql = "UPDATE runs SET last_us = ?2 WHERE id = ?1 AND state = 'open'";
    transaction
        .prepare_cached(sql)?
        .execute(params![run, entry.capture_us])
        .map(|_| ())
}

fn apply_write(
    transaction: &Transaction<'_>,
    run: &str,
    at_us: i64,
    write: &Write,
) -> rusqlite::Result<()> {
    let Some(digest) = write.digest else {
        return Ok(());
    };
    let sql = "INSERT INTO saves VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (digest, summary) = (
        digest.to_string(),
        write.summary.map(|digest| digest.to_string()),
    );
    let values = params![run, write.path.as_str(), digest, write.step, at_us, summary];
    transaction.prepare_cached(sql)?.execute(values).map(|_| ())
}

fn apply_launch(
    transaction: &Transaction<'_>,
    log: &str,
    run: &str,
    at_us: i64,
    launch: &Launch,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT OR IGNORE INTO runs (id, name, same, started_us, boot, pid, ticks, command, log, last_us)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?4)";
    let Process { boot, pid, started } = &launch.supervisor;
    let (name, same, command) = (
        launch.name.as_str(),
        launch.same.to_string(),
        launch.command.to_string(),
    );
    let values = params![run, name, same, at_us, boot, pid, started, command, log];
    transaction.prepare_cached(sql)?.execute(values).map(|_| ())
}

fn run_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<IndexedRun> {
    let id: String = row.get(0)?;
    let outcome: Option<String> = row.get(8)?;
    Ok(IndexedRun {
        id: id.parse().map_err(|_| rusqlite::Error::InvalidQuery)?,
        name: row.get(1)?,
        started_us: row.get(2)?,
        state: row.get(3)?,
        supervisor: Process {
            boot: row.get(4)?,
            pid: row.get(5)?,
            started: row.get(6)?,
        },
        wall_us: row.get(7)?,
        outcome: outcome.and_then(|text| serde_json::from_str(&text).ok()),
        steps: row.get(9)?,
        findings: row.get(10)?,
        command: optional_digest(row, 11)?,
        log: row.get(12)?,
        last_us: row.get(13)?,
    })
}

fn save_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<IndexedSave> {
    let path: String = row.get(1)?;
    Ok(IndexedSave {
        run: row.get(0)?,
        path: PathText::from_text(&path),
        digest: digest(row, 2)?,
        step: row.get(3)?,
        at_us: row.get(4)?,
        summary: optional_digest(row, 5)?,
    })
}

fn digest(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get::<_, String>(column)?
        .parse()
        .map_err(|_| rusqlite::Error::InvalidQuery)
}

fn optional_digest(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Digest>> {
    Ok(row
        .get::<_, Option<String>>(column)?
        .and_then(|text| text.parse().ok()))
}

fn remove(path: &Path) -> Result<(), IndexError> {
    for ending in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(ending);
        match std::fs::remove_file(&file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(IndexError::Io {
                    path: path.to_owned(),
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(())
}
