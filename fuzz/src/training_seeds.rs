//! Where fuzzing starts for what steps and specs say.

use domain::Digest;
use training::checkpoint::{Scalar, Summarizer};

pub(crate) fn summaries() -> Vec<Vec<u8>> {
    let mut summarizer = Summarizer::new();
    let mut feed = summarizer.tensor("h.0.weight", "float32", &[2, 1]);
    feed.chunk(&[0, 0, 128, 63, 0, 0, 0, 64]);
    feed.finish();
    summarizer.tensor("odd name", "q\t5", &[]).finish();
    let mut summary = summarizer.finish();
    let scalars = [
        ("a", Scalar::None),
        ("b", Scalar::Bool(true)),
        ("c", Scalar::Int(-5)),
        ("d", Scalar::Float(0.1)),
        ("e", Scalar::Float(f64::NAN)),
        ("f", Scalar::Text("x\ty \\".to_owned())),
        ("g", Scalar::Many { count: 3, mark: 17 }),
    ];
    summary
        .scalars
        .extend(scalars.map(|(name, scalar)| (name.to_owned(), scalar)));
    summary.gaps.push("a storage is not in the file".to_owned());
    vec![
        summary.encode(),
        training::checkpoint::CheckpointSummary::default().encode(),
    ]
}

pub(crate) fn run_specs() -> Vec<Vec<u8>> {
    let head = "schema = \"taintline.spec/1\"\nname = \"a\"\n";
    let group = "[[optimizer]]\nclass = \"AdamW\"\nbackwards = 2\n[[optimizer.group]]\nhyper = { weight_decay = 0.1 }\n";
    let rate = "lr = [{ first = 1, last = 3, kind = \"linear\", start = 0.1, end = 0.3 }, { first = 4, last = 90, kind = \"cosine\", anchor = 3, start = 0.3, floor = 0.0, period = 100 }, { first = 91, last = 95, kind = \"steps\", start = 1.0, factor = 0.5, every = 2 }]\n";
    let amended = "[[amendment]]\nfrom_step = 5\nset = { \"optimizer.0.group.0.lr\" = \"*1.5\", seed = \"any\" }\nwhy = \"x\"\nauthor = \"a\"\nat = \"\"\n";
    let whole = format!(
        "{head}{group}{rate}{amended}before = \"{}\"\n",
        Digest::of(b"")
    );
    [head.to_owned(), whole].map(String::into_bytes).to_vec()
}

/// One of each class, with state, a value that changed between two steps, and a parameter without gradient.
pub(crate) fn step_samples() -> Vec<Vec<u8>> {
    use base64::Engine as _;
    use training::recheck::wire::{self, Block, Odd, OddValue, Values};

    let column = |value: f32| value.to_le_bytes().repeat(3);
    let block = Block {
        index: 4,
        steps_before: Some(6),
        steps_behind: Some(7),
        positions: vec![1, 500, 100_000],
        weights: column(0.5),
        gradients: Some(column(0.25)),
        state: Some(vec![column(0.1), column(0.01)]),
        weights_behind: column(0.499),
        state_behind: Some(vec![column(0.115), column(0.010_05)]),
    };
    let frozen = Block {
        index: 9,
        gradients: None,
        state: None,
        state_behind: None,
        weights_behind: column(0.5),
        ..block.clone()
    };
    let touched = OddValue {
        what: Odd::WeightEarlier,
        block: 1,
        slot: 2,
        bytes: 0.75f32.to_le_bytes().to_vec(),
    };
    let values = Values {
        blocks: vec![block, frozen],
        odd: vec![touched],
    };
    let text = wire::write(&values, &[]);
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(text.trim_start_matches(wire::PACKED));
    let bytes = bytes.unwrap_or_default();
    (0..6)
        // From 144 on, class and type are those of 0, in the form of today.
        .map(|class| [&[144 + class], bytes.as_slice()].concat())
        .collect()
}

pub(crate) fn sketches() -> Vec<Vec<u8>> {
    vec!["3f8000007fc00000".repeat(64).into_bytes()]
}

/// The indices and rows of a batch, both as they travel.
pub(crate) fn batch_texts() -> Vec<Vec<u8>> {
    use training::data::wire::{self, Row};

    let rows = [3, 90_000].map(|index| Row {
        index,
        columns: vec![7, u32::MAX],
    });
    [
        wire::write_indices(&[5, 4, -1, i64::MAX]),
        wire::write_rows(&rows),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// Batches of a pass that is told, and of one that is not.
pub(crate) fn readings() -> Vec<domain::data::Reading> {
    let order = domain::data::Order::Random {
        length: 5,
        state: String::new(),
        given: true,
    };
    let told = domain::data::Pass {
        set: 0,
        batch_size: 2,
        order,
        known: vec![1, 0],
        workers: false,
    };
    let reading = |batch| domain::data::Reading {
        pass: 0,
        described: None,
        batch,
        indices: training::data::wire::write_indices(&[2, 1]),
        columns: None,
        rows: String::new(),
    };
    vec![
        domain::data::Reading {
            described: Some(Box::new(told)),
            ..reading(0)
        },
        reading(1),
    ]
}
