//! A spec as TOML that a person reads: each part says what it means.

use std::fmt::Write as _;

use training::spec::model::{Amendment, File, Group, Mode, Optimizer, Setting, Spec};
use training::spec::schedule::Piece;

use super::file::AMENDMENT;

/// A string as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace(['\n', '\r'], " ")).to_string()
}

/// A number that reads back to the same bits, with a point or an exponent.
fn number(value: f64) -> String {
    format!("{value:?}")
}

/// The text of a spec without amendments.
pub(super) fn text(spec: &Spec) -> String {
    let mut text = String::new();
    head(&mut text, spec);
    places(&mut text, spec);
    randomness(&mut text, spec);
    for (index, optimizer) in spec.optimizer.iter().enumerate() {
        self::optimizer(&mut text, index, optimizer);
    }
    files(
        &mut text,
        "data",
        "A data file that the run reads, by the SHA-256 of its content.",
        &spec.data,
    );
    files(
        &mut text,
        "config",
        "A file that sets options. Another content is told as a gap: what it sets is judged by its effect.",
        &spec.config,
    );
    files(
        &mut text,
        "code.script",
        "A script or module of the project.",
        &spec.code.script,
    );
    text
}

fn head(text: &mut String, spec: &Spec) {
    let _ = write!(
        text,
        "# What this run is declared to be. `taintline run --spec` checks each step against it; what is left out is not declared.\n\
         # Change it with `taintline spec amend`, which says who and why, or edit it before it is signed.\n\
         schema = {}\nname = {}\n",
        quoted(&spec.schema),
        quoted(&spec.name)
    );
    if let Some(run) = &spec.learnt_from {
        let _ = writeln!(
            text,
            "# Learnt from the ledger's record of this run.\nlearnt_from = {}",
            quoted(run)
        );
    }
    text.push_str("\n# Which command it is for, where a folder of specs is searched. Arguments may differ.\n[command]\n");
    optional(text, "program", spec.command.program.as_deref());
    optional(text, "script", spec.command.script.as_deref());
}

fn optional(text: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = writeln!(text, "{name} = {}", quoted(value));
    }
}

fn places(text: &mut String, spec: &Spec) {
    text.push_str("\n# Commit, and SHA-256 of what `git diff HEAD` showed where the tree was not clean. Without a commit only scripts are compared.\n[code]\n");
    optional(text, "commit", spec.code.commit.as_deref());
    optional(
        text,
        "changes",
        spec.code.changes.map(|it| it.to_string()).as_deref(),
    );
    text.push_str("\n# Digest of the whole Python environment, and versions for the reader.\n[environment]\ntrees = [");
    let trees: Vec<_> = spec
        .environment
        .trees
        .iter()
        .map(|tree| quoted(&tree.to_string()))
        .collect();
    let _ = writeln!(text, "{}]", trees.join(", "));
    optional(text, "python", spec.environment.python.as_deref());
    optional(text, "torch", spec.environment.torch.as_deref());
    text.push_str("\n# Ranks.\n[world]\n");
    if let Some(size) = spec.world.size {
        let _ = writeln!(text, "size = {size}");
    }
    text.push_str("\n# Optimizer steps. The table has batches, losses and parameters of each step and rank, and the shape of each parameter.\n[steps]\n");
    if let Some(count) = spec.steps.count {
        let _ = writeln!(text, "count = {count}");
    }
    if let Some(every) = spec.steps.checkpoint_every {
        let _ = writeln!(text, "checkpoint_every = {every} # for the reader");
    }
    if spec.steps.loaded {
        text.push_str("loaded = true # the run began from a checkpoint\n");
    }
    optional(text, "table", spec.steps.table.as_deref());
    optional(
        text,
        "sha256",
        spec.steps.sha256.map(|it| it.to_string()).as_deref(),
    );
}

fn randomness(text: &mut String, spec: &Spec) {
    let judged: Vec<_> = spec.seed.judged.iter().map(|name| quoted(name)).collect();
    let _ = writeln!(
        text,
        "\n# \"fixed\": each run starts from the random state below. \"any\": seeds are free, and batches are not compared.\n\
         # Only the generators in `judged` are findings; the others decide whether batches can be compared.\n\
         [seed]\nmode = {}\njudged = [{}]",
        quoted(mode(spec.seed.mode)),
        judged.join(", ")
    );
    for state in &spec.seed.state {
        let _ = writeln!(
            text,
            "\n# Fingerprints of the generators behind the first step of a rank.\n[[seed.state]]\nrank = {}",
            state.rank
        );
        for (name, print) in [
            ("torch", state.torch),
            ("python", state.python),
            ("numpy", state.numpy),
        ] {
            optional(text, name, print.map(|it| it.to_string()).as_deref());
        }
    }
    let _ = writeln!(
        text,
        "\n# \"fixed\": the batches of the table, in their order. \"any\": not compared.\n[batches]\nmode = {}",
        quoted(mode(spec.batches.mode))
    );
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Fixed => "fixed",
        Mode::Any => "any",
    }
}

