//! `taintline runs`, `show`, `diff`.

use std::path::Path;

use app::convert::{ConvertError, Targets, convert as convert_checkpoint};
use app::place::Surroundings;
use app::{AppError, Reading};
use report::plain;

use crate::args::{Convert, Diff, Json, Show};
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

/// Converts a checkpoint; what was found in it is listed, and is a finding.
pub(crate) fn convert(args: &Convert) -> Result<Exit, AppError> {
    let targets = Targets::of(&args.checkpoint, args.output.as_deref(), args.force);
    match convert_checkpoint(&args.checkpoint, &targets) {
        Ok(view) => {
            super::show(&view, args.json.json, plain::converted);
            Ok(Exit::Clean)
        }
        Err(error @ ConvertError::Found { .. }) => {
            if let ConvertError::Found { reasons, .. } = &error {
                let lines = reasons.iter().map(|reason| report::sanitise(reason) + "\n");
                crate::screen::out(&lines.collect::<String>());
            }
            crate::screen::error(&AppError::from(error));
            Ok(Exit::Found)
        }
        Err(error) => Err(error.into()),
    }
}

/// A run's name or id has neither a dot nor a slash, so that a file of such a name must be written `./name`.
fn names_file(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| matches!(byte, b'.' | b'/'))
}
