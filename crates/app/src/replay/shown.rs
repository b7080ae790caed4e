//! The replays of a run that are recorded.

use domain::RunId;
use domain::entry::Act;
use report::replay::ReplayLine;

use crate::error::AppError;
use crate::queries::Reading;
use crate::stamp;

/// Each read again from its log; one that is gone is among the gaps of the ledger's audit.
pub(crate) fn of_run(reading: &Reading, run: RunId) -> Result<Vec<ReplayLine>, AppError> {
    let places = reading.index.replays(&run.to_string())?;
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let logs = reading.store.logs()?;
    let mut lines = Vec::new();
    for (log, number) in places {
        let found = logs.iter().find(|found| found.name() == log);
        let act = found
            .map(|found| stamp::act_at(found, number))
            .transpose()?;
        if let Some(Act::Replayed(replayed)) = act.flatten() {
            lines.push(ReplayLine {
                verdict: replayed.verdict,
                way: replayed.way,
                first: replayed.first,
                last: replayed.last,
                compared: replayed.compared,
                step: replayed.step,
                rank: replayed.rank,
                who: format!("{}@{}", replayed.person.user, replayed.person.host),
                signed_by: replayed.signed_by.clone(),
                ledger: (log, number),
            });
        }
    }
    Ok(lines)
}
