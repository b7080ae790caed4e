//! A finding: something that an honest run does not show, with the evidence and the innocent readings.
//!
//! A finding is data, born with its rule. Nothing downstream looks at rendered text to know what it means.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::register::rules;
use crate::{Digest, PathText};

/// How good the evidence behind a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// The process under suspicion says so itself.
    Claimed,
    /// A sensor outside the process saw it.
    Observed,
    /// Independent re-execution from trusted code confirms it.
    Replayed,
}

impl fmt::Display for Grade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Claimed => "claimed",
            Self::Observed => "observed",
            Self::Replayed => "replayed",
        })
    }
}

rules! {
    /// Every rule there is. The id is stable; the technique is its number in the catalogue of sabotage techniques.
    Rule
    /// What it says, in one line.
    title
    /// Technique in the catalogue.
    technique;
    EnvironmentChanged "environment-changed" "an installed file is not what the last good run of this command used" "C01";
    EnvironmentChangedDuringRun "environment-changed-during-run" "an installed file changed while the run was going" "C01";
    EnvironmentChangedAndRestored "environment-changed-and-restored" "an installed file was changed while the run was going, and is as before again" "C01";
    SourceChangedDuringRun "source-changed-during-run" "a process loaded a file that had changed since another process of the run loaded it" "C12";
    EnvironmentNotAsInstalled "environment-not-as-installed" "an installed file is not what its package's RECORD says" "C01";
    EnvironmentNotAsVouched "environment-not-as-vouched" "an installed file is not what the wheel has that the lock file names" "C01";
    EnvironmentUnowned "environment-unowned" "a file that Python loads by itself belongs to no package" "C02";
    CompiledDiffers "compiled-differs" "byte code that Python uses is not what its source compiles to" "C01";
    CompiledUnchecked "compiled-unchecked" "byte code that Python uses whatever its source says is not that source's" "C01";
    ImportShadowed "import-shadowed" "a module from elsewhere is imported instead of the installed one" "C03";
    LibraryPreloaded "library-preloaded" "a library is loaded into the processes before all others" "C04";
    WayInNew "way-in-new" "code comes into the processes by a way that the last good run of this command did not have" "C02";
    CodeInMemory "code-in-memory" "a function in memory is not what its file compiles to" "C05";
    FunctionReplaced "function-replaced" "something else stands at the name of a library's function" "C05";
    HookUnexplained "hook-unexplained" "a hook or an interpreter's trap has code that nothing vouches for" "C05";
    ModuleWithoutFile "module-without-file" "a module came from no file, or from another than it says" "C05";
    CheckpointChanged "checkpoint-changed" "a checkpoint is not what the run that saved it wrote" "K02";
    CheckpointOlder "checkpoint-older" "a checkpoint of an earlier step stands under a newer name" "K04";
    CheckpointRunsCode "checkpoint-runs-code" "a file that the run loads does more than give data" "K01";
    UpdateDiffers "update-differs" "a step changed the weights or the optimizer's state otherwise than its rule gives" "N01";
    WeightsChangedBetweenSteps "weights-changed-between-steps" "weights or optimizer state changed between two steps" "N06";
    HyperparameterChanged "hyperparameter-changed" "an optimizer goes on with other hyperparameters than it was made with" "N02";
    LearningRateNotScheduled "learning-rate-not-scheduled" "a step used another learning rate than the optimizer's schedule set" "N02";
    LearningRateNotDeclared "learning-rate-not-declared" "a step used another learning rate than is declared" "N02";
    HyperparameterNotDeclared "hyperparameter-not-declared" "an optimizer is another than is declared" "N02";
    AccumulationNotDeclared "accumulation-not-declared" "a step was made of another number of micro-batches than is declared" "N02";
    StepsNotDeclared "steps-not-declared" "the run makes more steps than are declared" "N02";
    SeedNotDeclared "seed-not-declared" "the random state is not what is declared" "N03";
    PrecisionNotDeclared "precision-not-declared" "parameters have another type than is declared" "N04";
    ModelNotDeclared "model-not-declared" "the model is another than is declared" "C13";
    ResultNotDeclared "result-not-declared" "the same weights and batches gave another loss or gradient than is declared" "N01";
    WorldNotDeclared "world-not-declared" "the number of ranks is not what is declared" "N02";
    BatchNotDeclared "batch-not-declared" "a batch is not the one that is declared there" "D03";
    DataNotDeclared "data-not-declared" "a data file is not what is declared" "D08";
    CodeNotDeclared "code-not-declared" "the project's code is not what is declared" "C12";
    EnvironmentNotDeclared "environment-not-declared" "the Python environment is not what is declared" "C01";
    BatchOrderDiffers "batch-order-differs" "a loader read other samples than its sampler's order has" "D03";
    BatchRepeated "batch-repeated" "a loader read the samples of an earlier batch again" "D03";
    SampleChanged "sample-changed" "a sample of the data is another than when it was read before" "D01";
    GradientChanged "gradient-changed" "the gradient that a step uses is not what the backward pass left and torch's own calls made of it" "N01";
    ClippingDiffers "clipping-differs" "gradients were not clipped as the call says, or no longer as before" "N02";
    LossAltered "loss-altered" "a backward pass starts from another multiple of the loss than before" "N01";
    PassesMiscounted "passes-miscounted" "a step has other numbers of forward and backward passes than before" "N01";
    ModeChanged "mode-changed" "dropout, training mode or precision changed while the training went on" "N04";
    RandomNumbersReused "random-numbers-reused" "steps begin with the random numbers of the step before" "N03";
    ReplicasDiffer "replicas-differ" "ranks that hold one model do not hold the same weights any more" "N05";
    RanksShareBatches "ranks-share-batches" "ranks that had batches of their own are given the same ones" "D03";
    MetricForged "metric-forged" "a reported metric does not follow from the losses any more, as it did" "E01";
    ReplayDiffers "replay-differs" "a step that was computed again in a clean process is not the one that the run recorded" "N01";
    SleepsInSteps "sleeps-in-steps" "the thread that trains sleeps in some steps, and nothing that is seen explains it" "P02";
    RankStalled "rank-stalled" "a rank stands still, and the others wait for it" "P04";
    RankVanished "rank-vanished" "a rank was killed or vanished" "P01";
    ProcessEntered "process-entered" "somebody else than who started the run attached a debugger to one of its processes, or wrote into its memory" "N06";
    ProcessHeld "process-held" "somebody else than who started the run stopped, slowed or exposed its processes" "P03";
    LedgerRewritten "ledger-rewritten" "the ledger was rewritten while the run was going" "A07";
    LedgerForked "ledger-forked" "a signed head of the ledger is known that the ledger does not continue" "A07";
    LedgerUnwitnessed "ledger-unwitnessed" "no quorum of witnesses cosigned the ledger for longer than the settings allow" "A07";
    CacheLied "cache-lied" "a file that the cache called unchanged has other content" "A07";
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.id())
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How good the evidence is.
    pub grade: Grade,
    /// One sentence: what, where.
    pub what: String,
    /// More sentences: by how much, compared with what.
    #[serde(default)]
    pub details: Vec<String>,
    /// The file it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathText>,
    /// The optimizer step from which on the run is tainted; 0 is before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The rank it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Name of an earlier run that it points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
    /// Blobs that hold the evidence.
    #[serde(default)]
    pub evidence: Vec<Digest>,
    /// Innocent readings, and what speaks for or against each.
    #[serde(default)]
    pub innocent: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_ids_are_unique_and_written_as_they_are_named() {
        for rule in Rule::ALL {
            assert_eq!(
                serde_json::to_string(rule).unwrap(),
                format!("\"{}\"", rule.id())
            );
            assert_eq!(
                Rule::ALL
                    .iter()
                    .filter(|other| other.id() == rule.id())
                    .count(),
                1
            );
        }
    }
}
