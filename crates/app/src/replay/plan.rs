//! `taintline audit plan`: how many steps must be computed again, and what that costs.

use report::replay::AuditPlanView;
use training::replay::plan;

use super::steps::Recorded;
use crate::error::AppError;
use crate::place::Surroundings;
use crate::queries::Reading;

/// Steps of a run that is not named: as good as without end.
const ENDLESS: u64 = 1_000_000_000;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The run; without one, of a run with very many steps.
    pub run: Option<String>,
    /// The share of the steps that is tampered with, above 0 and at most 1.
    pub rate: f64,
    /// The chance to miss that which one is content with, above 0 and below 1.
    pub miss: f64,
}

/// Answers how many steps, drawn at random, must be computed again.
pub fn plan(surroundings: &Surroundings, request: &PlanRequest) -> Result<AuditPlanView, AppError> {
    let (mut run, mut steps, mut seconds) = (None, ENDLESS, None);
    if let Some(name) = &request.run {
        let reading = Reading::open(surroundings)?;
        let record = reading.record(&reading.find(name)?)?;
        let recorded = Recorded::read(&reading.store, &record);
        let (first, last) = recorded.range();
        let of_a_rank = recorded.ranks.values().map(Vec::len).max().unwrap_or(0);
        steps = of_a_rank as u64;
        let all = std::time::Duration::from_micros(recorded.time_us(first, last));
        seconds = (steps > 0).then(|| all.as_secs_f64() / of_a_rank.max(1) as f64);
        run = Some(record.name());
    }
    let needed = plan::needed(steps, request.rate, request.miss);
    let tampered = plan::tampered(steps, request.rate);
    Ok(AuditPlanView {
        schema: "taintline.audit-plan/1",
        steps: run.is_some().then_some(steps),
        run,
        rate: request.rate,
        miss: request.miss,
        needed,
        chance: plan::miss(steps, tampered, needed),
        seconds: seconds.map(|each| each * needed as f64),
    })
}
