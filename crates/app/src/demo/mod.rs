//! `taintline demo`: the whole story on this machine. A real training runs under guard, clean; then two harmless sabotages
//! are played on copies in a folder of the demo's own, and what the guard said of them is checked, not assumed.
//!
//! Every act is what a user would type: this binary is started as a child with `run -- python train.py …`, its output and
//! exit code are the real ones, and the store that it wrote is read back at the end.

mod private;
mod python;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::{Finding, Rule};
use report::view::RunView;

use crate::audit::audit;
use crate::error::AppError;
use crate::place::Surroundings;
use crate::queries::Reading;

/// The training that is guarded: the example of the project, which knows nothing of Taintline.
const TRAIN: &str = include_str!("../../../../examples/gpt/train.py");

/// Changes one tensor of a checkpoint by one per cent of its size; run by Python on the demo's own checkpoint.
const TAMPER: &str = r#"
import sys, torch
path = sys.argv[1]
state = torch.load(path, map_location="cpu", weights_only=True)
def tensors(value, name=""):
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from tensors(inner, f"{name}.{key}" if name else str(key))
name, weight = max(((n, t) for n, t in tensors(state) if t.is_floating_point() and n.startswith("model")), key=lambda pair: pair[1].numel())
noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
weight.add_(noise * (0.01 * weight.norm() / noise.norm()))
torch.save(state, path)
print(name)
"#;

/// What to play and where.
#[derive(Debug, Clone)]
pub struct DemoRequest {
    /// Places and variables.
    pub surroundings: Surroundings,
    /// Where to play; a new temporary folder when absent.
    pub folder: Option<PathBuf>,
    /// A Python with torch; looked for or made when absent.
    pub python: Option<PathBuf>,
    /// Steps of the clean training.
    pub steps: u32,
}

/// Where the story is told.
pub trait Stage {
    /// One line.
    fn say(&mut self, text: &str);
}

/// A demo that could not be played.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or folder of the demo.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder is in use.
    #[error("{path} is not empty", path = .0.display())]
    NotEmpty(PathBuf),
    /// No Python that can be used, and none could be made.
    #[error("no Python with PyTorch: {0}")]
    NoPython(String),
    /// The installed optimizer is not as expected.
    #[error("the optimizer in {path} has no line that the demo knows how to change", path = .0.display())]
    OtherOptimizer(PathBuf),
    /// A step of the story other than a guarded run failed.
    #[error("{what} failed")]
    Step {
        /// Which.
        what: &'static str,
    },
}

/// Adds what was done, to what, to an I/O error.
fn io_error<'p>(what: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> DemoError + 'p {
    move |source| DemoError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

struct Play<'a> {
    folder: PathBuf,
    binary: PathBuf,
    stage: &'a mut dyn Stage,
    surroundings: Surroundings,
    /// Whether everything was as it should.
    good: bool,
}

/// Plays the story; true when the clean run was clean and both sabotages were found and named.
pub fn play(request: &DemoRequest, stage: &mut dyn Stage) -> Result<bool, AppError> {
    let folder = folder(request)?;
    let python = python::find(request, stage)?;
    let mut surroundings = request.surroundings.clone();
    surroundings.cwd.clone_from(&folder);
    surroundings.store = Some(folder.join(".taintline"));
    let binary = surroundings
        .binary
        .clone()
        .unwrap_or_else(|| PathBuf::from("taintline"));
    let mut play = Play {
        folder,
        binary,
        stage,
        surroundings,
        good: true,
    };
    let script = play.folder.join("train.py");
    fs::write(&script, TRAIN).map_err(io_error("write", &script))?;
    play.say(&format!("The demo plays in {}.", play.folder.display()));
    let steps = request.steps.max(20);
    let (clean, half) = play.clean(&python, steps)?;
    play.changed_checkpoint(&python, steps, half, &clean)?;
    play.changed_optimizer(&python)?;
    play.audit()?;
    play.next(&clean);
    Ok(play.good)
}

