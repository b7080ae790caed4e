//! `training`: the one text of a summary and of a sketch.

use training::checkpoint::CheckpointSummary;
use training::sketch::Sketch;

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
