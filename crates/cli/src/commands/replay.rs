//! `taintline replay`, `taintline bisect` and `taintline audit`.

use std::path::PathBuf;

use app::AppError;
use app::place::Surroundings;
use app::replay::{
    AuditRequest, BisectRequest, JobRequest, PlanRequest, ReplayRequest, accept, audit as drawn,
    bisect as halved, plan, replay as again, run_job, write_job,
};
use domain::replay::ReplayVerdict;
use report::bisect::BisectOutcome;
use report::plain;

use crate::args::{Audit, AuditPlan, AuditRun, Bisect, How, Place, Replay};
use crate::exit::Exit;
use crate::screen::message;

fn request(run: String, steps: Option<(u64, u64)>, place: Place) -> ReplayRequest {
    let words = place.resume.as_deref().unwrap_or_default();
    ReplayRequest {
        run,
        steps,
        sample: None,
        env: place.env,
        accept_environment: place.accept_environment,
        code: place.code,
        resume: words.split_whitespace().map(str::to_owned).collect(),
        from_start: place.from_start,
        threads: place.threads,
        keep: place.keep,
    }
}

fn of(how: How) -> ReplayRequest {
    request(how.run, how.steps, how.place)
}

fn progress(quiet: bool) -> impl FnMut(&str) {
    move |text| {
        if !quiet {
            message(&format!("taintline  {}\n", report::sanitise(text)));
        }
    }
}

/// Computes steps of a run again, here or for another machine.
pub(crate) fn replay(surroundings: &Surroundings, args: Replay) -> Result<Exit, AppError> {
    let mut progress = progress(args.place.quiet);
    let as_json = args.json.json;
    let request = ReplayRequest {
        sample: args.sample,
        ..request(args.run.unwrap_or_default(), args.steps, args.place)
    };
    if let Some(file) = &args.write_job {
        let view = write_job(surroundings, &request, file)?;
        super::show(&view, as_json, plain::job);
        return Ok(Exit::Clean);
    }
    let of_file = |file: PathBuf| JobRequest {
        file,
        answer: args.answer,
        keys: args.key,
        replay: request.clone(),
    };
    if let Some(file) = args.accept {
        let view = accept(surroundings, &of_file(file))?;
        super::show(&view, as_json, plain::job);
        return Ok(Exit::Clean);
    }
    let view = match args.job {
        Some(file) => {
            let (view, answer) = run_job(surroundings, &of_file(file), &mut progress)?;
            if let Some(answer) = answer {
                message(&plain::job(&answer));
            }
            view
        }
        None => again(surroundings, &request, &mut progress)?,
    };
    super::show(&view, as_json, plain::replayed);
    Ok(match view.verdict {
        ReplayVerdict::Same if view.missing > 0 => Exit::Incomplete,
        ReplayVerdict::Same => Exit::Clean,
        ReplayVerdict::Differs => Exit::Found,
        ReplayVerdict::CannotTest => Exit::Incomplete,
    })
}

/// Finds the first bad step and its cause.
pub(crate) fn bisect(surroundings: &Surroundings, args: Bisect) -> Result<Exit, AppError> {
    let mut progress = progress(args.how.place.quiet);
    let request = BisectRequest {
        replay: of(args.how),
        put_back: args.put_back,
        plan: args.plan,
    };
    let view = halved(surroundings, &request, &mut progress)?;
    let Some(view) = view else {
        return Ok(Exit::Clean);
    };
    super::show(&view, args.json.json, plain::bisected);
    Ok(match view.outcome {
        BisectOutcome::Nothing => Exit::Clean,
        BisectOutcome::Cause | BisectOutcome::Step => Exit::Found,
        BisectOutcome::CannotTest => Exit::Incomplete,
    })
}

/// Plans an audit, or makes one.
pub(crate) fn audit(surroundings: &Surroundings, args: Audit) -> Result<Exit, AppError> {
    match args {
        Audit::Plan(args) => planned(surroundings, args),
        Audit::Run(args) => audited(surroundings, args),
    }
}

fn audited(surroundings: &Surroundings, args: AuditRun) -> Result<Exit, AppError> {
    let mut progress = progress(args.place.quiet);
    let request = AuditRequest {
        replay: request(args.run.unwrap_or_default(), None, args.place),
        rate: args.rate,
        miss: args.miss,
    };
    let view = drawn(surroundings, &request, &mut progress)?;
    super::show(&view, args.json.json, plain::audited);
    Ok(match view.verdict {
        ReplayVerdict::Same => Exit::Clean,
        ReplayVerdict::Differs => Exit::Found,
        ReplayVerdict::CannotTest => Exit::Incomplete,
    })
}

fn planned(surroundings: &Surroundings, args: AuditPlan) -> Result<Exit, AppError> {
    let request = PlanRequest {
        run: args.run,
        rate: args.rate,
        miss: args.miss,
    };
    let view = plan(surroundings, &request)?;
    super::show(&view, args.json.json, plain::audit_planned);
    Ok(Exit::Clean)
}
