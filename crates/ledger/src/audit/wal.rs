//! Whether the write-ahead file is what was written: each sector, each signature, and that its entries lead to each root.

use domain::Digest;

use super::{AuditProblem, Findings, Place};
use crate::log::Log;
use crate::note::VerifierKey;
use crate::standing::{Signatures, Standing};
use crate::tiles::{LogError, WAL};
use crate::tree_head::{self, TreeHead};
use crate::wal::{DamageKind, Wal};

/// An entry that is not published, and the blobs that it needs.
pub(super) type Needs = (u64, Vec<Digest>);

/// Checks the write-ahead file of a log whose published head is `published`. Gives the head behind its last entry, and what
/// its entries need.
pub(super) fn audit(
    log: &Log,
    place: &Place<'_>,
    key: &VerifierKey,
    published: TreeHead,
    referenced: &(dyn Fn(&[u8]) -> Vec<Digest> + Sync),
    findings: &mut Findings,
) -> (TreeHead, Vec<Needs>) {
    let file = place.folder.join(WAL);
    let standing = match Standing::read(log.folder(), key, Signatures::All) {
        Ok(standing) => standing,
        Err(error) => {
            let is_own = |named: &std::path::Path| named == log.folder().join(WAL);
            match error {
                LogError::Older { .. } => {
                    let file = place.folder.join(crate::tiles::CHECKPOINT);
                    findings.log_error(&file, error);
                }
                error if error.file().is_some_and(is_own) => findings.log_error(&file, error),
                LogError::Disk(fault) if is_own(fault.path()) => findings.fault(&file, &fault),
                // The tiles are to blame, and were named when the tree was computed.
                _ => audit_alone(log, place, key, findings),
            }
            return (published, Vec::new());
        }
    };
    if standing.published.head != published {
        // Somebody published while the tiles were read: what came since was not audited, and is not told as if it were. The
        // caller looks once more while nobody can.
        findings.is_overtaken = true;
        return (published, Vec::new());
    }
    let mut needs = Vec::new();
    if let Some(tail) = &standing.tail {
        findings.report.bytes += tail.capacity;
        if tail.torn {
            findings.leftover(file);
        }
    }
    for (index, entry) in (standing.published.head.size..).zip(standing.unpublished()) {
        findings.report.entries += 1;
        needs.push((index, referenced(entry)));
    }
    (standing.head, needs)
}

/// Checks what can be checked without the tiles: sectors and signatures.
fn audit_alone(log: &Log, place: &Place<'_>, key: &VerifierKey, findings: &mut Findings) {
    let Ok(Some(bytes)) = crate::standing::read_wal(log.folder()) else {
        return;
    };
    let check = || {
        let mut walk = Wal::open(&bytes)?.records();
        while let Some(record) = walk.read()? {
            tree_head::open(record.note(), key)
                .map_err(|why| DamageKind::Head(why).at(record.position))?;
        }
        walk.is_torn()
    };
    if let Err(damage) = check() {
        findings.problem(&place.folder.join(WAL), AuditProblem::Wal(damage));
    }
}
