//! `taintline ledger`.

use app::AppError;
use app::place::Surroundings;
use report::plain;

use crate::args::Ledger;
use crate::exit::Exit;

/// Checks, lists, proves or rebuilds.
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
        Ledger::Log(log) => {
            let view = app::evidence::entries(surroundings, log.log.as_deref(), log.count)?;
            super::show(&view, log.json.json, plain::entries);
            Ok(Exit::Clean)
        }
        Ledger::Show(show) => {
            let view = app::evidence::entry(surroundings, &show.entry)?;
            super::show(&view, show.json.json, plain::entry);
            Ok(Exit::Clean)
        }
        Ledger::Prove(prove) => {
            let output = prove.output.as_deref();
            let view = app::evidence::prove(surroundings, &prove.entry, output)?;
            super::show(&view, prove.json.json, plain::proof);
            Ok(Exit::Clean)
        }
        Ledger::VerifyProof(verify) => {
            let entry = verify.entry.as_deref();
            let view =
                app::evidence::verify_proof(surroundings, &verify.proof, &verify.key, entry)?;
            super::show(&view, verify.json.json, plain::proved);
            Ok(if view.problem.is_none() {
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