fn folder(request: &DemoRequest) -> Result<PathBuf, DemoError> {
    let folder = if let Some(folder) = &request.folder {
        request.surroundings.cwd.join(folder)
    } else {
        let mut random = [0; 4];
        let _ = getrandom::fill(&mut random);
        let name = format!("taintline-demo-{:08x}", u32::from_le_bytes(random));
        std::env::temp_dir().join(name)
    };
    fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
    let mut entries = fs::read_dir(&folder).map_err(io_error("list", &folder))?;
    if entries.next().is_some() {
        return Err(DemoError::NotEmpty(folder));
    }
    folder.canonicalize().map_err(io_error("find", &folder))
}

impl Play<'_> {
    fn say(&mut self, text: &str) {
        self.stage.say(text);
    }

    fn act(&mut self, number: u32, text: &str) {
        self.stage.say("");
        self.stage.say(&format!("── {number} ── {text}"));
    }

    /// First act: the training as it should be.
    fn clean(&mut self, python: &Path, steps: u32) -> Result<(String, u32), AppError> {
        let half = steps / 2;
        self.act(
            1,
            "A real GPT training under guard. The script is not changed and knows nothing of it.",
        );
        let arguments = options(&[
            ("--steps", steps),
            ("--save-every", half),
            ("--eval-every", half),
        ]);
        let view = self.guarded(python, &arguments)?;
        let clean = view.line.outcome.as_deref() == Some("exit 0") && view.findings.is_empty();
        self.expect(
            clean,
            "the clean run ends with exit code 0 and nothing found",
        );
        let recorded = view.line.steps == u64::from(steps);
        self.expect(recorded, &format!("all {steps} steps are recorded"));
        Ok((view.line.name, half))
    }

    /// Second act: a checkpoint is changed between save and resume.
    fn changed_checkpoint(
        &mut self,
        python: &Path,
        steps: u32,
        half: u32,
        clean: &str,
    ) -> Result<(), AppError> {
        self.act(2, "While nobody looks, one weight matrix of a checkpoint is changed by one per cent. Then the run is resumed.");
        let checkpoint = self.folder.join(format!("ckpt/step-{half:06}.pt"));
        let tampered = Command::new(python)
            .arg("-c")
            .arg(TAMPER)
            .arg(&checkpoint)
            .current_dir(&self.folder)
            .output();
        let tampered = tampered.ok().filter(|output| output.status.success());
        let tampered = tampered.ok_or(DemoError::Step {
            what: "changing the checkpoint",
        })?;
        let tensor = String::from_utf8_lossy(&tampered.stdout).trim().to_owned();
        self.say(&format!("(changed: {tensor} in ckpt/step-{half:06}.pt)"));
        let mut arguments = options(&[("--steps", (half + 10).min(steps))]);
        arguments.extend([
            "--resume".into(),
            format!("ckpt/step-{half:06}.pt"),
            "--out".into(),
            "resumed".into(),
        ]);
        let view = self.guarded(python, &arguments)?;
        let found = view
            .findings
            .iter()
            .find(|finding| finding.rule == Rule::CheckpointChanged);
        let named = found.is_some_and(|finding| {
            let text = format!("{} {}", finding.what, finding.details.join(" "));
            finding.earlier.as_deref() == Some(clean)
                && text.contains(&tensor)
                && text.contains(&format!("step {half}"))
        });
        self.expect(
            named,
            "found: the file, the tensor and by how much, the step, and the run that had saved it",
        );
        Ok(())
    }

    /// Third act: a line of the optimizer is changed in a private copy of the environment.
    fn changed_optimizer(&mut self, python: &Path) -> Result<(), AppError> {
        self.act(3, "In a private copy of the environment one line of the optimizer is changed. Then the training is run with it.");
        let copy = private::copy(python, &self.folder.join("env"))?;
        let changed = private::change_optimizer(&copy)?;
        let shown = changed
            .strip_prefix(&self.folder)
            .unwrap_or(&changed)
            .display()
            .to_string();
        self.say(&format!("(changed: {shown})"));
        let mut arguments = options(&[("--steps", 10)]);
        arguments.extend(["--out".into(), "private".into()]);
        let view = self.guarded(&copy.python, &arguments)?;
        let named = view.findings.iter().any(|finding| {
            let path = finding
                .path
                .as_ref()
                .is_some_and(|path| path.as_str().ends_with("torch/optim/adam.py"));
            path && finding.rule == Rule::EnvironmentChanged && finding.earlier.is_some()
        });
        self.expect(
            named,
            "found: the changed file, its package, and the run that had used the right one",
        );
        let is_step = |finding: &Finding| finding.rule == Rule::UpdateDiffers;
        self.expect(
            view.findings.iter().any(is_step),
            "found: what the line does, in the recomputed steps",
        );
        let only = view.findings.iter().all(|finding| {
            let path = finding.path.as_ref();
            is_step(finding) || path.is_some_and(|path| path.as_str().ends_with("adam.py"))
        });
        self.expect(only, "and nothing else was found");
        Ok(())
    }

    /// Last act: every byte of the record is checked.
    fn audit(&mut self) -> Result<(), AppError> {
        self.act(
            4,
            "The record itself: every entry, tile, tree head and blob is checked.",
        );
        let view = audit(&self.surroundings, &[], &[])?;
        for line in report::plain::audit(&view).lines() {
            self.say(line);
        }
        self.expect(view.problems.is_empty(), "the ledger is as it was written");
        Ok(())
    }

    fn next(&mut self, clean: &str) {
        let folder = self.folder.display().to_string();
        let verdict = if self.good {
            "Everything was as it should."
        } else {
            "Not everything was as it should: see above."
        };
        self.say("");
        self.say(verdict);
        self.say("Try next:");
        self.say(&format!("  cd {folder}"));
        let binary = self.binary.display().to_string();
        for command in [
            "runs",
            "show last",
            &format!("diff {clean} last"),
            "show last --json",
            "ledger audit",
        ] {
            self.say(&format!("  {binary} {command}"));
        }
    }

    fn expect(&mut self, holds: bool, what: &str) {
        self.good &= holds;
        let mark = if holds { "ok  " } else { "NOT " };
        self.say(&format!("{mark} {what}"));
    }

    /// Runs the training under guard, as a user would, and reads back what was recorded.
    fn guarded(&mut self, python: &Path, arguments: &[String]) -> Result<RunView, AppError> {
        let shown: Vec<&OsStr> = [OsStr::new("train.py")]
            .into_iter()
            .chain(arguments.iter().map(OsStr::new))
            .collect();
        let words: Vec<_> = shown.iter().map(|word| word.to_string_lossy()).collect();
        let name = python.strip_prefix(&self.folder).unwrap_or(python);
        self.say(&format!(
            "$ taintline run -- {} {}",
            name.display(),
            words.join(" ")
        ));
        let status = Command::new(&self.binary)
            .args(["run", "--"])
            .arg(python)
            .args(&shown)
            .current_dir(&self.folder)
            .env("TAINTLINE_STORE", self.folder.join(".taintline"))
            .env_remove("TAINTLINE_TEST_PYTHON")
            .status()
            .map_err(io_error("start", &self.binary))?;
        self.say(&format!("(exit code {})", status.code().unwrap_or(-1)));
        let view = Reading::open(&self.surroundings)?.show("last")?;
        let agrees = status.code() == Some(i32::from(!view.findings.is_empty()));
        self.expect(agrees, "the exit code says whether something was found");
        Ok(view)
    }
}

fn options(pairs: &[(&str, u32)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|(name, value)| [(*name).to_owned(), value.to_string()])
        .collect()
}
