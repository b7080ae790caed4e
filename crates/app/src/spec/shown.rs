//! `spec show`: a spec in words.

use std::path::Path;

use report::view::SpecView;
use training::spec::Spec;
use training::spec::model::{Amendment, Group, Mode};
use training::spec::schedule::Piece;

use super::load;
use super::write::setting;
use crate::error::AppError;
use crate::place::Surroundings;

/// Shows a spec.
pub fn show(surroundings: &Surroundings, file: &Path) -> Result<SpecView, AppError> {
    let loaded = load(surroundings, file)?;
    let declared = loaded.declared()?;
    let spec = &loaded.spec;
    let mut lines = places(spec);
    for (number, optimizer) in spec.optimizer.iter().enumerate() {
        let class = optimizer.class.as_deref().unwrap_or("not declared");
        let passes = optimizer.backwards.map_or_else(String::new, |count| {
            format!(", {count} backward passes a step")
        });
        lines.push((format!("optimizer {number}"), format!("{class}{passes}")));
        for (index, group) in optimizer.group.iter().enumerate() {
            lines.push((format!("  group {index}"), self::group(group)));
        }
    }
    lines.push((
        "table".to_owned(),
        format!(
            "{} steps, {} parameters",
            declared.table().len(),
            declared.table().tensors().len()
        ),
    ));
    lines.extend(
        spec.amendment
            .iter()
            .map(|it| ("amended".to_owned(), amendment(it))),
    );
    Ok(SpecView {
        schema: "taintline.spec-shown/1",
        file: surroundings.shown(&loaded.path),
        name: spec.name.clone(),
        sha256: loaded.digest(),
        standing: loaded.signed.standing(),
        signed: loaded.signed.words(),
        declared: serde_json::to_value(spec).unwrap_or_default(),
        lines,
    })
}

fn places(spec: &Spec) -> Vec<(String, String)> {
    let free = |mode: Mode, count: usize, what: &str| match mode {
        Mode::Any => "free".to_owned(),
        Mode::Fixed => format!(
            "fixed{}",
            if count > 0 {
                format!(", {count} {what}")
            } else {
                String::new()
            }
        ),
    };
    let mut lines = Vec::new();
    let mut add = |label: &str, value: Option<String>| {
        lines.extend(value.map(|value| (label.to_owned(), value)));
    };
    add("learnt from", spec.learnt_from.clone());
    add("script", spec.command.script.clone());
    add(
        "commit",
        spec.code.commit.as_ref().map(|commit| {
            let changes = if spec.code.changes.is_some() {
                ", with changes"
            } else {
                ""
            };
            format!("{commit}{changes}")
        }),
    );
    add("scripts", Some(format!("{} files", spec.code.script.len())));
    add(
        "environment",
        spec.environment.trees.first().map(|tree| {
            let version = |value: &Option<String>| value.clone().unwrap_or_default();
            format!(
                "tree {}, Python {}, torch {}",
                tree.short(),
                version(&spec.environment.python),
                version(&spec.environment.torch)
            )
        }),
    );
    for file in &spec.data {
        add(
            "data",
            Some(format!("{}  {}", file.sha256.short(), file.path)),
        );
    }
    for file in &spec.config {
        add(
            "config",
            Some(format!("{}  {}", file.sha256.short(), file.path)),
        );
    }
    add("world", spec.world.size.map(|size| size.to_string()));
    add("steps", spec.steps.count.map(|count| count.to_string()));
    add(
        "seed",
        Some(free(
            spec.seed.mode,
            spec.seed.judged.len(),
            "generators judged",
        )),
    );
    add("batches", Some(free(spec.batches.mode, 0, "")));
    lines
}

/// A group in words.
pub(super) fn group(group: &Group) -> String {
    let hypers: Vec<_> = group
        .hyper
        .iter()
        .map(|(name, value)| format!("{name} {value:?}"))
        .collect();
    format!("lr {}; {}", rate(&group.lr), hypers.join(", "))
}

/// A schedule in words.
pub(super) fn rate(pieces: &[Piece]) -> String {
    if pieces.is_empty() {
        return "not declared".to_owned();
    }
    let words = |piece: &Piece| {
        let (first, last) = piece.ends();
        let curve = match piece {
            Piece::Constant { value, .. } => format!("{value:?}"),
            Piece::Linear { start, end, .. } => format!("{start:?} to {end:?}"),
            Piece::Cosine {
                start,
                floor,
                period,
                ..
            } => format!("cosine from {start:?} to {floor:?} in {period} steps"),
            Piece::Exponential { start, factor, .. } => {
                format!("{start:?} times {factor:?} each step")
            }
            Piece::Steps {
                start,
                factor,
                every,
                ..
            } => format!("{start:?} times {factor:?} every {every} steps"),
        };
        format!("steps {first} to {last}: {curve}")
    };
    let mut all: Vec<_> = pieces.iter().take(8).map(words).collect();
    if pieces.len() > 8 {
        all.push(format!("and {} more pieces", pieces.len() - 8));
    }
    all.join("; ")
}

/// An amendment in words.
pub(super) fn amendment(amendment: &Amendment) -> String {
    let set: Vec<_> = amendment
        .set
        .iter()
        .map(|(name, value)| format!("{name} = {}", setting(value)))
        .collect();
    format!(
        "from step {}: {}; {} ({}, {})",
        amendment.from_step,
        set.join(", "),
        amendment.why,
        amendment.author,
        amendment.at
    )
}
