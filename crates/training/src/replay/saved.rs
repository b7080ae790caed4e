//! A checkpoint as a run saved it against the one that its replay saved there: by what it holds, not by its bytes, which depend on how
//! objects are shared when they are written.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::CheckpointSummary;

/// Names of what differs, or of what one of them has alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Apart {
    /// Tensors.
    pub tensors: Vec<String>,
    /// Plain values.
    pub values: Vec<String>,
}

/// In what two checkpoints differ; `None` where not all of both was seen and nothing differs.
pub fn apart(one: &CheckpointSummary, other: &CheckpointSummary) -> Option<Apart> {
    let tensors = |it: &CheckpointSummary| -> BTreeMap<String, String> {
        let tensors = it.tensors.iter();
        tensors
            .map(|tensor| {
                let what = format!("{} {:?} {}", tensor.dtype, tensor.shape, tensor.digest);
                (tensor.name.clone(), what)
            })
            .collect()
    };
    let values = |it: &CheckpointSummary| -> BTreeMap<String, String> {
        let values = it.scalars.iter();
        values
            .map(|(name, value)| (name.clone(), format!("{value:?}")))
            .collect()
    };
    let apart = Apart {
        tensors: differing(&tensors(one), &tensors(other)),
        values: differing(&values(one), &values(other)),
    };
    let whole = one.complete && other.complete;
    (whole || apart != Apart::default()).then_some(apart)
}

fn differing(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differs = names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name));
    differs.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Scalar, Summarizer};

    fn summary(weight: f32, beta: f64) -> CheckpointSummary {
        let mut summarizer = Summarizer::new();
        let mut tensor = summarizer.tensor("model.w", "float32", &[1]);
        tensor.chunk(&weight.to_le_bytes());
        tensor.finish();
        summarizer.scalar("optimizer.betas.0", Scalar::Float(beta));
        summarizer.finish()
    }

    #[test]
    fn what_it_holds_is_compared_by_name() {
        let one = summary(1.0, 0.9);
        assert_eq!(apart(&one, &summary(1.0, 0.9)), Some(Apart::default()));
        let weights = apart(&one, &summary(1.5, 0.9)).unwrap();
        assert_eq!(weights.tensors, ["model.w"]);
        assert_eq!(weights.values, [""; 0]);
        let betas = apart(&one, &summary(1.0, 0.5)).unwrap();
        assert_eq!(betas.values, ["optimizer.betas.0"]);
        let mut less = summary(1.0, 0.9);
        less.complete = false;
        assert_eq!(apart(&one, &less), None);
    }
}
