//! What loading a file would do, as the run records it: beside the load, and as a finding where it does more than give data.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use domain::scan::{Examination, Finding as Found, GapKind, Rule as ScanRule, Weight};
use domain::{Body, Finding, Gap, Grade, PathText, Rule};
use formats::{ReadAt, Window};
use scan::sets;

use super::event::ExaminedFile;
use super::recorder::Recorder;
use crate::checkpoint::Opened;
use crate::scan::Neighbours;

static RULES: LazyLock<scan::Rules> = LazyLock::new(scan::Rules::builtin);

/// What a finding tells of one file.
const TOLD: usize = 5;

/// Folders in which torch's compiler keeps what it compiled, as pickles that hold source code.
const CACHES: [&str; 2] = ["/fxgraph/", "/aotautograd/"];
/// The packages that such a pickle takes all from that is more than data.
const COMPILER: [&str; 4] = [
    "torch._inductor",
    "torch._functorch",
    "torch._dynamo",
    "torch.fx",
];

/// Examines what stands in `file` from `offset` on; `path` is what it is called, and where the parts lie that it may name.
pub(super) fn of_file(file: &File, size: u64, offset: u64, path: &PathText) -> Examination {
    let input = Opened::new(file, size);
    let window = Window::new(&input, offset, input.len());
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let mut done = crate::examination::examine(&RULES, scan::Options::default(), name, &window);
    if offset == 0 && sets::names_parts(name) {
        of_set(path, name, &window, &mut done);
    }
    done
}

/// Adds what only the set shows that the file names. Parts that are not there, or too many to compare, leave this file as
/// it is: the loader itself says what it misses, and each part that it opens is a load of its own.
fn of_set(path: &PathText, name: &str, input: &dyn ReadAt, done: &mut Examination) {
    let place = PathBuf::from(OsString::from_vec(path.to_bytes()));
    let mut left = done.gaps.len();
    let beside = Neighbours::of(&place);
    let options = scan::Options::default();
    sets::judge(&RULES, options, name, input, &beside, done);
    done.gaps.retain(|gap| {
        let own = left > 0;
        left = left.saturating_sub(1);
        own || !matches!(gap.kind, GapKind::Missing | GapKind::Limit)
    });
}

/// Whether a file that was opened is a cache of torch's compiler: it lies where that keeps them, and nothing but the compiler's
/// own classes makes it more than data. Whoever can write there decides what the compiler gives back, so that is a gap.
fn is_compiler_cache(path: &PathText, examination: &Examination) -> bool {
    let is_own = |module: &str| {
        let mut own = COMPILER.iter().filter_map(|it| module.strip_prefix(it));
        own.any(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let is_heavy = |weight: Weight| weight >= Weight::Dangerous;
    let mut needs = examination
        .needs
        .iter()
        .filter(|it| it.weight.is_some_and(is_heavy));
    let mut found = examination.findings.iter().filter(|it| is_heavy(it.weight));
    examination.left_out == 0
        && CACHES.iter().any(|folder| path.as_str().contains(folder))
        && found.all(|it| it.rule == ScanRule::RunsCode)
        && needs.all(|it| is_own(&it.module))
}

/// The heaviest finding and what it means, in one line.
pub(crate) fn in_words(examination: &Examination) -> Option<String> {
    let heavy = examination
        .findings
        .iter()
        .filter(|found| found.weight >= Weight::Unknown);
    heavy.max_by_key(|found| found.weight).map(words)
}

fn words(found: &Found) -> String {
    let place = place(found);
    let expression = match found.expression.as_str() {
        "" => String::new(),
        expression => format!(": {expression}"),
    };
    format!(
        "{} ({}{place}){expression}",
        found.rule.title(),
        found.weight
    )
}

fn place(found: &Found) -> String {
    let mut text = String::new();
    for member in &found.place.members {
        text.push_str(", ");
        text.push_str(member);
    }
    if let Some(offset) = found.place.offset {
        text.push_str(&format!(", byte {offset}"));
    }
    text
}

impl Recorder<'_> {
    /// Caches of torch's compiler, told together.
    pub(super) fn tell_compiler_caches(&mut self) {
        if let Some((files, first)) = self.compiler_caches.take() {
            let what =
                format!("what {files} caches of torch's compiler have it run, first {first}");
            let why =
                "they hold code by design, which is not compared with what it was compiled from";
            self.gap(&what, why);
        }
    }

    /// A file was examined. Each rank that loads it says so; it is one finding.
    pub(super) fn examined(&mut self, file: ExaminedFile) {
        let blob = serde_json::to_vec(&file.examination)
            .ok()
            .and_then(|bytes| self.journal.blob(&bytes));
        if let Some(asked) = file.ticket.and_then(|ticket| self.asked.get_mut(&ticket)) {
            asked.examined = blob;
        }
        if let Some(gap) = file.examination.gaps.first().filter(|_| !file.data) {
            self.journal.record(Body::Gap(Gap {
                what: format!("what loading {} would do, completely", file.path),
                why: format!("{} ({})", gap.what, gap.kind),
            }));
        }
        // A data file may hold anything as long as nobody loads it as a program.
        let least = if file.data {
            Weight::Dangerous
        } else {
            Weight::Unknown
        };
        let heavy = file
            .examination
            .findings
            .iter()
            .filter(|found| found.weight >= least);
        let mut details: Vec<String> = heavy.take(TOLD).map(words).collect();
        if details.is_empty() {
            return;
        }
        if file.data && is_compiler_cache(&file.path, &file.examination) {
            let first = (0, file.path);
            self.compiler_caches.get_or_insert(first).0 += 1;
            return;
        }
        let known = blob.is_some_and(|blob| !self.judged.insert((file.path.clone(), blob)));
        if known && !file.refused {
            return;
        }
        details.push(if file.refused {
            format!("the load was refused: {} was not carried out", file.deed)
        } else {
            format!("nothing was held up: it was {}", file.deed)
        });
        self.finding(Finding {
            rule: Rule::CheckpointRunsCode,
            grade: Grade::Observed,
            what: format!("{} does more than give data when it is loaded", file.path),
            details,
            path: Some(file.path),
            step: None,
            rank: None,
            earlier: None,
            evidence: blob.into_iter().collect(),
            innocent: vec![
                "a project's own function that rebuilds its objects: `taintline scan` shows what it calls".to_owned(),
            ],
        });
    }
}

#[cfg(test)]
mod tests {
    use domain::scan::{Need, Role};

    use super::*;

    fn examination(modules: &[&str]) -> Examination {
        let need = |module: &&str| Need {
            module: (*module).to_owned(),
            name: "name".to_owned(),
            role: Role::Call,
            weight: Some(Weight::Dangerous),
        };
        Examination {
            needs: modules.iter().map(need).collect(),
            ..Examination::default()
        }
    }

    #[test]
    fn a_cache_of_the_compiler_lies_in_its_place_and_needs_nothing_else() {
        let is = |path: &str, modules: &[&str]| {
            is_compiler_cache(&PathText::from_text(path), &examination(modules))
        };
        let own = ["torch._inductor.output_code", "torch.fx.graph_module"];
        let place = "/tmp/torchinductor_me/fxgraph/36/f3/sb";
        assert!(is(place, &own));
        assert!(
            !is("/data/train.pkl", &own),
            "anywhere else it is what it is"
        );
        assert!(!is(place, &["torch._inductor.output_code", "os"]));
        assert!(!is(place, &["torch._inductors"]));
        let mut cut = examination(&own);
        cut.left_out = 1;
        assert!(!is_compiler_cache(&PathText::from_text(place), &cut));
    }
}
