//! `taintline seal` and `taintline verify`.

use app::AppError;
use app::place::Surroundings;
use app::seal::{SealRequest, VerifyRequest};
use report::plain;
use report::vouch::Verdict;

use crate::args::{SealArgs, VerifyArgs};
use crate::exit::Exit;

/// Seals.
pub(crate) fn seal(surroundings: &Surroundings, args: SealArgs) -> Result<Exit, AppError> {
    let request = SealRequest {
        threads: args.effort.threads(),
        limit: args.effort.limit,
        path: args.path,
        key: args.key,
        certificates: args.certificates,
        signature: args.signature,
        exclude: args.exclude,
        links: args.links,
    };
    let view = app::seal::seal(surroundings, &request)?;
    super::show(&view, args.json.json, plain::sealed);
    Ok(Exit::Clean)
}

/// Verifies.
pub(crate) fn verify(surroundings: &Surroundings, args: VerifyArgs) -> Result<Exit, AppError> {
    let request = VerifyRequest {
        threads: args.effort.threads(),
        limit: args.effort.limit,
        path: args.path,
        keys: args.keys,
        roots: args.roots,
        trust: args.trust,
        at: args.at,
        signature: args.signature,
        deep: args.deep,
        tree_only: args.tree_only,
    };
    let view = app::seal::verify(surroundings, &request)?;
    super::show(&view, args.json.json, plain::verified);
    Ok(match view.verdict {
        Verdict::Valid => Exit::Clean,
        Verdict::Invalid => Exit::Found,
        Verdict::CannotCheck => Exit::Incomplete,
    })
}
