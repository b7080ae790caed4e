//! `taintline ledger`.

use app::AppError;
use app::place::Surroundings;
use report::plain;

use crate::args::Ledger;
use crate::exit::Exit;

/// Checks, lists, proves or rebuilds.
pub(crate) fn ledger(surroundings: &Surroundings, args: &Ledger) -> Result<Exit, AppError> {
    match args {
        Ledger::Audit(audit) => {
            let view = app::audit(surroundings, &audit.heads, &audit.time_roots)?;
            super::show(&view, audit.json.json, plain::audit);
            Ok(match (view.wrong(), view.gaps.len()) {
                (0, 0) => Exit::Clean,
                (0, _) => Exit::Incomplete,
                _ => Exit::Found,
            })
        }
        Ledger::Head(head) => {
            let (log, output) = (head.log.as_deref(), head.output.as_deref());
            let view = app::evidence::head(surroundings, log, output)?;
            super::show(&view, head.json.json, plain::head);
            Ok(Exit::Clean)
        }
        Ledger::Stamp(stamp) => super::papers::stamp(surroundings, stamp),
        Ledger::Log(log) => {
            let view =
                app::evidence::entries(surroundings, log.log.as_deref(), log.count, log.full)?;
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
            let trusted = app::evidence::Trusted {
                key: verify.key.as_deref(),
                policy: verify.policy.as_deref(),
            };
            let view = app::evidence::verify_proof(surroundings, &verify.proof, &trusted, entry)?;
            super::show(&view, verify.json.json, plain::proved);
            Ok(if view.problem.is_none() {
                Exit::Clean
            } else {
                Exit::Found
            })
        }
        Ledger::Cosign(cosign) => super::witness::cosign(surroundings, cosign),
        Ledger::Witness(witness) => super::witness::witness(surroundings, witness),
        Ledger::RotateKey(rotate) if rotate.seal => {
            let view = app::seal::rotate(surroundings, &rotate.reason)?;
            super::show(&view, rotate.json.json, plain::exchanged);
            Ok(Exit::Clean)
        }
        Ledger::RotateKey(rotate) => {
            let view = app::rotation::rotate_key(surroundings, &rotate.reason)?;
            super::show(&view, rotate.json.json, plain::rotated);
            Ok(Exit::Clean)
        }
        Ledger::Reindex => {
            let runs = app::reindex(surroundings)?;
            crate::screen::out(&format!("the index is built anew: {runs} runs\n"));
            Ok(Exit::Clean)
        }
    }
}
