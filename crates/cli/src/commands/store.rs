//! `taintline store`.

use app::AppError;
use app::place::Surroundings;
use app::store::{PruneRequest, Rules};
use report::plain;

use crate::args::{Prune, Store};
use crate::exit::Exit;

/// Measures or prunes.
pub(crate) fn store(surroundings: &Surroundings, args: Store) -> Result<Exit, AppError> {
    match args {
        Store::Du(json) => {
            let view = app::store::du(surroundings)?;
            super::show(&view, json.json, plain::du);
            Ok(incomplete(!view.gaps.is_empty()))
        }
        Store::Prune(args) => prune(surroundings, args),
    }
}

fn prune(surroundings: &Surroundings, args: Prune) -> Result<Exit, AppError> {
    let json = args.json.json;
    let request = PruneRequest {
        reason: args.reason(),
        dry_run: args.dry_run,
        rules: Rules {
            older_than_s: args.older_than.map(|age| age.seconds),
            keep: args.keep,
            budget: args.budget,
            kinds: args.kinds,
            force: args.force,
        },
    };
    let view = app::store::prune(surroundings, &request)?;
    super::show(&view, json, plain::pruned);
    Ok(incomplete(!view.gaps.is_empty()))
}

fn incomplete(is: bool) -> Exit {
    if is { Exit::Incomplete } else { Exit::Clean }
}
