//! Two summaries of checkpoints to what differs between them, and by how much.
//!
//! Which tensors differ is exact: their digests do. How much is estimated from sketches, and every estimate carries its
//! error. Nothing is judged: a large change after a thousand steps is training, a small one while nobody trained is not;
//! `lineage` and its callers know which of the two it is. Bytes are compared in storage order, so a tensor that was only
//! laid out differently (transposed in memory) counts as changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointSummary, Scalar, TensorSummary, Values, any_float};
use crate::sketch::{FLOOR, RELATIVE_ERROR, Sketch};

/// What differs between two checkpoints.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// Tensors of the later one that the earlier one has not, by name.
    pub added: Vec<String>,
    /// Tensors of the earlier one that the later one has not, by name.
    pub removed: Vec<String>,
    /// Tensors that both have and that differ; the largest relative change first.
    pub changed: Vec<TensorChange>,
    /// Plain values that differ, by name: before and after, where there is one.
    pub scalars_changed: Vec<(String, Option<Scalar>, Option<Scalar>)>,
    /// How many tensors are equal, byte for byte.
    pub unchanged: usize,
    /// Whether both sides were seen completely; if not, what is equal here may differ where it was not seen.
    pub complete: bool,
}

/// How a tensor differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorChange {
    /// Its name.
    pub name: String,
    /// Its shape afterwards.
    pub shape: Vec<u64>,
    /// Its shape before, if that was another.
    pub shape_before: Option<Vec<u64>>,
    /// Its element type before and after, if these differ.
    pub dtype_change: Option<(String, String)>,
    /// Estimated norm of (after − before) divided by the norm before; infinite if there is none to divide by or the two
    /// cannot be subtracted.
    #[serde(with = "any_float")]
    pub relative_change: f64,
    /// One standard deviation of `relative_change`, as a fraction of it.
    #[serde(with = "any_float")]
    pub relative_error: f64,
    /// Norm before; zero if it was not measured.
    #[serde(with = "any_float")]
    pub norm_before: f64,
    /// Norm afterwards; zero if it was not measured.
    #[serde(with = "any_float")]
    pub norm_after: f64,
    /// Elements that are not finite, before and after.
    pub non_finite: (u64, u64),
    /// Whether it is the negative of what it was.
    pub reversed: bool,
    /// The factor, if it is a multiple of what it was as far as the sketch can tell.
    pub scaled: Option<f64>,
}

/// Compares `before` with `after`. Of a name that stands twice in one of them the last counts.
pub fn compare(before: &CheckpointSummary, after: &CheckpointSummary) -> Comparison {
    let old = by_name(before);
    let new = by_name(after);
    let mut comparison = Comparison {
        added: missing_in(&new, &old),
        removed: missing_in(&old, &new),
        scalars_changed: scalars(&before.scalars, &after.scalars),
        complete: before.complete && after.complete,
        ..Comparison::default()
    };
    for (name, after) in &new {
        let Some(before) = old.get(name) else {
            continue;
        };
        let same_form = before.dtype == after.dtype && before.shape == after.shape;
        if same_form && before.digest == after.digest && before.bytes == after.bytes {
            comparison.unchanged += 1;
        } else {
            comparison.changed.push(change(before, after));
        }
    }
    let largest_first =
        |a: &TensorChange, b: &TensorChange| b.relative_change.total_cmp(&a.relative_change);
    comparison
        .changed
        .sort_by(|a, b| largest_first(a, b).then_with(|| a.name.cmp(&b.name)));
    comparison
}

type ByName<'a> = HashMap<&'a str, &'a TensorSummary>;

fn by_name(summary: &CheckpointSummary) -> ByName<'_> {
    summary
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect()
}

fn missing_in(one: &ByName<'_>, other: &ByName<'_>) -> Vec<String> {
    let mut names: Vec<String> = one
        .keys()
        .filter(|name| !other.contains_key(*name))
        .map(|name| (*name).to_owned())
        .collect();
    names.sort_unstable();
    names
}

fn scalars(
    before: &BTreeMap<String, Scalar>,
    after: &BTreeMap<String, Scalar>,
) -> Vec<(String, Option<Scalar>, Option<Scalar>)> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            (
                name.clone(),
                before.get(name).cloned(),
                after.get(name).cloned(),
            )
        })
        .filter(|(_, before, after)| before != after)
        .collect()
}

fn change(before: &TensorSummary, after: &TensorSummary) -> TensorChange {
    let mut change = TensorChange {
        name: after.name.clone(),
        shape: after.shape.clone(),
        shape_before: (before.shape != after.shape).then(|| before.shape.clone()),
        dtype_change: (before.dtype != after.dtype)
            .then(|| (before.dtype.clone(), after.dtype.clone())),
        relative_change: f64::INFINITY,
        relative_error: 0.0,
        norm_before: before.values.as_ref().map_or(0.0, |values| values.norm),
        norm_after: after.values.as_ref().map_or(0.0, |values| values.norm),
        non_finite: (
            before.values.as_ref().map_or(0, |values| values.non_finite),
            after.values.as_ref().map_or(0, |values| values.non_finite),
        ),
        reversed: false,
        scaled: None,
    };
    if let (Some(old), Some(new)) = (&before.values, &after.values)
        && before.elements() == after.elements()
    {
        measure(&mut change, old, new);
        if after.elements() > 1 && change.non_finite == (0, 0) {
            let rounding = unit_roundoff(&before.dtype).max(unit_roundoff(&after.dtype));
            find_factor(&mut change, old, new, rounding);
        }
    }
    change
}

