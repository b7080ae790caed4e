//! `taintline spec`.

use app::AppError;
use app::place::Surroundings;
use app::spec::{self, AmendRequest, LearnRequest, SignRequest};
use report::plain;

use crate::args::{Spec, SpecAmend, SpecLearn, SpecSign};
use crate::exit::Exit;

/// Carries one of its commands out.
pub(crate) fn spec(surroundings: &Surroundings, args: Spec) -> Result<Exit, AppError> {
    match args {
        Spec::Learn(args) => learn(surroundings, args),
        Spec::Show(args) => {
            let view = spec::show(surroundings, &args.file)?;
            super::show(&view, args.json.json, plain::spec_shown);
            Ok(Exit::Clean)
        }
        Spec::Diff(args) => {
            let view = spec::compare(surroundings, &args.left, &args.right)?;
            super::show(&view, args.json.json, plain::diff);
            Ok(Exit::Clean)
        }
        Spec::Sign(args) => sign(surroundings, args),
        Spec::Verify(args) => {
            let view = spec::verify(surroundings, &args.file)?;
            super::show(&view, args.json.json, plain::spec_signed);
            Ok(match view.standing {
                "allowed" => Exit::Clean,
                "not_asked" | "unknown" | "open" => Exit::Incomplete,
                _ => Exit::Found,
            })
        }
        Spec::Amend(args) => amend(surroundings, args),
    }
}

fn learn(surroundings: &Surroundings, args: SpecLearn) -> Result<Exit, AppError> {
    let request = LearnRequest {
        run: args.run,
        also: args.also,
        output: args.output,
        anyway: args.anyway,
        force: args.force,
    };
    let view = spec::learn(surroundings, &request)?;
    super::show(&view, args.json.json, plain::spec_learnt);
    Ok(Exit::Clean)
}

fn sign(surroundings: &Surroundings, args: SpecSign) -> Result<Exit, AppError> {
    let request = SignRequest {
        file: args.file,
        key: args.with.key,
        agent: args.with.agent,
        anew: args.anew,
    };
    let view = spec::sign(surroundings, &request)?;
    super::show(&view, args.json.json, plain::spec_signed);
    Ok(Exit::Clean)
}

fn amend(surroundings: &Surroundings, args: SpecAmend) -> Result<Exit, AppError> {
    let request = AmendRequest {
        file: args.file,
        from_step: args.from_step,
        set: args.set,
        why: args.why,
        key: args.with.key,
        agent: args.with.agent,
    };
    let view = spec::amend(surroundings, &request)?;
    super::show(&view, args.json.json, plain::spec_signed);
    Ok(Exit::Clean)
}
