//! `taintline run`.

use app::AppError;
use app::place::Surroundings;
use app::run::{Budget, Opening, RunRequest, run as guard};
use report::plain;

use crate::args::{ExitCodeOf, Run};
use crate::exit::Exit;
use crate::screen::{Live, message};

/// Runs the command, tells the verdict on standard error.
pub(crate) fn run(surroundings: Surroundings, args: Run) -> Result<Exit, AppError> {
    let quiet = args.quiet;
    let request = RunRequest {
        argv: args.command,
        surroundings,
        budget: Budget {
            data: args.data_budget,
            checkpoint: args.checkpoint_budget,
        },
        accept_environment: args.accept_environment,
        refuse_dangerous: args.refuse_dangerous,
        spec: args.spec,
    };
    let mut opened = |opening: &Opening| {
        if !quiet {
            message(&plain::opening(&opening.name, &opening.store, opening.head));
            if opening.in_memory {
                message(plain::IN_MEMORY);
            }
        }
    };
    let report = guard(&request, &mut Live { quiet }, &mut opened)?;
    if !quiet || !report.record.findings.is_empty() {
        message(&plain::summary(&report.view));
    }
    let command_only = args.exit_code == ExitCodeOf::Command;
    Ok(Exit::of_run(
        report.outcome,
        report.record.findings.len(),
        command_only,
    ))
}
