//! `taintline convert`.

use app::AppError;
use app::convert::{ConvertError, Targets, convert as convert_checkpoint};
use report::plain;

use crate::args::Convert;
use crate::exit::Exit;

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
