//! `taintline runs`, `show`, `diff`.

use std::path::Path;

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

/// Compares two runs, or two checkpoints where both names are those of files.
pub(crate) fn diff(surroundings: &Surroundings, args: &Diff) -> Result<Exit, AppError> {
    let (left, right) = (Path::new(&args.left), Path::new(&args.right));
    if names_file(left) && names_file(right) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let view = app::weights::compare(left, right, threads)?;
        super::show(&view, args.json.json, plain::weights);
        return Ok(Exit::Clean);
    }
    let reading = Reading::open(surroundings)?;
    super::show(
        &app::diff(&reading, &args.left, &args.right)?,
        args.json.json,
        plain::diff,
    );
    Ok(Exit::Clean)
}

/// A run's name or id has neither a dot nor a slash, so that a file of such a name must be written `./name`.
fn names_file(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| matches!(byte, b'.' | b'/'))
}