fn measure(change: &mut TensorChange, old: &Values, new: &Values) {
    let distance = Sketch::distance(&old.sketch, &new.sketch, 1.0);
    let relative = distance / old.norm;
    if relative.is_nan() {
        return;
    }
    change.relative_change = relative;
    // Below the floor the sketch's own rounding is what is seen.
    let floor = FLOOR * (old.norm + new.norm) / distance;
    change.relative_error = if distance > 0.0 {
        RELATIVE_ERROR.hypot(floor)
    } else {
        1.0
    };
}

/// Looks for `after = factor · before`. The factor is that of least squares over the buckets, which is exact if the
/// relation is; what remains must be no more than rounding to the element type leaves, and the factor must explain the
/// change: four times more of it than what remains.
fn find_factor(change: &mut TensorChange, old: &Values, new: &Values, rounding: f64) {
    let tolerance = 2.0 * rounding + 8.0 * FLOOR;
    let factor = old.sketch.dot(&new.sketch) / old.sketch.dot(&old.sketch);
    let remains = Sketch::distance(&old.sketch, &new.sketch, factor);
    let explained = (factor - 1.0).abs() * old.norm;
    let largest = old.norm * factor.abs().max(rounding);
    if factor.is_finite() && remains <= tolerance * largest && explained > 4.0 * remains {
        change.scaled = Some(factor);
        change.reversed = (factor + 1.0).abs() <= tolerance;
    }
}

/// The largest relative error of rounding to a type. Integers are exact, so only exact multiples count for them.
fn unit_roundoff(dtype: &str) -> f64 {
    let bits = match dtype {
        "float32" => 24,
        "float16" => 11,
        "bfloat16" => 8,
        _ => 53,
    };
    f64::powi(0.5, bits)
}

impl Comparison {
    /// Whether nothing that was seen differs.
    pub fn is_same(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && self.scalars_changed.is_empty()
    }

    /// One line for a person: `12 of 156 tensors differ; most: model.h.3.mlp.weight by 1.0 % of its norm`. Names stand as
    /// they are in the file; whoever shows the line makes them harmless.
    pub fn describe(&self) -> String {
        let both = self.changed.len() + self.unchanged;
        let mut words = match self.changed.len() {
            0 if both == 0 => "no tensor is in both".to_owned(),
            0 => format!("all {both} tensors are equal"),
            differ => format!("{differ} of {both} tensors differ"),
        };
        if let Some(most) = self.changed.first() {
            let _ = write!(words, "; most: {}", most.describe());
        }
        for (count, what) in [(self.added.len(), "added"), (self.removed.len(), "removed")] {
            if count > 0 {
                let _ = write!(words, "; {count} {what}");
            }
        }
        match self.scalars_changed.as_slice() {
            [] => {}
            [(name, before, after), rest @ ..] => {
                let _ = write!(
                    words,
                    "; {name}: {} → {}",
                    shown(before.as_ref()),
                    shown(after.as_ref())
                );
                if !rest.is_empty() {
                    let _ = write!(words, " and {} more plain values", rest.len());
                }
            }
        }
        if !self.complete {
            words.push_str("; not everything was seen");
        }
        words
    }
}

fn shown(value: Option<&Scalar>) -> String {
    value.map_or_else(|| "absent".to_owned(), ToString::to_string)
}

impl TensorChange {
    /// The name and how it differs: `w by 1.0 % of its norm`, `w reversed`, `w scaled by 0.500`.
    pub fn describe(&self) -> String {
        let name = &self.name;
        let percent = 100.0 * self.relative_change;
        if let Some(before) = &self.shape_before {
            return format!("{name} from shape {before:?} to {:?}", self.shape);
        }
        if self.reversed {
            return format!("{name} reversed (its sign is turned)");
        }
        let mut words = match self.scaled {
            Some(factor) => format!("{name} scaled by {factor:.3}"),
            None if percent == 0.0 => format!("{name} by less than can be measured"),
            None if percent.is_infinite() => format!("{name} by an amount that was not measured"),
            None if percent < 0.1 => format!("{name} by {percent:.1e} % of its norm"),
            None => format!("{name} by {percent:.1} % of its norm"),
        };
        if let Some((before, after)) = &self.dtype_change {
            let _ = write!(words, ", {before} → {after}");
        }
        if self.non_finite.0 != self.non_finite.1 {
            let _ = write!(
                words,
                ", elements that are not finite: {} → {}",
                self.non_finite.0, self.non_finite.1
            );
        }
        words
    }
}
