//! What a difference from the spec is called, with both values.

use domain::{Finding, Grade, Rule};
use training::spec::Difference;

/// A process, a step and who stands behind the spec.
pub(super) struct Context<'a> {
    pub(super) step: u64,
    pub(super) rank: Option<u32>,
    pub(super) optimizer: u32,
    pub(super) spec: &'a str,
    pub(super) signed: &'a str,
}

/// The rule of a difference.
pub(super) const fn rule(difference: &Difference) -> Rule {
    match difference {
        Difference::World { .. } => Rule::WorldNotDeclared,
        Difference::Optimizer { .. }
        | Difference::Class { .. }
        | Difference::Groups { .. }
        | Difference::Hyper { .. } => Rule::HyperparameterNotDeclared,
        Difference::Rate { .. } => Rule::LearningRateNotDeclared,
        Difference::Seed { .. } | Difference::Draws { .. } => Rule::SeedNotDeclared,
        Difference::Backwards { .. } => Rule::AccumulationNotDeclared,
        Difference::Batch { .. } | Difference::Batches { .. } => Rule::BatchNotDeclared,
        Difference::Loss { .. } | Difference::Norm { .. } => Rule::ResultNotDeclared,
        Difference::Tensor { is_type: true, .. } => Rule::PrecisionNotDeclared,
        Difference::Tensor { .. } => Rule::ModelNotDeclared,
        Difference::Steps { .. } => Rule::StepsNotDeclared,
    }
}

/// The same cause at one step, as one finding.
pub(super) fn finding(context: &Context<'_>, same: &[&Difference]) -> Option<Finding> {
    let first = same.first()?;
    let at = format!("step {}", context.step);
    let all: Vec<String> = same.iter().take(8).map(|it| words(context, it)).collect();
    let mut what = format!("{at}: {}", all.join("; "));
    if same.len() > 8 {
        what = format!("{what}; and {} more", same.len() - 8);
    }
    Some(Finding {
        rule: rule(first),
        grade: Grade::Claimed,
        what,
        details: vec![format!(
            "declared in spec {}; {}",
            context.spec, context.signed
        )],
        path: None,
        step: Some(context.step),
        rank: context.rank,
        earlier: None,
        evidence: Vec::new(),
        innocent: innocent(first),
    })
}

fn words(context: &Context<'_>, difference: &Difference) -> String {
    let whose = |group: usize| format!("optimizer {}, group {group}", context.optimizer);
    match difference {
        Difference::World { used, declared } => format!("{used} ranks, declared {declared}"),
        Difference::Optimizer { declared } => {
            format!(
                "optimizer {} is in use, declared are {declared}",
                context.optimizer
            )
        }
        Difference::Class { used, declared } => {
            format!(
                "optimizer {} is {used}, declared {declared}",
                context.optimizer
            )
        }
        Difference::Groups { used, declared } => {
            format!(
                "optimizer {} has {used} parameter groups, declared {declared}",
                context.optimizer
            )
        }
        Difference::Hyper {
            group,
            name,
            used,
            declared,
        } => {
            let shown = |value: &Option<f64>| {
                value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
            };
            format!(
                "{name} used {}, declared {} ({})",
                shown(used),
                shown(declared),
                whose(*group)
            )
        }
        Difference::Rate {
            group,
            used,
            declared,
        } => {
            let times = if *declared == 0.0 {
                String::new()
            } else {
                format!(", {:.3} times", used / declared)
            };
            format!(
                "learning rate used {used:?}, declared {declared:?}{times} ({})",
                whose(*group)
            )
        }
        other => words_of_step(other),
    }
}

fn words_of_step(difference: &Difference) -> String {
    match difference {
        Difference::Seed {
            generator,
            used,
            declared,
        } => {
            format!("the state of {generator}'s generator is {used}, declared {declared}")
        }
        Difference::Draws { used, declared } => format!(
            "other random numbers were drawn than declared, from the same weights, batches and random state: torch's generator is {used}, declared {declared}"
        ),
        Difference::Backwards { used, declared } => {
            format!("{used} backward passes made the step, declared {declared}")
        }
        Difference::Batch {
            number,
            used,
            declared,
            instead,
        } => {
            let instead = instead.map_or_else(
                || "the declared run never had it".to_owned(),
                |step| format!("the declared run had it at step {step}"),
            );
            format!(
                "batch {} is {used}, declared {declared}: {instead}",
                number + 1
            )
        }
        Difference::Batches { used, declared } => {
            format!("{used} batches reached the model, declared {declared}")
        }
        Difference::Loss {
            number,
            used,
            declared,
        } => format!(
            "loss {} used {used:?}, declared {declared:?}, from the same weights, batches and random state",
            number + 1
        ),
        Difference::Norm { used, declared } => format!(
            "norm of the gradients {used:?}, declared {declared:?}, from the same weights, batches, random state and losses"
        ),
        Difference::Tensor {
            name,
            used,
            declared,
            is_type: true,
        } => {
            format!("{name} has elements of {used}, declared {declared}")
        }
        Difference::Tensor {
            name,
            used,
            declared,
            ..
        } => format!("{name} has shape {used}, declared {declared}"),
        Difference::Steps { declared } => format!("the run goes on, declared are {declared} steps"),
        _ => String::new(), // an optimizer's, told above
    }
}

fn innocent(difference: &Difference) -> Vec<String> {
    let meant = "somebody meant it: then `taintline spec amend` says who and why";
    let more = match difference {
        Difference::Seed { .. } => Some(
            "more or other random numbers were drawn before or in the first step: dropout, data, another model",
        ),
        Difference::Draws { .. } => {
            Some("a layer draws otherwise: dropout that was turned off or on")
        }
        Difference::Batch { .. } | Difference::Batches { .. } => Some(
            "an order that depends on no seed that is seen here: time, files as a folder lists them, workers that race",
        ),
        Difference::Loss { .. } => Some(
            "what the loss is computed with is not among the model's inputs: targets, weights of classes, a factor",
        ),
        Difference::Norm { .. } => {
            Some("kernels that are not deterministic, with very few or very large gradients")
        }
        Difference::World { .. } => Some("the scheduler gave another number of machines"),
        _ => None,
    };
    more.into_iter().chain([meant]).map(str::to_owned).collect()
}
