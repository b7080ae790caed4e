//! What is not as before between two steps, in words: what, by how much, and what innocent thing would look the same.

use domain::{Finding, Grade, LossEnd, Rule, StepRecord};
use training::passes::gradients::{Change, Difference, Place, Verdict};

/// Parameters that are named one by one.
const NAMED_MAX: usize = 5;

/// A gradient that is not what it must be.
pub(super) fn gradient(
    rule: Rule,
    first: u64,
    step: &StepRecord,
    verdict: &Verdict,
    difference: &Difference,
    names: &dyn Fn(u32) -> String,
) -> Finding {
    let what = happened(first, difference);
    let what = format!(
        "{what}, in {} of {} sampled tensors",
        difference.tensors.len(),
        verdict.tensors
    );
    let mut details: Vec<String> = difference
        .first
        .iter()
        .map(|(index, position, must, found)| {
            format!(
                "{}[{position}]: {must:.7e} is expected and {found:.7e} is there",
                names(*index)
            )
        })
        .collect();
    let affected: Vec<String> = difference
        .tensors
        .iter()
        .take(NAMED_MAX)
        .map(|index| names(*index))
        .collect();
    details.push(format!("affected: {}", affected.join(", ")));
    let innocent = match difference.place {
        Place::Hooks => vec![
            "the program began to change its gradients by hooks at this step (a mask, a penalty): then its code says so".to_owned(),
        ],
        Place::Between => vec![
            "the program began to change its gradients itself at this step (noise, a penalty, a projection): then its code says so".to_owned(),
            "a failing memory: then single bits differ".to_owned(),
        ],
        _ => vec![
            "a torch of another version or build, whose function does something else: then every run with it shows this from its first step".to_owned(),
            "another thread of the program that writes gradients meanwhile".to_owned(),
        ],
    };
    finding(rule, first, step, what, details, innocent)
}

/// Where it is, and what became of it.
fn happened(first: u64, difference: &Difference) -> String {
    let became = match difference.change {
        Change::Times(times) => format!("became {} × what it was", signed(times)),
        Change::Clamped(limit) => format!("was cut off at ±{limit}"),
        Change::Shrunk => "became smaller".to_owned(),
        Change::Gone => "is gone, or is there where none was".to_owned(),
        Change::Other(Some((low, high))) => {
            format!(
                "is another ({} to {} × what it was)",
                signed(low),
                signed(high)
            )
        }
        Change::Other(None) => "is another".to_owned(),
    };
    match difference.place {
        Place::Between => {
            format!("between the last backward pass and step {first} the gradient {became}")
        }
        Place::Hooks => {
            format!(
                "hooks on parameters, within the last backward pass before step {first}: the gradient {became}"
            )
        }
        Place::Unscaling => {
            format!(
                "step {first}: GradScaler.unscale_ must divide by its scale, and the gradient {became} beyond that"
            )
        }
        Place::Clamping => {
            format!(
                "step {first}: clip_grad_value_ must cut gradients off at its limit, and the gradient {became} beyond that"
            )
        }
        Place::Clipping {
            max_norm,
            norm,
            coefficient,
        } => {
            let became = difference.became.map_or(became, |times| {
                format!("became {} × of what they were", short(times))
            });
            format!(
                "step {first}: clipping with max_norm {max_norm} found norm {}, so the gradients must become {} × of what they were, and {became}",
                short(norm),
                short(coefficient),
            )
        }
    }
}

/// A program that multiplied its gradients at each step did not.
pub(super) fn factor_gone(first: u64, step: &StepRecord) -> Finding {
    let what = format!(
        "step {first}: the gradients were not multiplied with the factor that the program used at each step so far"
    );
    let innocent = vec![
        "the program multiplies only as long as a condition holds: then its code says so"
            .to_owned(),
    ];
    finding(
        Rule::GradientChanged,
        first,
        step,
        what,
        Vec::new(),
        innocent,
    )
}

/// Clipping has another limit, or stopped.
pub(super) fn limits(first: u64, step: &StepRecord, habit: &[u64], now: &[u64]) -> Finding {
    let list = |bits: &[u64]| {
        let numbers: Vec<String> = bits
            .iter()
            .map(|bits| f64::from_bits(*bits).to_string())
            .collect();
        numbers.join(", ")
    };
    let what = if now.is_empty() {
        format!(
            "from step {first} on gradients are not clipped; each step before clipped them at {}",
            list(habit)
        )
    } else {
        format!(
            "step {first}: gradients are clipped at {}; each step before clipped them at {}",
            list(now),
            list(habit)
        )
    };
    let innocent = vec![
        "the program changes its clipping on a schedule, or clips in one phase only: then its code says so".to_owned(),
    ];
    finding(
        Rule::ClippingDiffers,
        first,
        step,
        what,
        Vec::new(),
        innocent,
    )
}

/// Backward passes that are missing or too many.
pub(super) fn counts(first: u64, step: &StepRecord, habit: (u32, u32), now: (u32, u32)) -> Finding {
    let what = format!(
        "step {first} had {} forward and {} backward passes; each step before had {} and {}",
        now.0, now.1, habit.0, habit.1
    );
    let details = vec![format!("it came again at step {}", step.step)];
    let innocent = vec![
        "the program leaves out losses that are no numbers: then the losses around it say so"
            .to_owned(),
    ];
    finding(Rule::PassesMiscounted, first, step, what, details, innocent)
}

