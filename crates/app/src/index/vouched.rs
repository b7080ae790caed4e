//! Where stamps and approvals are, by what they are about. Whether they hold is asked of the entries, not of the index.

use domain::entry::Act;
use domain::vouch::{ApprovalOf, StampOf};
use rusqlite::{Transaction, params};

use super::{Index, IndexError};

/// Notes an act by which something is vouched for; others are nobody's business here.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    (log, number): (&str, u64),
    act: &Act,
) -> rusqlite::Result<()> {
    let (kind, about, size) = match act {
        Act::Stamped(stamp) => match &stamp.of {
            StampOf::TreeHead { log, size, .. } => ("stamp", log.clone(), *size),
            StampOf::Signature { .. } => return Ok(()),
        },
        Act::Approved(approval) => ("approval", about(&approval.of), 0),
        Act::Replayed(replayed) => ("replay", replayed.of.to_string(), 0),
        Act::Audited(audited) => ("audit", audited.of.to_string(), 0),
        Act::EnvironmentChecked(check) => ("environment", check.prefix.to_string(), check.findings),
        _ => return Ok(()),
    };
    let sql = "INSERT INTO vouched VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![kind, about, size, log, number];
    transaction.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// What an approval is found by: the run's id, or a digest.
pub(crate) fn about(of: &ApprovalOf) -> String {
    match of {
        ApprovalOf::Run { run } => run.to_string(),
        ApprovalOf::Sealed { root: digest } | ApprovalOf::Bytes { digest } => digest.to_string(),
    }
}

/// Stamps that are looked at to answer for one entry. Anybody who writes to the log can record worthless ones.
pub(crate) const STAMPS: u32 = 2048;

impl Index {
    /// Log and number of every approval, about one thing or about all, in the order of recording.
    pub(crate) fn approvals(&self, about: Option<&str>) -> Result<Vec<(String, u64)>, IndexError> {
        let sql = "SELECT log, number FROM vouched WHERE kind = 'approval' AND (?1 IS NULL OR about = ?1) ORDER BY rowid";
        self.query(sql, params![about], place)
    }

    /// Log and number of every replay of a run, in the order of recording.
    pub(crate) fn replays(&self, run: &str) -> Result<Vec<(String, u64)>, IndexError> {
        let sql =
            "SELECT log, number FROM vouched WHERE kind = 'replay' AND about = ?1 ORDER BY rowid";
        self.query(sql, params![run], place)
    }

    /// Log and number of every audit of a run, in the order of recording.
    pub(crate) fn audits(&self, run: &str) -> Result<Vec<(String, u64)>, IndexError> {
        let sql =
            "SELECT log, number FROM vouched WHERE kind = 'audit' AND about = ?1 ORDER BY rowid";
        self.query(sql, params![run], place)
    }

    /// Log and number of the last check of an environment in this folder that found nothing.
    pub(crate) fn last_check(&self, prefix: &str) -> Result<Option<(String, u64)>, IndexError> {
        let sql = "SELECT log, number FROM vouched WHERE kind = 'environment' AND about = ?1 AND size = 0 ORDER BY rowid DESC LIMIT 1";
        Ok(self.query(sql, params![prefix], place)?.into_iter().next())
    }

    /// Log and number of the stamps that cover entry `number` of a log, the one over the smallest tree first; [`STAMPS`] at most.
    pub(crate) fn stamps_over(
        &self,
        log: &str,
        number: u64,
    ) -> Result<Vec<(String, u64)>, IndexError> {
        let sql = "SELECT log, number FROM vouched WHERE kind = 'stamp' AND about = ?1 AND size > ?2 ORDER BY size, rowid LIMIT ?3";
        self.query(sql, params![log, number, STAMPS], place)
    }

    /// Log and number of the stamps that stand before entry `number` of a log, the last first; [`STAMPS`] at most.
    pub(crate) fn stamps_before(
        &self,
        log: &str,
        number: u64,
    ) -> Result<Vec<(String, u64)>, IndexError> {
        let sql = "SELECT log, number FROM vouched WHERE kind = 'stamp' AND log = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";
        self.query(sql, params![log, number, STAMPS], place)
    }
}

fn place(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, u64)> {
    Ok((row.get(0)?, row.get(1)?))
}
