//! Verdicts of `taintline scan --record`: where each is kept, found by what it rests on.
//!
//! A row only says where to look. Whoever uses a verdict reads its entry and its segment again, both of which are named by
//! digest, and asks the store's secret whether it vouches for them.

use domain::entry::Load;
use domain::verdict::{Examined, Judged};
use domain::{Digest, PathText};
use ledger::Store;
use rusqlite::{Transaction, params};

use super::{Index, IndexError, digest};

/// Rows that are looked at for one question.
const ROWS: u64 = 10_000;

/// A verdict as the index has it.
#[derive(Debug, Clone)]
pub(crate) struct IndexedVerdict {
    /// The log.
    pub(crate) log: String,
    /// Number of the entry in it.
    pub(crate) number: u64,
    /// Line of the segment, from 0.
    pub(crate) line: u64,
    /// When, microseconds since 1970.
    pub(crate) at_us: i64,
    /// Last component of the path.
    pub(crate) name: String,
    /// Size of the file in bytes.
    pub(crate) size: u64,
    /// What was read of it.
    pub(crate) layout: Digest,
    /// What stood there.
    pub(crate) content: Digest,
}

/// A file that a run loaded and that was examined for it.
#[derive(Debug, Clone)]
pub(crate) struct IndexedLoad {
    /// Name of the run.
    pub(crate) run: String,
    /// Where the file was.
    pub(crate) path: PathText,
    /// Digest of the whole file.
    pub(crate) digest: Digest,
    /// Blob with the examination.
    pub(crate) examined: Digest,
    /// When, microseconds since 1970.
    pub(crate) at_us: i64,
    /// The log.
    pub(crate) log: String,
    /// Number of the entry in it.
    pub(crate) number: u64,
}

impl Index {
    /// Loads of files of this size that were examined, oldest first.
    pub(crate) fn examined_loads(&self, size: u64) -> Result<Vec<IndexedLoad>, IndexError> {
        let sql = format!(
            "SELECT coalesce(runs.name, examined_loads.run), path, digest, examined, at_us, examined_loads.log, number FROM examined_loads
            LEFT JOIN runs ON runs.id = examined_loads.run WHERE size = ?1 ORDER BY at_us LIMIT {ROWS}"
        );
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.query(&sql, [size], |row| {
            let path: String = row.get(1)?;
            Ok(IndexedLoad {
                run: row.get(0)?,
                path: PathText::from_text(&path),
                digest: digest(row, 2)?,
                examined: digest(row, 3)?,
                at_us: row.get(4)?,
                log: row.get(5)?,
                number: row.get(6)?,
            })
        })
    }

    /// Verdicts of this scanner that took long, newest first.
    pub(crate) fn heavy_verdicts(
        &self,
        scanner: &Digest,
    ) -> Result<Vec<IndexedVerdict>, IndexError> {
        let sql =
            format!("{VERDICT} WHERE heavy = 1 AND scanner = ?1 ORDER BY at_us DESC LIMIT {ROWS}");
        self.query(&sql, [scanner.to_string()], verdict_row)
    }

    /// One verdict of each layout that files of this size had.
    pub(crate) fn layouts_of_size(&self, size: u64) -> Result<Vec<IndexedVerdict>, IndexError> {
        let Ok(size) = i64::try_from(size) else {
            return Ok(Vec::new());
        };
        let sql = format!("{VERDICT} WHERE size = ?1 GROUP BY layout LIMIT {ROWS}");
        self.query(&sql, [size], verdict_row)
    }

    /// All verdicts on these bytes in this layout, oldest first.
    pub(crate) fn verdicts_on(
        &self,
        size: u64,
        layout: &Digest,
        content: &Digest,
    ) -> Result<Vec<IndexedVerdict>, IndexError> {
        let sql = format!(
            "{VERDICT} WHERE size = ?1 AND layout = ?2 AND content = ?3 ORDER BY at_us LIMIT {ROWS}"
        );
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let keys = params![size, layout.to_string(), content.to_string()];
        self.query(&sql, keys, verdict_row)
    }
}

const VERDICT: &str = "SELECT log, number, line, at_us, name, size, layout, content FROM verdicts";

fn verdict_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<IndexedVerdict> {
    Ok(IndexedVerdict {
        log: row.get(0)?,
        number: row.get(1)?,
        line: row.get(2)?,
        at_us: row.get(3)?,
        name: row.get(4)?,
        size: row.get(5)?,
        layout: digest(row, 6)?,
        content: digest(row, 7)?,
    })
}

/// The name under which a scanner's verdicts are found.
pub(crate) fn scanner_name(scanner: &domain::verdict::Scanner) -> Digest {
    Digest::of(&serde_json::to_vec(scanner).unwrap_or_default())
}

/// Takes in the verdicts of a segment. One whose blob is gone or damaged has none: the audit names it.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    store: &Store,
    (log, number): (&str, u64),
    examined: &Examined,
) -> rusqlite::Result<()> {
    let Ok(Some(segment)) = store.blob(&examined.segment) else {
        return Ok(());
    };
    let scanner = scanner_name(&examined.scanner).to_string();
    let sql = "INSERT INTO verdicts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let mut statement = transaction.prepare_cached(sql)?;
    for (line, bytes) in (0_u64..).zip(segment.split(|byte| *byte == b'\n')) {
        let Ok(judged) = serde_json::from_slice::<Judged>(bytes) else {
            continue;
        };
        let Some(bound) = &judged.bound else { continue };
        let Ok(size) = i64::try_from(bound.size) else {
            continue;
        };
        statement.execute(params![
            log,
            number,
            line,
            judged.at_us,
            scanner,
            bound.name,
            size,
            bound.layout.to_string(),
            bound.content.to_string(),
            crate::scan::is_heavy(&judged)
        ])?;
    }
    Ok(())
}

/// Takes in a load that was examined.
pub(super) fn apply_load(
    transaction: &Transaction<'_>,
    (log, number): (&str, u64),
    (run, at_us): (&str, i64),
    load: &Load,
) -> rusqlite::Result<()> {
    let (Some(digest), Some(examined), Some(identity)) =
        (load.digest, load.examined, &load.identity)
    else {
        return Ok(());
    };
    let Ok(size) = i64::try_from(identity.size) else {
        return Ok(());
    };
    let sql = "INSERT INTO examined_loads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (digest, examined) = (digest.to_string(), examined.to_string());
    let path = load.path.as_str();
    let values = params![run, path, size, digest, examined, at_us, log, number];
    transaction.prepare_cached(sql)?.execute(values).map(|_| ())
}