/// A loss that is another multiple.
pub(super) fn loss(
    first: u64,
    step: &StepRecord,
    habit: &[LossEnd],
    now: &[LossEnd],
    times: f64,
) -> Finding {
    let what = format!(
        "from step {first} on the loss that the backward pass starts from is {} × its usual share",
        signed(times)
    );
    let details = habit
        .iter()
        .zip(now)
        .take(NAMED_MAX)
        .map(|(habit, now)| {
            format!(
                "what {} gives was multiplied with {}, and is with {}",
                habit.base,
                short(habit.factor.0),
                short(now.factor.0)
            )
        })
        .collect();
    let innocent = vec![
        "the program weights its loss anew in a later phase, or accumulates over another number of passes: then its code says so".to_owned(),
    ];
    finding(Rule::LossAltered, first, step, what, details, innocent)
}

/// The model is in evaluation mode while it is trained.
pub(super) fn evaluating(first: u64, step: &StepRecord) -> Finding {
    let what = format!(
        "from step {first} on the model is trained in evaluation mode; before it was in training mode"
    );
    let innocent = vec![
        "the program forgot model.train() after an evaluation".to_owned(),
        "the program trains on in evaluation mode on purpose, for instance with frozen normalization".to_owned(),
    ];
    finding(Rule::ModeChanged, first, step, what, Vec::new(), innocent)
}

/// Autocast is another.
pub(super) fn autocast(
    first: u64,
    step: &StepRecord,
    habit: Option<&str>,
    now: Option<&str>,
) -> Finding {
    let name = |kind: Option<&str>| {
        kind.map_or_else(
            || "without autocast".to_owned(),
            |kind| format!("under autocast to {kind}"),
        )
    };
    let what = format!(
        "from step {first} on forward passes run {}; before they ran {}",
        name(now),
        name(habit)
    );
    let innocent = vec![
        "the program changes its precision in a later phase: then its code says so".to_owned(),
    ];
    finding(Rule::ModeChanged, first, step, what, Vec::new(), innocent)
}

/// Nothing is drawn any more.
pub(super) fn still(first: u64, step: &StepRecord) -> Finding {
    let what = format!(
        "from step {first} on forward passes in training mode draw no random numbers; before, each step's first one did"
    );
    let details = vec!["so dropout, or what else drew, is off".to_owned()];
    let innocent = vec![
        "the program lowers its dropout to zero in a later phase: then its code says so".to_owned(),
    ];
    finding(Rule::ModeChanged, first, step, what, details, innocent)
}

/// Less is drawn.
pub(super) fn fewer_draws(first: u64, step: &StepRecord, usual: u32, now: u32) -> Finding {
    let what = format!(
        "from step {first} on forward passes draw {now} random numbers, before {usual}, from batches of the same size"
    );
    let details = vec!["so some of the dropout, or of what else drew, is off".to_owned()];
    let innocent = vec![
        "the program lowers some of its dropout to zero, or freezes a part of its model, in a later phase: then its code says so".to_owned(),
    ];
    finding(Rule::ModeChanged, first, step, what, details, innocent)
}

/// A parameter is of a narrower type.
pub(super) fn narrower(step: &StepRecord, name: &str, before: &str, now: &str) -> Finding {
    let what = format!("step {}: {name} was {before} and is {now}", step.step);
    let innocent =
        vec!["the program converts its model in a later phase: then its code says so".to_owned()];
    finding(
        Rule::ModeChanged,
        step.step,
        step,
        what,
        Vec::new(),
        innocent,
    )
}

/// Steps that begin with the same random numbers.
pub(super) fn reused(first: u64, step: &StepRecord) -> Finding {
    let what = format!(
        "from step {first} on all steps' forward passes begin with the same random numbers"
    );
    let details =
        vec!["the generator moves within the steps, so somebody sets it back each time".to_owned()];
    let innocent =
        vec!["the program seeds at each step, since this one: then its code says so".to_owned()];
    finding(
        Rule::RandomNumbersReused,
        first,
        step,
        what,
        details,
        innocent,
    )
}

fn finding(
    rule: Rule,
    first: u64,
    step: &StepRecord,
    what: String,
    mut details: Vec<String>,
    innocent: Vec<String>,
) -> Finding {
    if first != step.step {
        details.push(format!("told at step {}, when it was sure", step.step));
    }
    Finding {
        rule,
        grade: Grade::Claimed,
        what,
        details,
        path: None,
        step: Some(first),
        rank: None,
        earlier: None,
        evidence: Vec::new(),
        innocent,
    }
}

/// Two decimals, with a minus that is seen.
fn signed(value: f64) -> String {
    let text = format!("{:.2}", value.abs());
    if value < 0.0 {
        format!("−{text}")
    } else {
        text
    }
}

/// Four digits.
fn short(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) {
        format!("{value:.3e}")
    } else {
        format!("{}", (value * 1e4).round() / 1e4)
    }
}
