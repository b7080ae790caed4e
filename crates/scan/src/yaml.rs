//! What loading a YAML file does: tags that make a loader construct objects, and targets that a framework calls.

use domain::scan::{GapKind, Place, Rule, Weight};
use formats::ReadAt;
use formats::yaml::{self, Fault, Kind, Node};

use crate::{Examiner, targets, text};

/// Bytes of a file that are read.
const MAX_BYTES: u64 = 8 << 20;
/// Values that aliases may grow to.
const MAX_EXPANDED: u64 = 10_000_000;
const PYTHON: &str = "tag:yaml.org,2002:python/";
/// Keys whose value a framework imports and calls.
const TARGETS: [&str; 3] = ["_target_", "__target__", "_partial_target_"];

/// Examines a YAML file.
pub(crate) fn examine(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let _ = name;
    let Some(bytes) = text::all(examiner, input, MAX_BYTES, "a YAML file") else {
        return;
    };
    examiner.part("YAML", input.len(), Some(domain::Digest::of(&bytes)));
    let source = String::from_utf8_lossy(&bytes);
    let stream = yaml::parse(&source);
    let offsets = Offsets::new(&source);
    for document in &stream.documents {
        let mut walk = vec![document];
        while let Some(node) = walk.pop() {
            one(examiner, &offsets, node);
            match &node.kind {
                Kind::List(items) => walk.extend(items),
                Kind::Map(pairs) => walk.extend(pairs.iter().flat_map(|(key, value)| [key, value])),
                Kind::Scalar(_) | Kind::Alias => {}
            }
        }
    }
    if stream.expanded > MAX_EXPANDED {
        let why = format!("its aliases grow to {} values", stream.expanded);
        examiner.found(Rule::Bomb, Weight::Dangerous, examiner.here(), "", why);
    }
    if let Some(fault) = stream.fault {
        broken(examiner, &offsets, fault);
    }
}

/// Characters of a text to its bytes: the offset of every so-many-th character.
struct Offsets<'s> {
    source: &'s str,
    marks: Vec<usize>,
}

impl<'s> Offsets<'s> {
    const STEP: usize = 512;

    fn new(source: &'s str) -> Self {
        let marks = source.char_indices().step_by(Self::STEP);
        Self {
            source,
            marks: marks.map(|(offset, _)| offset).collect(),
        }
    }

    fn place(&self, examiner: &Examiner<'_>, at: usize) -> Place {
        let mark = self.marks.get(at / Self::STEP).copied();
        let mark = mark.unwrap_or(self.source.len());
        let rest = self.source.get(mark..).unwrap_or_default();
        let inside = rest.char_indices().nth(at % Self::STEP);
        let offset = mark + inside.map_or(rest.len(), |(offset, _)| offset);
        examiner.at(offset as u64)
    }
}

fn one(examiner: &mut Examiner<'_>, offsets: &Offsets<'_>, node: &Node) {
    if let Some(tag) = &node.tag {
        let place = offsets.place(examiner, node.at);
        tagged(examiner, place, tag);
    }
    let Kind::Map(pairs) = &node.kind else { return };
    for (key, value) in pairs {
        let Some(key) = key.text() else { continue };
        if TARGETS.contains(&key)
            && let Some(target) = value.text()
        {
            let place = offsets.place(examiner, value.at);
            targets::called(examiner, place, target, "the framework that reads this");
        }
        if let Some(text) = value
            .text()
            .filter(|text| key.contains("template") && formats::gguf::looks_like_template(text))
        {
            examiner.inside(key, |examiner| {
                crate::template::examine_text(examiner, text);
            });
        }
    }
}

/// What a tag makes a loader do.
fn tagged(examiner: &mut Examiner<'_>, place: Place, tag: &str) {
    const PLAIN: [&str; 11] = [
        "none", "bool", "str", "unicode", "bytes", "int", "long", "float", "complex", "list",
        "dict",
    ];
    if let Some(kind) = tag.strip_prefix(PYTHON) {
        if PLAIN.contains(&kind) || kind == "tuple" {
            return;
        }
        let (what, name) = kind.split_once(':').unwrap_or((kind, ""));
        return constructs(examiner, place, tag, what, name);
    }
    // HyperPyYAML, which SpeechBrain's files are written in.
    let Some(short) = tag.strip_prefix('!') else {
        return;
    };
    match short.split_once(':') {
        Some(("new" | "apply" | "applyref", name)) => {
            targets::called(examiner, place, name, "HyperPyYAML");
        }
        Some(("name" | "module", name)) => {
            if let Some((rule, weight, why)) =
                targets::told(name).filter(|told| told.1 > Weight::Custom)
            {
                let why = format!("HyperPyYAML imports it: {why}");
                examiner.found(rule, weight.min(Weight::Unknown), place, tag, why);
            }
        }
        Some(("include", file)) => {
            let why = format!("it includes the file {file:?}");
            examiner.found(Rule::ExternalFile, Weight::Note, place, tag, why);
        }
        _ => {}
    }
}

