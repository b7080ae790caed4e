//! A checkpoint as a run saved it against the one that its replay saved there: by what it holds, not by its bytes, which depend on how
//! objects are shared when they are written.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::CheckpointSummary;

/// Names of tensors and plain values that differ, or that one of them has alone; `None` where not all of both was seen and none differs.
pub fn differing(one: &CheckpointSummary, other: &CheckpointSummary) -> Option<Vec<String>> {
    let tensors = |it: &CheckpointSummary| -> BTreeMap<String, String> {
        let tensors = it.tensors.iter();
        tensors
            .map(|tensor| {
                let what = format!("{} {:?} {}", tensor.dtype, tensor.shape, tensor.digest);
                (tensor.name.clone(), what)
            })
            .collect()
    };
    let mut names = apart(&tensors(one), &tensors(other));
    let values = |it: &CheckpointSummary| -> BTreeMap<String, String> {
        let values = it.scalars.iter();
        values
            .map(|(name, value)| (name.clone(), format!("{value:?}")))
            .collect()
    };
    names.extend(apart(&values(one), &values(other)));
    let whole = one.complete && other.complete;
    (whole || !names.is_empty()).then_some(names)
}

fn apart(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
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
        assert_eq!(differing(&one, &summary(1.0, 0.9)), Some(vec![]));
        assert_eq!(
            differing(&one, &summary(1.5, 0.9)),
            Some(vec!["model.w".to_owned()])
        );
        let betas = Some(vec!["optimizer.betas.0".to_owned()]);
        assert_eq!(differing(&one, &summary(1.0, 0.5)), betas);
        let mut less = summary(1.0, 0.9);
        less.complete = false;
        assert_eq!(differing(&one, &less), None);
    }
}
