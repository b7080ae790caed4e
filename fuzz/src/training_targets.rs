//! `training`: the one text of a summary and of a sketch, and the sampled values of a step with what is made of them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use domain::Number;
use training::ElementKind;
use training::checkpoint::CheckpointSummary;
use training::recheck::bounds::Arithmetic;
use training::recheck::judge::{Tensor, judge};
use training::recheck::update::{Hyper, STATE_MAX};
use training::recheck::{between, wire};
use training::sketch::Sketch;
use training::spec::check::Declared;
use training::spec::schedule::rate;
use training::spec::{Spec, Table};

/// [`CheckpointSummary::decode`].
pub fn summary(data: &[u8]) -> bool {
    let Ok(summary) = CheckpointSummary::decode(data) else {
        return false;
    };
    assert!(
        summary.encode() == data,
        "a second encoding of one summary: {}",
        String::from_utf8_lossy(&summary.encode())
    );
    for tensor in &summary.tensors {
        tensor.elements();
    }
    for scalar in summary.scalars.values() {
        assert!(!scalar.to_string().is_empty());
    }
    true
}

/// The text of a [`Sketch`].
pub fn sketch(data: &[u8]) -> bool {
    let Some(sketch) = str::from_utf8(data)
        .ok()
        .and_then(|text| text.parse::<Sketch>().ok())
    else {
        return false;
    };
    assert_eq!(sketch.to_string().as_bytes(), data);
    let json = serde_json::to_string(&sketch).ok();
    let back = json
        .as_deref()
        .and_then(|json| serde_json::from_str::<Sketch>(json).ok());
    assert_eq!(
        back.map(|back| back.to_string().into_bytes()),
        Some(data.to_vec())
    );
    true
}

/// A run's spec: what the reader of `app` does with its text, and a step held against it.
pub fn run_spec(data: &[u8]) -> bool {
    let Some(text) = str::from_utf8(data).ok() else {
        return false;
    };
    if formats::toml_text::check_shape(text).is_err() {
        return false;
    }
    let Ok(spec) = toml::from_str::<Spec>(text) else {
        return false;
    };
    let Ok(declared) = Declared::new(&spec, Table::default()) else {
        return false;
    };
    for version in [0, 1, 5, u64::MAX] {
        let at = declared.at(version);
        for group in at
            .iter()
            .flat_map(|spec| &spec.optimizer)
            .flat_map(|it| &it.group)
        {
            for step in [0, 1, 4, 92, u64::MAX] {
                let _ = rate(&group.lr, step);
            }
        }
    }
    true
}

/// The indices and the rows of a batch, and the order that a state gives.
pub fn batch_text(data: &[u8]) -> bool {
    use domain::data::{Order, Pass};
    use training::data::{order, wire as batches};

    let text = String::from_utf8_lossy(data);
    let indices = batches::read_indices(&text);
    if let Some(indices) = &indices {
        let again = batches::read_indices(&batches::write_indices(indices));
        assert_eq!(again.as_ref(), Some(indices));
    }
    let rows = batches::read_rows(&text, data.len() % 18);
    let pass = Pass {
        set: 0,
        batch_size: 3,
        order: Order::Random {
            length: data.len() as u64,
            state: text.into_owned(),
            given: data.len() % 2 == 0,
        },
        known: order::KNOWN.to_vec(),
        workers: false,
    };
    let derived = order::derive(&pass);
    indices.is_some() || rows.is_some() || derived.is_ok()
}

/// [`wire::read`], and the judgement of what it gives. The first byte chooses class and type.
pub fn step_sample(data: &[u8]) -> bool {
    const CLASSES: [&str; 6] = ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "Adamax"];
    /// Below it, the form of before.
    const OLD: usize = 128;
    const KINDS: [ElementKind; 4] = [
        ElementKind::F32,
        ElementKind::F64,
        ElementKind::F16,
        ElementKind::Bf16,
    ];
    let Some((choice, values)) = data.split_first() else {
        return false;
    };
    let chosen = usize::from(*choice);
    let kind = KINDS[chosen / CLASSES.len() % KINDS.len()];
    let columns = |_| Some((kind.size(), 2));
    let mut text = STANDARD_NO_PAD.encode(values);
    if chosen >= OLD {
        text.insert(0, wire::PACKED);
    }
    let Ok(values) = wire::read(&text, columns) else {
        return false;
    };
    assert_eq!(
        wire::read(&wire::write(&values, &[]), columns).as_ref(),
        Ok(&values)
    );
    let numbers = [
        ("momentum", 0.9),
        ("dampening", 0.0),
        ("weight_decay", 0.01),
        ("nesterov", 0.0),
        ("maximize", 0.0),
        ("beta1", 0.9),
        ("beta2", 0.999),
        ("eps", 1e-8),
        ("amsgrad", 0.0),
        ("lr_decay", 0.0),
        ("alpha", 0.99),
        ("centered", 0.0),
    ];
    let numbers: BTreeMap<String, Number> = numbers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Number(value)))
        .collect();
    let hyper = Hyper::new(CLASSES[chosen % CLASSES.len()], 1e-3, &numbers);
    let (Some(Ok(hyper)), Some(arithmetic)) = (hyper, Arithmetic::of(kind)) else {
        panic!("the rule of a known class needs more than it is given");
    };
    let mut columns = [None; STATE_MAX];
    for (number, column) in columns.iter_mut().enumerate().take(2) {
        *column = Some(number);
    }
    let tensor = Tensor {
        kind,
        arithmetic,
        hyper,
        columns,
    };
    let verdict = judge(&values, |_| Some(tensor.clone()));
    assert_eq!(verdict.wrong.is_empty(), verdict.cause.is_none());
    between::compare(&values, |_| Some(kind));
    true
}
