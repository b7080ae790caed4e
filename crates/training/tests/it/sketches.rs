//! The sketch: its function, its statistics.

use taintline_training::ElementKind;
use taintline_training::sketch::{RELATIVE_ERROR, Sketch, Sketcher};

use crate::support::{bytes, norm, normals};

fn sketch_of(values: &[f32]) -> Sketch {
    let mut sketcher = Sketcher::new();
    assert_eq!(sketcher.update(ElementKind::F32, &bytes(values)), 0);
    sketcher.sketch()
}

/// Buckets and signs as another implementation of the module header's words gave them.
#[test]
fn the_function_is_the_documented_one() {
    for (position, bucket, sign) in [
        (0, 42, 1.0),
        (1, 66, -1.0),
        (2, 15, 1.0),
        (3, 111, -1.0),
        (1000, 40, -1.0),
    ] {
        let mut values = vec![0.0; position + 1];
        values[position] = 2.5;
        let mut expected = [0.0; 128];
        expected[bucket] = sign * 2.5;
        assert_eq!(
            sketch_of(&values),
            Sketch::from_buckets(expected),
            "position {position}"
        );
    }
}

#[test]
fn squared_norms_are_unbiased_with_the_stated_spread() {
    const SEEDS: u32 = 400;
    let relative: Vec<f64> = (0..SEEDS)
        .map(|seed| {
            let values = normals(u64::from(seed), 5000, 0.02);
            let truth = norm(values.iter().copied().map(f64::from));
            (Sketch::distance(&Sketch::from_buckets([0.0; 128]), &sketch_of(&values), 1.0) / truth)
                .powi(2)
                - 1.0
        })
        .collect();
    let count = f64::from(SEEDS);
    let mean = relative.iter().sum::<f64>() / count;
    let variance = relative.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let theory: f64 = 2.0 / 128.0;
    assert!(mean.abs() <= 4.0 * (theory / count).sqrt(), "mean {mean}");
    // The spread of a sample variance is √(2/n) for a normal variable; this one is chi-squared with 128 degrees, whose
    // excess kurtosis 12/128 adds to that.
    let spread = 4.0 * ((2.0 + 12.0 / 128.0) / count).sqrt();
    assert!(
        (variance / theory - 1.0).abs() <= spread,
        "variance {variance}, theory {theory}"
    );
}

#[test]
fn the_norm_of_a_small_change_is_within_four_deviations_for_every_seed() {
    for seed in 0..50 {
        let before = normals(seed, 20_000, 0.02);
        let noise = normals(seed + 1000, 20_000, 0.0002);
        let after: Vec<f32> = before
            .iter()
            .zip(&noise)
            .map(|(value, noise)| value + noise)
            .collect();
        let truth = norm(
            before
                .iter()
                .zip(&after)
                .map(|(a, b)| f64::from(*b) - f64::from(*a)),
        );
        let estimate = Sketch::distance(&sketch_of(&before), &sketch_of(&after), 1.0);
        assert!(
            (estimate / truth - 1.0).abs() <= 4.0 * RELATIVE_ERROR,
            "seed {seed}: {estimate} for {truth}"
        );
    }
}

#[test]
fn chunks_and_whole_agree_to_the_bit() {
    let values = normals(3, 1001, 1.0);
    let whole = sketch_of(&values);
    let mut sketcher = Sketcher::new();
    for chunk in values.chunks(37) {
        sketcher.update(ElementKind::F32, &bytes(chunk));
    }
    assert_eq!(sketcher.sketch(), whole);
    assert_eq!(sketcher.elements(), 1001);
    let truth = norm(values.iter().copied().map(f64::from));
    assert!((sketcher.norm() / truth - 1.0).abs() < 1e-12);
}

#[test]
fn every_element_type_gives_the_sketch_of_its_values() {
    let expected = sketch_of(&[1.0, 0.0, 2.0]);
    let brains = [0x80, 0x3f, 0, 0, 0, 0x40];
    let halves = [0, 0x3c, 0, 0, 0, 0x40];
    let doubles: Vec<u8> = [1.0f64, 0.0, 2.0]
        .into_iter()
        .flat_map(f64::to_le_bytes)
        .collect();
    let longs: Vec<u8> = [1i64, 0, 2]
        .into_iter()
        .flat_map(i64::to_le_bytes)
        .collect();
    let cases: [(ElementKind, &[u8]); 5] = [
        (ElementKind::Bf16, &brains),
        (ElementKind::F16, &halves),
        (ElementKind::F64, &doubles),
        (ElementKind::I64, &longs),
        (ElementKind::U8, &[1, 0, 2]),
    ];
    for (kind, bytes) in cases {
        let mut sketcher = Sketcher::new();
        assert_eq!(sketcher.update(kind, bytes), 0);
        assert_eq!(sketcher.sketch(), expected, "{kind:?}");
    }
}

#[test]
fn elements_that_are_not_finite_are_counted_and_left_out() {
    let mut sketcher = Sketcher::new();
    sketcher.update(
        ElementKind::F32,
        &bytes(&[1.0, f32::NAN, 2.0, f32::NEG_INFINITY]),
    );
    assert_eq!(sketcher.sketch(), sketch_of(&[1.0, 0.0, 2.0, 0.0]));
    assert_eq!(
        (sketcher.non_finite(), sketcher.sum_of_squares().to_bits()),
        (2, 5.0f64.to_bits())
    );
}

#[test]
fn a_sketch_survives_being_written() {
    let sketch = sketch_of(&normals(9, 500, 1.0));
    assert_eq!(sketch.to_string().parse(), Ok(sketch));
    assert!(sketch.to_string().to_uppercase().parse::<Sketch>().is_err());
}
