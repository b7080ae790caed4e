//! Summaries: made in chunks, written, read back.

use domain::Digest;
use proptest::prelude::*;
use taintline_training::checkpoint::{CheckpointSummary, Scalar, Summarizer};

use crate::support::{bytes, normals, summary};

fn sample() -> CheckpointSummary {
    let mut summarizer = Summarizer::new();
    let mut feed = summarizer.tensor("model.w \\ \n\té", "torch.bfloat16", &[2, 3]);
    feed.chunk(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    feed.finish();
    summarizer.tensor("empty", "float32", &[]).finish();
    let mut feed = summarizer.tensor("large", "float64", &[2]);
    feed.chunk(&[1e300f64.to_le_bytes(), 1e300f64.to_le_bytes()].concat());
    feed.finish();
    let mut feed = summarizer.tensor("f8", "float8_e5m2", &[3]);
    feed.chunk(&[1, 2, 3]);
    feed.finish();
    for (name, scalar) in [
        ("step", Scalar::Int(-4)),
        ("lr", Scalar::Float(3e-4)),
        ("nan", Scalar::Float(f64::NAN)),
        ("done", Scalar::Bool(false)),
        ("best", Scalar::None),
        ("note\t", Scalar::Text("a\tb \\ c\n".to_owned())),
        (
            "rng",
            Scalar::Many {
                count: 625,
                mark: 77,
            },
        ),
    ] {
        summarizer.scalar(name, scalar);
    }
    summarizer.finish()
}

#[test]
fn the_digest_is_that_of_the_bytes_however_they_are_cut() {
    let values = normals(4, 100, 1.0);
    let whole = summary(&[("w", &values)]);
    assert_eq!(whole.tensors[0].digest, Digest::of(&bytes(&values)));
    assert!(whole.complete);
    for size in [1, 3, 5, 399] {
        let mut summarizer = Summarizer::new();
        let mut feed = summarizer.tensor("w", "float32", &[100]);
        bytes(&values)
            .chunks(size)
            .for_each(|chunk| feed.chunk(chunk));
        feed.finish();
        assert_eq!(summarizer.finish(), whole, "chunks of {size}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let summary = sample();
    assert_eq!(
        CheckpointSummary::decode(&summary.encode()).as_ref(),
        Ok(&summary)
    );
    let json = serde_json::to_string(&summary).unwrap();
    assert_eq!(
        serde_json::from_str::<CheckpointSummary>(&json).unwrap(),
        summary
    );
    assert!(
        summary.tensors[2]
            .values
            .as_ref()
            .unwrap()
            .norm
            .is_infinite()
    );
    assert_eq!(summary.tensors[3].values, None);
}

#[test]
fn a_summary_in_another_form_is_refused_with_the_line() {
    let text = String::from_utf8(sample().encode()).unwrap();
    for (from, to) in [
        ("complete yes", "complete maybe"),
        ("s int -4", "s int -04"),
        ("s float 3e-4", "s float 0.0003"),
        ("s many 625:", "s many 0625:"),
        ("bfloat16 2x3", "bfloat16 2x03"),
        ("s bool", "q bool"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text, "{to}");
        assert!(CheckpointSummary::decode(bad.as_bytes()).is_err(), "{to}");
    }
    let swapped = text.replace("s bool false\tdone\n", "") + "s bool false\tdone\n";
    assert!(CheckpointSummary::decode(swapped.as_bytes()).is_err());
    for cut in 0..text.len() {
        if !text.is_char_boundary(cut) || text.as_bytes()[..cut].ends_with(b"\n") {
            continue;
        }
        assert!(
            CheckpointSummary::decode(&text.as_bytes()[..cut]).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn what_was_not_seen_makes_a_summary_incomplete() {
    let mut summarizer = Summarizer::new();
    summarizer
        .tensor("w", "float32", &[4])
        .abandon("the file ends");
    let mut feed = summarizer.tensor("cut", "float32", &[1]);
    feed.chunk(&[0, 0, 0]);
    feed.finish();
    let summary = summarizer.finish();
    assert!(!summary.complete);
    assert_eq!(
        summary.gaps,
        ["w: the file ends", "cut: the last element is cut off"]
    );
    assert_eq!(CheckpointSummary::decode(&summary.encode()), Ok(summary));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_names_and_values_come_back(name: String, dtype: String, shape: Vec<u64>, text: String, value: f64, gap: String) {
        let mut summarizer = Summarizer::new();
        let mut feed = summarizer.tensor(&name, &dtype, &shape);
        feed.chunk(text.as_bytes());
        feed.finish();
        summarizer.scalar(&name, Scalar::Text(text));
        summarizer.scalar(&gap, Scalar::Float(value));
        summarizer.gap(&gap);
        let summary = summarizer.finish();
        prop_assert_eq!(CheckpointSummary::decode(&summary.encode()), Ok(summary));
    }

    #[test]
    fn any_bytes_are_refused_or_are_the_one_encoding(bytes: Vec<u8>) {
        let bytes = [&b"taintline-checkpoint 1\ncomplete no\n"[..], &bytes].concat();
        if let Ok(summary) = CheckpointSummary::decode(&bytes) {
            prop_assert_eq!(summary.encode(), bytes);
        }
    }
}
