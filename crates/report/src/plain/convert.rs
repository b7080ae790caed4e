//! `taintline convert`: what was written, and where it is. What was refused, and why, is told by the error.

use super::{field, plural};
use crate::sanitise;
use crate::time::size;
use crate::view::ConvertView;

/// What was converted, and where it is.
pub fn converted(view: &ConvertView) -> String {
    let tensors = format!(
        "{}  {}, {}",
        view.tensors_file,
        plural(view.tensors, "tensor"),
        size(view.bytes)
    );
    format!(
        "{}\n{}{}",
        sanitise(&view.source),
        field("tensors", &tensors),
        field("structure", &view.structure_file)
    )
}
