//! `taintline env`.

use app::AppError;
use app::env::{EnvBaselineRequest, EnvCheckRequest};
use app::place::Surroundings;
use report::environment::EnvVerdict;
use report::plain;

use crate::args::{Env, EnvBaseline, EnvCheck};
use crate::exit::Exit;

/// Looks at an environment, or signs it.
pub(crate) fn env(surroundings: &Surroundings, args: Env) -> Result<Exit, AppError> {
    match args {
        Env::Check(args) => check(surroundings, args),
        Env::Baseline(args) => baseline(surroundings, args),
    }
}

fn check(surroundings: &Surroundings, args: EnvCheck) -> Result<Exit, AppError> {
    let request = EnvCheckRequest {
        threads: args.threads.count(),
        python: args.python,
        lock: args.lock,
        index: args.index,
        wheelhouses: args.wheelhouses,
        baseline: args.baseline,
        keys: args.keys,
        deep: args.deep,
        compiled: args.compiled,
    };
    let view = app::env::check(surroundings, &request)?;
    super::show(&view, args.json.json, plain::env_checked);
    Ok(match view.verdict {
        EnvVerdict::AsVouched => Exit::Clean,
        EnvVerdict::Differs => Exit::Found,
        EnvVerdict::Incomplete => Exit::Incomplete,
    })
}

fn baseline(surroundings: &Surroundings, args: EnvBaseline) -> Result<Exit, AppError> {
    let request = EnvBaselineRequest {
        threads: args.threads.count(),
        python: args.python,
        output: args.output,
        key: args.key,
    };
    let view = app::env::baseline(surroundings, &request)?;
    super::show(&view, args.json.json, plain::env_baseline);
    Ok(Exit::Clean)
}
