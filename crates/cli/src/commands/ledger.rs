//! `taintline ledger`.

use app::AppError;
use app::place::Surroundings;
use report::plain;

use crate::args::Ledger;
use crate::exit::Exit;

/// Checks or rebuilds.
pub(crate) fn ledger(surroundings: &Surroundings, args: &Ledger) -> Result<Exit, AppError> {
    match args {
        Ledger::Audit(json) => {
            let view = app::audit(surroundings)?;
            super::show(&view, json.json, plain::audit);
            Ok(if view.problems.is_empty() {
                Exit::Clean
            } else {
                Exit::Found
            })
        }
        Ledger::Reindex => {
            let runs = app::reindex(surroundings)?;
            crate::screen::out(&format!("the index is built anew: {runs} runs\n"));
            Ok(Exit::Clean)
        }
    }
}