fn constructs(examiner: &mut Examiner<'_>, place: Place, tag: &str, what: &str, name: &str) {
    let told = targets::told(name);
    let weight = match (what, &told) {
        ("object/apply" | "object/new" | "object", Some((_, Weight::Dangerous, _))) => {
            Weight::Dangerous
        }
        ("name", Some((_, Weight::Dangerous, _))) => Weight::Dangerous,
        (_, None) => Weight::Note,
        _ => Weight::Unknown,
    };
    let does = match what {
        "object/apply" | "object/new" => "calls",
        "object" => "makes an object of",
        "module" => "imports",
        _ => "looks up",
    };
    let why = format!("an unsafe loader {does} {name:?}");
    examiner.found(Rule::ObjectTag, weight, place.clone(), tag, why);
    if let Some((rule, Weight::Dangerous, _)) = told.filter(|_| what.starts_with("object")) {
        let why = format!("an unsafe loader {does} {name:?}");
        examiner.found(rule, Weight::Dangerous, place, tag, why);
    }
}

/// Behind a fault there is no tree; another reader may be more lenient.
fn broken(examiner: &mut Examiner<'_>, offsets: &Offsets<'_>, fault: Fault) {
    let (kind, at) = match fault {
        Fault::Syntax(at) => (GapKind::Broken, at),
        Fault::Limit(at) => (GapKind::Limit, at),
    };
    let here = offsets.place(examiner, at);
    let start = here
        .offset
        .and_then(|offset| usize::try_from(offset).ok())
        .unwrap_or(0);
    examiner.gap(kind, here, fault.to_string());
    let rest = offsets.source.get(start..).unwrap_or_default();
    for (mark, full) in [
        ("!!python/", PYTHON),
        ("2002:python/", PYTHON),
        ("!new:", "!new:"),
        ("!apply:", "!apply:"),
    ] {
        for (at, _) in rest.match_indices(mark).take(16) {
            let name = rest.get(at + mark.len()..).unwrap_or_default();
            let end = name.find(|c: char| !c.is_alphanumeric() && !"._:/".contains(c));
            let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
            let place = examiner.at((start + at) as u64);
            tagged(examiner, place, &format!("{full}{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Rules};
    use domain::scan::Examination;

    fn scan(text: &str) -> Examination {
        let rules = Rules::builtin();
        let mut examiner = Examiner::new(&rules, Options::default());
        examine(&mut examiner, "x.yaml", &text.as_bytes());
        examiner.finish(text.len() as u64)
    }

    #[test]
    fn tags_and_targets_that_act_are_dangerous() {
        for text in [
            "!!python/object/apply:os.system ['echo MARKER']",
            "a:\n  - !!python/object/new:subprocess.Popen [[echo, MARKER]]",
            "%TAG !p! tag:yaml.org,2002:python/\n---\n!p!object/apply:os.system [echo]",
            "!!python/name:os.system ''",
            "model:\n  _target_: os.system\n  command: echo MARKER",
            "model:\n  x: {_target_: builtins.exec, _args_: ['x']}",
            "x: !apply:os.system ['echo MARKER']",
            "a: [\nb: !!python/object/apply:os.system [x]",
        ] {
            assert_eq!(scan(text).weight(), Some(Weight::Dangerous), "{text}");
        }
    }

    #[test]
    fn honest_configuration_is_clean() {
        for text in [
            "trainer:\n  devices: 1\n  max_epochs: 10\nmodel:\n  encoder:\n    _target_: nemo.collections.asr.modules.ConformerEncoder\n    feat_in: 80\noptim:\n  _target_: torch.optim.AdamW\n  lr: 1e-3\n",
            "base: &b {a: 1}\nx:\n  <<: *b\n  y: !!python/tuple [1, 2]\n",
            "encoder: !new:speechbrain.nnet.RNN.LSTM\n  input_size: !ref <n>\nseed: !apply:torch.manual_seed [1]\nact: !name:torch.nn.LeakyReLU\n",
            "name: env\nchannels:\n  - defaults\ndependencies:\n  - python=3.10\n",
        ] {
            let done = scan(text);
            assert_eq!((done.findings, done.gaps), (vec![], vec![]), "{text}");
        }
    }

    #[test]
    fn unknown_callables_and_growth_are_told() {
        assert_eq!(scan("_target_: mine.run").weight(), Some(Weight::Unknown));
        assert_eq!(
            scan("_target_: mine.models.Net").weight(),
            Some(Weight::Custom)
        );
        assert_eq!(
            scan("!!python/object:mine.Thing {}").weight(),
            Some(Weight::Unknown)
        );
        let mut text = "a0: &a0 [x, x]\n".to_owned();
        for n in 1..40 {
            text.push_str(&format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1));
        }
        assert!(
            scan(&text)
                .findings
                .iter()
                .any(|found| found.rule == Rule::Bomb)
        );
        assert!(!scan("a: [").is_complete());
    }
}
