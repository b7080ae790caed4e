//! `taintline seal` and `taintline verify`.

use app::AppError;
use app::place::Surroundings;
use app::seal::{SealRequest, SealStampRequest, VerifyRequest};
use report::plain;
use report::vouch::Verdict;

use crate::args::{SealArgs, VerifyArgs};
use crate::exit::Exit;

/// Seals.
pub(crate) fn seal(surroundings: &Surroundings, args: SealArgs) -> Result<Exit, AppError> {
    if let Some(response) = args.time.time_response {
        let request = SealStampRequest {
            path: args.path,
            signature: args.signature,
            response,
            time_roots: args.time.time_roots,
            limit: args.effort.limit,
        };
        let view = app::seal::take_stamp(surroundings, &request)?;
        super::show(&view, args.json.json, plain::seal_stamped);
        return Ok(Exit::Clean);
    }
    let request = SealRequest {
        threads: args.effort.threads(),
        limit: args.effort.limit,
        path: args.path,
        key: args.key,
        certificates: args.certificates,
        signature: args.signature,
        exclude: args.exclude,
        links: args.links,
        tsa: args.time.tsa,
        time_request: args.time.time_request,
        time_roots: args.time.time_roots,
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
        time_roots: args.time_roots,
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
