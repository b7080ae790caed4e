//! `taintline replay` and `taintline audit`.

use app::AppError;
use app::place::Surroundings;
use app::replay::{PlanRequest, ReplayRequest, plan, replay as again};
use domain::replay::ReplayVerdict;
use report::plain;

use crate::args::{Audit, Replay};
use crate::exit::Exit;
use crate::screen::message;

/// Computes steps of a run again.
pub(crate) fn replay(surroundings: &Surroundings, args: Replay) -> Result<Exit, AppError> {
    let words = args.resume.as_deref().unwrap_or_default();
    let request = ReplayRequest {
        run: args.run,
        steps: args.steps,
        env: args.env,
        accept_environment: args.accept_environment,
        code: args.code,
        resume: words.split_whitespace().map(str::to_owned).collect(),
        threads: args.threads,
        keep: args.keep,
    };
    let quiet = args.quiet;
    let mut progress = |text: &str| {
        if !quiet {
            message(&format!("taintline  {}\n", report::sanitise(text)));
        }
    };
    let view = again(surroundings, &request, &mut progress)?;
    super::show(&view, args.json.json, plain::replayed);
    Ok(match view.verdict {
        ReplayVerdict::Same if view.missing > 0 => Exit::Incomplete,
        ReplayVerdict::Same => Exit::Clean,
        ReplayVerdict::Differs => Exit::Found,
        ReplayVerdict::CannotTest => Exit::Incomplete,
    })
}

/// Plans an audit.
pub(crate) fn audit(surroundings: &Surroundings, args: Audit) -> Result<Exit, AppError> {
    let Audit::Plan(args) = args;
    let request = PlanRequest {
        run: args.run,
        rate: args.rate,
        miss: args.miss,
    };
    let view = plan(surroundings, &request)?;
    super::show(&view, args.json.json, plain::audit_planned);
    Ok(Exit::Clean)
}
