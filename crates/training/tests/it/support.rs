//! Made-up tensors: the same numbers on every machine.

use taintline_training::checkpoint::{CheckpointSummary, Summarizer};

/// `SplitMix64`, by G. Steele, D. Lea, C. Flood, 2014.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / 9_007_199_254_740_992.0
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "single precision is wanted"
)]
pub(crate) fn normals(seed: u64, count: usize, scale: f64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..count)
        .map(|_| (scale * random.normal()) as f32)
        .collect()
}

pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

pub(crate) fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values
        .into_iter()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt()
}

/// A summary of tensors of single precision.
pub(crate) fn summary(tensors: &[(&str, &[f32])]) -> CheckpointSummary {
    let mut summarizer = Summarizer::new();
    for (name, values) in tensors {
        let mut feed = summarizer.tensor(name, "float32", &[values.len() as u64]);
        feed.chunk(&bytes(values));
        feed.finish();
    }
    summarizer.finish()
}
