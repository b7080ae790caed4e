//! `taintline diff A.pt B.pt`: which tensors changed and by how much, the largest change first.

use super::{field, plural};
use crate::time::count;
use crate::view::{TensorChangeView, WeightsView};
use crate::{sanitise, shorten};

/// Changed tensors that are shown one by one; JSON has all.
const SHOWN: usize = 40;

/// What differs between two checkpoints.
pub fn weights(view: &WeightsView) -> String {
    let mut text = format!("{} → {}\n", sanitise(&view.left), sanitise(&view.right));
    if let (Some(before), Some(after)) = view.steps {
        text.push_str(&field("step", &format!("{before} → {after}")));
    }
    for name in view.added.iter().take(SHOWN) {
        text.push_str(&field("added", name));
    }
    for name in view.removed.iter().take(SHOWN) {
        text.push_str(&field("removed", name));
    }
    for change in view.changed.iter().take(SHOWN) {
        text.push_str(&field("changed", &line(change)));
    }
    for change in view.scalars.iter().take(SHOWN) {
        let side = |value: &Option<String>| shorten(value.as_deref().unwrap_or("absent"), 60);
        let sides = format!(
            "{}: {} → {}",
            change.name,
            side(&change.before),
            side(&change.after)
        );
        text.push_str(&field("value", &sides));
    }
    let lists = [
        view.added.len(),
        view.removed.len(),
        view.changed.len(),
        view.scalars.len(),
    ];
    let more: usize = lists
        .iter()
        .map(|length| length.saturating_sub(SHOWN))
        .sum();
    if more > 0 {
        text.push_str(&field(
            "more",
            &format!("{} not shown; --json has them", count(more as u64)),
        ));
    }
    let sums = format!(
        "{} changed, {} added, {} removed, {} equal",
        plural(view.changed.len() as u64, "tensor"),
        count(view.added.len() as u64),
        count(view.removed.len() as u64),
        count(view.unchanged),
    );
    text.push_str(&field("in all", &sums));
    for gap in view.not_compared.iter().take(SHOWN) {
        text.push_str(&field(
            "not compared",
            &format!("{}: {}", gap.what, gap.why),
        ));
    }
    text
}

fn line(change: &TensorChangeView) -> String {
    let mut parts = vec![format!(
        "{}  {} {:?}",
        change.name, change.dtype, change.shape
    )];
    if let Some(shape) = &change.shape_before {
        parts.push(format!("shape was {shape:?}"));
    }
    if let Some(dtype) = &change.dtype_before {
        parts.push(format!("element type was {dtype}"));
    }
    if change.laid_out_differently {
        parts.push("laid out differently in memory; values not compared".to_owned());
    }
    if let Some(relative) = change.relative {
        parts.push(format!("by {} of its norm", percent(relative)));
    }
    if let Some(factor) = change.factor {
        parts.push(format!("× {factor:.6}"));
    }
    if let Some(changed) = change.elements_changed {
        parts.push(format!(
            "{} of {} elements",
            count(changed),
            count(change.elements())
        ));
    }
    if let Some(largest) = change.largest {
        parts.push(format!("at most {largest:.3e}"));
    }
    if change.non_finite != (0, 0) {
        let (before, after) = change.non_finite;
        parts.push(format!("{before} → {after} elements not finite"));
    }
    if parts.len() == 1 {
        parts.push("bytes differ; values of this type are not measured".to_owned());
    }
    parts.join(", ")
}

fn percent(fraction: f64) -> String {
    match fraction * 100.0 {
        percent if !percent.is_finite() => "more than it had".to_owned(),
        percent if percent >= 0.1 => format!("{percent:.1} %"),
        percent => format!("{percent:.1e} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> WeightsView {
        WeightsView {
            schema: "taintline.weights/1",
            left: "a.pt".to_owned(),
            right: "b\u{1b}[31m.pt".to_owned(),
            bytes: (10, 10),
            steps: (Some(40), Some(60)),
            added: Vec::new(),
            removed: vec!["old".to_owned()],
            changed: Vec::new(),
            unchanged: 7,
            scalars: Vec::new(),
            not_compared: Vec::new(),
        }
    }

    #[test]
    fn a_hostile_name_reaches_no_terminal() {
        assert!(!weights(&view()).contains('\u{1b}'));
    }

    #[test]
    fn a_change_tells_how_much() {
        let mut view = view();
        let mut change = TensorChangeView::named("w", &[2, 3], "float32");
        change.relative = Some(0.0123);
        change.elements_changed = Some(4);
        view.changed.push(change);
        let text = weights(&view);
        assert!(
            text.contains("by 1.2 % of its norm, 4 of 6 elements"),
            "{text}"
        );
        assert!(
            text.contains("1 tensor changed, 0 added, 1 removed, 7 equal"),
            "{text}"
        );
        assert!(text.contains("40 → 60"), "{text}");
    }
}
