//! `taintline ledger stamp`, `approve`, `approvals`, `attest`.

use app::AppError;
use app::approve::{self, ApprovalsRequest, ApproveRequest};
use app::attest::{self, AttestRequest, VerifyStatement};
use app::place::Surroundings;
use app::stamp::{How, StampRequest, stamp as carry_out};
use report::plain;
use report::statement::ApprovalsView;
use report::vouch::Verdict;

use crate::args::{Approvals, Approve, Attest, LedgerStamp, Whom};
use crate::exit::Exit;

/// Asks for a time stamp, or takes one.
pub(crate) fn stamp(surroundings: &Surroundings, args: &LedgerStamp) -> Result<Exit, AppError> {
    let how = match (&args.request, &args.response, &args.tsa) {
        (Some(file), ..) => How::Request(file.clone()),
        (_, Some(file), _) => How::Response(file.clone()),
        (.., Some(url)) => How::Ask(url.clone()),
        (None, None, None) => How::Settled,
    };
    let request = StampRequest {
        log: args.log.clone(),
        how,
        time_roots: args.time_roots.clone(),
    };
    let view = carry_out(surroundings, &request)?;
    super::show(&view, args.json.json, plain::stamped);
    Ok(Exit::Clean)
}

/// Has the user sign.
pub(crate) fn approve(surroundings: &Surroundings, args: Approve) -> Result<Exit, AppError> {
    let request = ApproveRequest {
        what: args.what,
        note: args.note,
        key: args.key,
        agent: args.agent,
        whom: whom(args.whom),
    };
    let view = approve::approve(surroundings, &request)?;
    super::show(&view, args.json.json, plain::approvals);
    Ok(Exit::Clean)
}

/// Lists approvals.
pub(crate) fn approvals(surroundings: &Surroundings, args: Approvals) -> Result<Exit, AppError> {
    let request = ApprovalsRequest {
        what: args.what,
        whom: whom(args.whom),
        export: args.export,
    };
    let view = approve::approvals(surroundings, &request)?;
    super::show(&view, args.json.json, plain::approvals);
    Ok(worth(&view))
}

/// What the approvals are worth together.
fn worth(view: &ApprovalsView) -> Exit {
    let is_open = |standing: &str| matches!(standing, "not_asked" | "unknown" | "open");
    let mut standings = view.approvals.iter().map(|approval| approval.standing);
    match standings.clone().all(|standing| standing == "allowed") {
        true if view.gaps.is_empty() => Exit::Clean,
        true => Exit::Incomplete,
        false if standings.all(|standing| standing == "allowed" || is_open(standing)) => {
            Exit::Incomplete
        }
        false => Exit::Found,
    }
}

fn whom(args: Whom) -> approve::Whom {
    approve::Whom {
        keys: args.signers,
        trust: args.trust,
    }
}

/// States what is recorded of a run, or verifies a statement.
pub(crate) fn attest(surroundings: &Surroundings, args: Attest) -> Result<Exit, AppError> {
    if let Some(file) = args.verify {
        let keys = args.keys;
        let view = attest::verify_statement(surroundings, &VerifyStatement { file, keys })?;
        super::show(&view, args.json.json, plain::attestation);
        return Ok(match view.verdict {
            Verdict::Valid => Exit::Clean,
            Verdict::Invalid => Exit::Found,
            Verdict::CannotCheck => Exit::Incomplete,
        });
    }
    let request = AttestRequest {
        run: args.run.unwrap_or_default(),
        folder: args.output.unwrap_or_default(),
        key: args.keys.into_iter().next(),
    };
    let view = attest::attest(surroundings, &request)?;
    super::show(&view, args.json.json, plain::attested);
    Ok(Exit::Clean)
}