fn optimizer(text: &mut String, index: usize, optimizer: &Optimizer) {
    let _ = writeln!(
        text,
        "\n# Optimizer {index}, in the order of first use.\n[[optimizer]]"
    );
    optional(text, "class", optimizer.class.as_deref());
    if let Some(count) = optimizer.backwards {
        let _ = writeln!(
            text,
            "backwards = {count} # backward passes of each step: micro-batches that are accumulated"
        );
    }
    if let Some(print) = optimizer.parameters_after_first_step {
        let _ = writeln!(
            text,
            "parameters_after_first_step = {} # for the reader",
            quoted(&print.to_string())
        );
    }
    for (number, declared) in optimizer.group.iter().enumerate() {
        let _ = writeln!(
            text,
            "\n# Its parameter group {number}. The learning rate by steps, both ends included: {}.\n[[optimizer.group]]",
            kinds(declared)
        );
        group(text, declared);
    }
}

fn kinds(group: &Group) -> &'static str {
    match group.lr.as_slice() {
        [] => "not declared",
        pieces if pieces.len() <= 4 => "formulas that give every recorded value",
        _ => "a table, because no formula gives every recorded value",
    }
}

fn group(text: &mut String, group: &Group) {
    if group.lr.is_empty() {
        text.push_str("lr = []\n");
    } else {
        text.push_str("lr = [\n");
        for piece in &group.lr {
            let _ = writeln!(text, "  {},", self::piece(piece));
        }
        text.push_str("]\n");
    }
    let hypers: Vec<_> = group
        .hyper
        .iter()
        .map(|(name, value)| format!("{} = {}", key(name), number(*value)))
        .collect();
    let _ = writeln!(text, "hyper = {{ {} }}", hypers.join(", "));
}

fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if bare { name.to_owned() } else { quoted(name) }
}

fn piece(piece: &Piece) -> String {
    let (first, last) = piece.ends();
    let ends = format!("first = {first}, last = {last}");
    match *piece {
        Piece::Constant { value, .. } => format!(
            "{{ {ends}, kind = \"constant\", value = {} }}",
            number(value)
        ),
        Piece::Linear { start, end, .. } => {
            format!(
                "{{ {ends}, kind = \"linear\", start = {}, end = {} }}",
                number(start),
                number(end)
            )
        }
        Piece::Cosine {
            anchor,
            start,
            floor,
            period,
            ..
        } => format!(
            "{{ {ends}, kind = \"cosine\", anchor = {anchor}, start = {}, floor = {}, period = {period} }}",
            number(start),
            number(floor)
        ),
        Piece::Exponential { start, factor, .. } => {
            format!(
                "{{ {ends}, kind = \"exponential\", start = {}, factor = {} }}",
                number(start),
                number(factor)
            )
        }
        Piece::Steps {
            start,
            factor,
            every,
            ..
        } => format!(
            "{{ {ends}, kind = \"steps\", start = {}, factor = {}, every = {every} }}",
            number(start),
            number(factor)
        ),
    }
}

fn files(text: &mut String, name: &str, about: &str, files: &[File]) {
    for (number, file) in files.iter().enumerate() {
        let about = if number == 0 {
            format!("# {about}\n")
        } else {
            String::new()
        };
        let _ = write!(
            text,
            "\n{about}[[{name}]]\npath = {}\nsha256 = {}\n",
            quoted(&file.path),
            quoted(&file.sha256.to_string())
        );
    }
}

/// An amendment, to be appended.
pub(super) fn amendment(amendment: &Amendment) -> String {
    let set: Vec<_> = amendment
        .set
        .iter()
        .map(|(name, value)| format!("{} = {}", quoted(name), setting(value)))
        .collect();
    format!(
        "{AMENDMENT}\nfrom_step = {}\nset = {{ {} }}\nwhy = {}\nauthor = {}\nat = {}\nbefore = {}\n",
        amendment.from_step,
        set.join(", "),
        quoted(&amendment.why),
        quoted(&amendment.author),
        quoted(&amendment.at),
        quoted(&amendment.before.to_string())
    )
}

/// A setting as it is written.
pub(super) fn setting(value: &Setting) -> String {
    match value {
        Setting::Whole(whole) => whole.to_string(),
        Setting::Number(value) => number(*value),
        Setting::Word(word) => quoted(word),
    }
}

#[cfg(test)]
mod tests {
    use training::spec::model::{SCHEMA, State};

    use super::*;

    #[test]
    fn what_is_written_reads_back_whatever_names_it_has() {
        let group = Group {
            lr: vec![
                Piece::Linear {
                    first: 1,
                    last: 2,
                    start: 1e-300,
                    end: 0.1,
                },
                Piece::Cosine {
                    first: 3,
                    last: 9,
                    anchor: 3,
                    start: 0.1,
                    floor: 1e-5,
                    period: 100,
                },
                Piece::Steps {
                    first: 10,
                    last: 20,
                    start: 1.0,
                    factor: 0.5,
                    every: 3,
                },
            ],
            hyper: [("eps".to_owned(), 1e-8), ("odd \"name\"".to_owned(), 3.0)].into(),
        };
        let mut spec = Spec {
            schema: SCHEMA.to_owned(),
            name: "a \"b\"\\ é".to_owned(),
            optimizer: vec![Optimizer {
                class: Some("AdamW".to_owned()),
                backwards: Some(2),
                group: vec![group],
                ..Optimizer::default()
            }],
            data: vec![File {
                path: "d/é 'x'.bin".to_owned(),
                sha256: domain::Digest::of(b"x"),
            }],
            ..Spec::default()
        };
        spec.seed.judged = vec!["torch".to_owned()];
        spec.seed.state = vec![State {
            rank: 1,
            torch: Some(domain::Fingerprint::from_bits(5)),
            ..State::default()
        }];
        let written = text(&spec);
        let read: Spec =
            toml::from_str(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(read, spec);
    }
}
