//! `taintline runs`, `show`, `diff`.

use app::place::Surroundings;
use app::{AppError, Reading};
use report::plain;

use crate::args::{Diff, Json, Show};
use crate::exit::Exit;

/// Lists runs.
pub(crate) fn runs(surroundings: &Surroundings, json: &Json) -> Result<Exit, AppError> {
    super::show(
        &Reading::open(surroundings)?.runs()?,
        json.json,
        plain::runs,
    );
    Ok(Exit::Clean)
}

/// Shows one run.
pub(crate) fn show(surroundings: &Surroundings, args: &Show) -> Result<Exit, AppError> {
    super::show(
        &Reading::open(surroundings)?.show(&args.run)?,
        args.json.json,
        plain::show,
    );
    Ok(Exit::Clean)
}

/// Compares two runs.
pub(crate) fn diff(surroundings: &Surroundings, args: &Diff) -> Result<Exit, AppError> {
    let reading = Reading::open(surroundings)?;
    super::show(
        &app::diff(&reading, &args.left, &args.right)?,
        args.json.json,
        plain::diff,
    );
    Ok(Exit::Clean)
}
