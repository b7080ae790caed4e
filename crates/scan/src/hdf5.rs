//! What an HDF5 file leads to, and what Keras would build from it.
//!
//! Numbers cannot run. What can harm stands around them: links and storage in other files, filters that the library loads
//! as plugins, and the description of a model that Keras leaves in an attribute of the root.

use domain::scan::{GapKind, Rule, Weight};
use formats::hdf5::{Attribute, Dataset, File, Link, Unread, read};
use formats::protobuf::Span;
use formats::{ReadAt, Window};

use crate::{Examiner, keras, paths};

/// Attributes in which Keras keeps descriptions.
const DESCRIPTIONS: [&str; 3] = ["model_config", "training_config", "optimizer_config"];

/// Examines the file that `input` is.
pub(crate) fn examine(examiner: &mut Examiner<'_>, _name: &str, input: &dyn ReadAt) {
    let file = match read(input) {
        Ok(file) => file,
        Err(error) => {
            examiner.part("HDF5", input.len(), None);
            let here = examiner.here();
            return examiner.gap(GapKind::Broken, here, error.to_string());
        }
    };
    let keras = file.attributes.iter().any(|attribute| {
        attribute.object == "/"
            && ["model_config", "keras_version"].contains(&attribute.name.as_str())
    });
    let format = if keras { "Keras model in HDF5" } else { "HDF5" };
    examiner.part(format, input.len(), None);
    examiner.raw(file.raw_bytes);
    for link in &file.links {
        judge_link(examiner, link);
    }
    for dataset in &file.datasets {
        judge_dataset(examiner, dataset);
    }
    for attribute in &file.attributes {
        describe(examiner, attribute, input);
    }
    if file.user_block > 0 {
        let block = Window::new(input, 0, file.user_block);
        examiner.member("user block", &block);
    }
    tell_unread(examiner, &file);
}

fn judge_link(examiner: &mut Examiner<'_>, link: &Link) {
    let Some(other) = &link.file else {
        return;
    };
    let place = examiner.at(link.offset);
    let shown = format!("{:?} → {other:?} {:?}", link.path, link.target);
    lead(examiner, other, place, shown, "A link leads into that file");
}

fn judge_dataset(examiner: &mut Examiner<'_>, dataset: &Dataset) {
    for other in dataset.files.iter().filter(|other| *other != ".") {
        let place = examiner.at(dataset.offset);
        let shown = format!("{:?} in {other:?}", dataset.path);
        lead(
            examiner,
            other,
            place,
            shown,
            "A dataset is read from that file",
        );
    }
    for plugin in &dataset.plugins {
        let here = examiner.here();
        let why = "Reading a dataset needs a filter that a native plugin brings.";
        examiner.found(
            Rule::CustomOperator,
            Weight::Note,
            here,
            format!("filter {plugin}"),
            why,
        );
    }
}

/// Weights of Keras are never spread over files: that a name leads elsewhere is worth a look even beside the file.
fn lead(
    examiner: &mut Examiner<'_>,
    other: &str,
    place: domain::scan::Place,
    shown: String,
    what: &str,
) {
    if let Some(reason) = paths::leaves(other) {
        let why = format!("{what}, outside of its folder: {reason}.");
        examiner.found(Rule::PathEscapes, Weight::Dangerous, place, shown, why);
    } else {
        let why = format!("{what}.");
        examiner.found(Rule::ExternalFile, Weight::Unknown, place, shown, why);
    }
}

fn describe(examiner: &mut Examiner<'_>, attribute: &Attribute, input: &dyn ReadAt) {
    if !DESCRIPTIONS.contains(&attribute.name.as_str()) {
        return;
    }
    let place = examiner.at(attribute.offset);
    let Some(span) = attribute.text else {
        let what = format!(
            "the attribute {:?} is no text in a form that is read",
            attribute.name
        );
        return examiner.gap(GapKind::NotRead, place, what);
    };
    match text(input, span) {
        Ok(json) => keras::examine_config(examiner, &json, span.start),
        Err(what) => {
            let what = format!("the attribute {:?} {what}", attribute.name);
            examiner.gap(GapKind::Limit, place, what);
        }
    }
}

/// The bytes of a description, without the zeros that fill it up.
fn text(input: &dyn ReadAt, span: Span) -> Result<Vec<u8>, &'static str> {
    if span.len() > keras::MAX_CONFIG {
        return Err("is longer than is read");
    }
    let outside = span.end > input.len();
    let size = usize::try_from(span.len()).ok().filter(|_| !outside);
    let mut bytes = vec![0; size.ok_or("does not lie in the file")?];
    let read = input.read_at(span.start, &mut bytes);
    read.map_err(|_| "cannot be read")?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn tell_unread(examiner: &mut Examiner<'_>, file: &File) {
    for (what, offset) in &file.unread {
        let kind = match what {
            Unread::Broken(_) => GapKind::Broken,
            Unread::Kind(_) => GapKind::NotRead,
            Unread::Limit(_) => GapKind::Limit,
        };
        let place = examiner.at(*offset);
        examiner.gap(kind, place, what.to_string());
    }
    if file.left_out > 0 {
        let here = examiner.here();
        let what = format!(
            "{} links or attributes beyond the limit of the record",
            file.left_out
        );
        examiner.gap(GapKind::Limit, here, what);
    }
}
