//! Comparisons: what differs is exact, by how much is within the stated error.

use taintline_training::checkpoint::{Scalar, Summarizer};
use taintline_training::compare::compare;

use crate::support::{norm, normals, summary};

fn mapped(values: &[f32], change: impl Fn(f32) -> f32) -> Vec<f32> {
    values.iter().map(|value| change(*value)).collect()
}

#[test]
fn equal_checkpoints_are_the_same() {
    let weights = normals(1, 1000, 0.02);
    let comparison = compare(&summary(&[("w", &weights)]), &summary(&[("w", &weights)]));
    assert!(comparison.is_same() && comparison.unchanged == 1);
    assert_eq!(comparison.describe(), "all 1 tensors are equal");
}

#[test]
fn one_percent_of_noise_is_told_as_one_percent() {
    let before = normals(1, 100_000, 0.02);
    let noise = normals(2, 100_000, 0.0002);
    let after: Vec<f32> = before
        .iter()
        .zip(&noise)
        .map(|(value, noise)| value + noise)
        .collect();
    let same = normals(3, 10, 1.0);
    let comparison = compare(
        &summary(&[("w", &before), ("b", &same)]),
        &summary(&[("w", &after), ("b", &same)]),
    );
    let change = &comparison.changed[0];
    let truth = norm(
        before
            .iter()
            .zip(&after)
            .map(|(a, b)| f64::from(*b) - f64::from(*a)),
    ) / norm(before.iter().copied().map(f64::from));
    assert!((change.relative_change / truth - 1.0).abs() <= 4.0 * change.relative_error);
    assert!(!change.reversed && change.scaled.is_none());
    assert!(
        comparison
            .describe()
            .starts_with("1 of 2 tensors differ; most: w by "),
        "{}",
        comparison.describe()
    );
}

#[test]
fn one_element_of_a_million_is_seen_and_its_size_is_exact() {
    let before = normals(5, 1_268_160, 0.02);
    let mut after = before.clone();
    after[777_777] += 1.0;
    let comparison = compare(&summary(&[("w", &before)]), &summary(&[("w", &after)]));
    let change = &comparison.changed[0];
    // One element falls into one bucket, so nothing is estimated. What remains is rounding: of the element, at most
    // 2^-24 of a value below 2, and of its bucket's two sums, which are below 16.
    let moved = change.relative_change * change.norm_before;
    let truth = f64::from(after[777_777]) - f64::from(before[777_777]);
    assert!(
        (moved - truth).abs() <= 2.0 * 16.0 / 2f64.powi(24),
        "{moved} for {truth}"
    );
}

#[test]
fn turned_signs_are_recognised_in_every_precision() {
    let before = normals(7, 5000, 0.02);
    let after = mapped(&before, |value| -value);
    let comparison = compare(&summary(&[("w", &before)]), &summary(&[("w", &after)]));
    assert!(comparison.changed[0].reversed);
    assert!(
        (comparison.changed[0].relative_change - 2.0).abs()
            <= 8.0 * comparison.changed[0].relative_error
    );
    assert!(comparison.describe().contains("w reversed"));
}

#[test]
fn multiples_are_recognised_with_their_factor() {
    let before = normals(7, 5000, 0.02);
    for factor in [0.0f32, 0.5, 1.001, -3.0, 1000.0] {
        let after = mapped(&before, |value| factor * value);
        let change = compare(&summary(&[("w", &before)]), &summary(&[("w", &after)]))
            .changed
            .remove(0);
        let found = change.scaled.unwrap();
        assert!(
            (found - f64::from(factor)).abs() <= 1e-6 * f64::from(factor.abs()).max(1.0),
            "{found} for {factor}"
        );
        assert!(!change.reversed);
    }
}

#[test]
fn what_is_no_multiple_is_not_called_one() {
    let before = normals(7, 5000, 0.02);
    let other = normals(8, 5000, 0.02);
    let mostly = {
        let mut values = mapped(&before, |value| -value);
        values[17] = 0.5;
        values
    };
    let shifted = mapped(&before, |value| value + 0.01);
    for after in [other, mostly, shifted] {
        let change = compare(&summary(&[("w", &before)]), &summary(&[("w", &after)]))
            .changed
            .remove(0);
        assert_eq!((change.scaled, change.reversed), (None, false));
    }
}

#[test]
fn other_shapes_types_names_and_values_are_listed() {
    let weights = normals(1, 6, 1.0);
    let build = |name: &str, dtype: &str, shape: &[u64], step: i64| {
        let mut summarizer = Summarizer::new();
        for (name, dtype, shape) in [(name, "float32", &[6][..]), ("w", dtype, shape)] {
            let mut feed = summarizer.tensor(name, dtype, shape);
            feed.chunk(&crate::support::bytes(&weights));
            feed.finish();
        }
        summarizer.scalar("step", Scalar::Int(step));
        summarizer.scalar("nan", Scalar::Float(f64::NAN));
        summarizer.finish()
    };
    let comparison = compare(
        &build("old", "float32", &[6], 1),
        &build("new", "int32", &[2, 3], 2),
    );
    assert_eq!(
        (comparison.added, comparison.removed),
        (vec!["new".to_owned()], vec!["old".to_owned()])
    );
    assert_eq!(comparison.changed[0].shape_before, Some(vec![6]));
    assert_eq!(
        comparison.changed[0].dtype_change,
        Some(("float32".to_owned(), "int32".to_owned()))
    );
    let step = (
        "step".to_owned(),
        Some(Scalar::Int(1)),
        Some(Scalar::Int(2)),
    );
    assert_eq!(comparison.scalars_changed, [step]);
}

#[test]
fn the_largest_change_comes_first_and_zeros_do_not_divide() {
    let (small, large, zero) = (normals(1, 100, 1.0), normals(2, 100, 1.0), vec![0.0; 100]);
    let before = summary(&[("a", &small), ("b", &large), ("z", &zero)]);
    let after = summary(&[
        ("a", &mapped(&small, |value| value * 1.01)),
        ("b", &mapped(&large, |value| value * 1.5)),
        ("z", &small),
    ]);
    let comparison = compare(&before, &after);
    let order: Vec<&str> = comparison
        .changed
        .iter()
        .map(|change| change.name.as_str())
        .collect();
    assert_eq!(order, ["z", "b", "a"]);
    assert!(comparison.changed[0].relative_change.is_infinite());
    let json = serde_json::to_string(&comparison).unwrap();
    assert_eq!(
        serde_json::from_str::<taintline_training::compare::Comparison>(&json).unwrap(),
        comparison
    );
}
