//! Whether what a run loads is what a run saved.
//!
//! A load is judged against all saves that are known, of all runs. The question is not whether the bytes are known
//! somewhere, but whether they are what should stand *at that path*: putting back last week's `latest.pt` loads perfectly
//! valid bytes and undoes a week. On the other hand copies and renames are daily work and stay innocent.
//!
//! The judgement, `D` being the digest of the loaded bytes, `P` their path, and *newest* the last save by time:
//!
//! | | saves at `P` | saves of `D` | verdict |
//! |-|-|-|-|
//! | 1 | the newest is `D` | | [`Lineage::AsSaved`] by it |
//! | 2 | none | some | [`Lineage::AsSaved`] by the newest of them: a copy or a rename |
//! | 3 | newest is another | newest of `D` is later than it | [`Lineage::AsSaved`]: a copy of something newer |
//! | 4 | newest is another | newest of `D` is earlier than it | [`Lineage::Older`]: an earlier save stands where a later one was recorded |
//! | 5 | newest is another | none; its step is known and below that of the newest at `P` | [`Lineage::Older`], of unknown origin |
//! | 6 | newest is another | none | [`Lineage::Changed`]: nobody recorded who wrote it |
//! | 7 | none | none | [`Lineage::Unknown`] |
//!
//! Time orders saves, not steps: a run that starts afresh saves lower steps over higher ones, rightly. Saves of one
//! moment are ordered as they are listed. The step of the loaded bytes is that in their content if it is visible, else
//! the one that the file name states ([`step_in_name`]); it serves row 5 alone, where nothing better is known.

use domain::{Digest, PathText};
use serde::{Deserialize, Serialize};

/// A checkpoint that a recorded run wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The run.
    pub run: String,
    /// The training step, if it is known.
    pub step: Option<u64>,
    /// Where it was written.
    pub path: PathText,
    /// The digest of the file.
    pub digest: Digest,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

/// A checkpoint that a run takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Where it stands.
    pub path: PathText,
    /// The digest of the file.
    pub digest: Digest,
    /// The training step that its content states, if one is visible.
    pub step: Option<u64>,
}

/// What a loaded checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "lineage", rename_all = "kebab-case")]
pub enum Lineage {
    /// The bytes are those that a recorded run saved, and nothing newer was saved at this path.
    AsSaved {
        /// Which save.
        saved: Saved,
    },
    /// Something newer was saved at this path.
    Older {
        /// The save that these bytes are of, if they are known.
        saved: Option<Saved>,
        /// The step of the loaded bytes, if it is known.
        step: Option<u64>,
        /// What should stand there.
        newest: Saved,
    },
    /// A recorded run saved other bytes here, and no recorded run wrote these.
    Changed {
        /// What should stand there.
        saved: Saved,
    },
    /// Nothing is known about path or bytes.
    Unknown,
}

/// Judges `load` against the known `saves`, by the table above.
pub fn judge(load: &Loaded, saves: &[Saved]) -> Lineage {
    let newest_here = newest(saves, |saved| saved.path == load.path);
    let newest_same = newest(saves, |saved| saved.digest == load.digest);
    match (newest_here, newest_same) {
        (None, None) => Lineage::Unknown,
        (None, Some((_, same))) => Lineage::AsSaved {
            saved: same.clone(),
        },
        (Some((_, here)), _) if here.digest == load.digest => Lineage::AsSaved {
            saved: here.clone(),
        },
        (Some((here_order, _)), Some((same_order, same))) if same_order > here_order => {
            Lineage::AsSaved {
                saved: same.clone(),
            }
        }
        (Some((_, here)), Some((_, same))) => Lineage::Older {
            saved: Some(same.clone()),
            step: same.step.or(load.step),
            newest: here.clone(),
        },
        (Some((_, here)), None) => {
            let step = load.step.or_else(|| step_in_name(load.path.file_name()));
            if step
                .zip(here.step)
                .is_some_and(|(loaded, saved)| loaded < saved)
            {
                Lineage::Older {
                    saved: None,
                    step,
                    newest: here.clone(),
                }
            } else {
                Lineage::Changed {
                    saved: here.clone(),
                }
            }
        }
    }
}

type Order = (i64, usize);

fn newest(saves: &[Saved], wanted: impl Fn(&Saved) -> bool) -> Option<(Order, &Saved)> {
    let ordered = saves
        .iter()
        .enumerate()
        .map(|(index, saved)| ((saved.at, index), saved));
    ordered
        .filter(|(_, saved)| wanted(saved))
        .max_by_key(|(order, _)| *order)
}

/// The training step that a file name states: the number behind the last `step` (`model-step_400.pt`,
/// `epoch=3-step=400.ckpt`, `global_step1200`), else the only number in the name (`checkpoint-1200`).
pub fn step_in_name(name: &str) -> Option<u64> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, behind)) = lower.rsplit_once("step") {
        let number = behind.trim_start_matches(['s', '-', '_', '=', '.', ' ']);
        if let Some(step) = numbers(number)
            .next()
            .filter(|_| number.starts_with(|c: char| c.is_ascii_digit()))
        {
            return step.parse().ok();
        }
    }
    let mut all = numbers(&lower);
    let only = all.next()?;
    if all.next().is_some() {
        None
    } else {
        only.parse().ok()
    }
}

fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
}

impl Lineage {
    /// One phrase for a person: `as saved by run calm-heron-17, step 400`.
    pub fn describe(&self) -> String {
        match self {
            Self::AsSaved { saved } => format!("as saved by {}", saved.describe()),
            Self::Older {
                saved: Some(saved),
                newest,
                ..
            } => {
                format!(
                    "the bytes saved by {}, but {} saved later at this path",
                    saved.describe(),
                    newest.describe()
                )
            }
            Self::Older {
                saved: None,
                step,
                newest,
            } => {
                let step = step.map_or_else(
                    || "an unknown step".to_owned(),
                    |step| format!("step {step}"),
                );
                format!(
                    "of {step} and unknown origin, but {} was saved at this path",
                    newest.describe()
                )
            }
            Self::Changed { saved } => {
                format!(
                    "not the bytes that {} saved at this path; who wrote these is not recorded",
                    saved.describe()
                )
            }
            Self::Unknown => "not known from any recorded run".to_owned(),
        }
    }
}

impl Saved {
    fn describe(&self) -> String {
        match self.step {
            Some(step) => format!("run {}, step {step}", self.run),
            None => format!("run {}", self.run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(run: &str, step: u64, path: &str, content: &str, at: i64) -> Saved {
        Saved {
            run: run.to_owned(),
            step: Some(step),
            path: path_of(path),
            digest: Digest::of(content.as_bytes()),
            at,
        }
    }

    fn path_of(path: &str) -> PathText {
        PathText::from_bytes(path.as_bytes())
    }

    fn load(path: &str, content: &str, step: Option<u64>) -> Loaded {
        Loaded {
            path: path_of(path),
            digest: Digest::of(content.as_bytes()),
            step,
        }
    }

    /// Two steps of one run, each also as `latest.pt`.
    fn history() -> Vec<Saved> {
        vec![
            saved("heron", 200, "ckpt/step-200.pt", "two", 1),
            saved("heron", 200, "ckpt/latest.pt", "two", 2),
            saved("heron", 400, "ckpt/step-400.pt", "four", 3),
            saved("heron", 400, "ckpt/latest.pt", "four", 4),
        ]
    }

    #[test]
    fn row_1_the_newest_save_at_the_path_is_as_saved() {
        let saves = history();
        let verdict = judge(&load("ckpt/latest.pt", "four", None), &saves);
        assert_eq!(
            verdict,
            Lineage::AsSaved {
                saved: saves[3].clone()
            }
        );
        let verdict = judge(&load("ckpt/step-200.pt", "two", None), &saves);
        assert_eq!(
            verdict,
            Lineage::AsSaved {
                saved: saves[0].clone()
            }
        );
        assert_eq!(verdict.describe(), "as saved by run heron, step 200");
    }

    #[test]
    fn row_1_a_fresh_run_may_save_a_lower_step_over_a_higher() {
        let mut saves = history();
        saves.push(saved("otter", 100, "ckpt/latest.pt", "fresh", 9));
        let verdict = judge(&load("ckpt/latest.pt", "fresh", Some(100)), &saves);
        assert_eq!(
            verdict,
            Lineage::AsSaved {
                saved: saves[4].clone()
            }
        );
    }

    #[test]
    fn row_2_copies_and_renames_are_innocent() {
        let saves = history();
        let verdict = judge(&load("backup/mine.pt", "two", None), &saves);
        assert_eq!(
            verdict,
            Lineage::AsSaved {
                saved: saves[1].clone()
            }
        );
    }

    #[test]
    fn row_3_a_copy_of_something_newer_is_innocent() {
        let saves = history();
        let verdict = judge(&load("ckpt/step-200.pt", "four", None), &saves);
        assert_eq!(
            verdict,
            Lineage::AsSaved {
                saved: saves[3].clone()
            }
        );
    }

    #[test]
    fn row_4_an_earlier_save_where_a_later_one_was_recorded_is_older() {
        let saves = history();
        for path in ["ckpt/latest.pt", "ckpt/step-400.pt"] {
            let Lineage::Older {
                saved,
                step,
                newest,
            } = judge(&load(path, "two", None), &saves)
            else {
                panic!("{path} is not older");
            };
            assert_eq!(
                (saved.and_then(|saved| saved.step), step, newest.step),
                (Some(200), Some(200), Some(400))
            );
        }
    }

    #[test]
    fn row_5_unknown_bytes_of_a_lower_step_are_older() {
        let saves = history();
        let verdict = judge(&load("ckpt/latest.pt", "unseen", Some(300)), &saves);
        assert_eq!(
            verdict,
            Lineage::Older {
                saved: None,
                step: Some(300),
                newest: saves[3].clone()
            }
        );
    }

    #[test]
    fn row_6_bytes_that_nobody_saved_are_changed() {
        let saves = history();
        for step in [None, Some(400), Some(500)] {
            let verdict = judge(&load("ckpt/step-400.pt", "four, altered", step), &saves);
            assert_eq!(
                verdict,
                Lineage::Changed {
                    saved: saves[2].clone()
                }
            );
        }
    }

    #[test]
    fn row_7_what_was_never_seen_is_unknown() {
        assert_eq!(
            judge(&load("hub/base.pt", "base", Some(7)), &history()),
            Lineage::Unknown
        );
        assert_eq!(
            judge(&load("hub/base.pt", "base", None), &[]),
            Lineage::Unknown
        );
    }

    #[test]
    fn of_two_saves_at_one_moment_the_one_listed_later_counts() {
        let saves = [
            saved("a", 1, "x.pt", "one", 5),
            saved("a", 2, "x.pt", "two", 5),
        ];
        assert!(matches!(
            judge(&load("x.pt", "two", None), &saves),
            Lineage::AsSaved { .. }
        ));
        assert!(matches!(
            judge(&load("x.pt", "one", None), &saves),
            Lineage::Older { .. }
        ));
    }

    #[test]
    fn steps_are_read_from_usual_names_and_from_no_others() {
        let known = [
            ("step-400.pt", Some(400)),
            ("model_step_00400.pt", Some(400)),
            ("epoch=3-step=400.ckpt", Some(400)),
            ("global_step1200", Some(1200)),
            ("checkpoint-1200", Some(1200)),
            ("ckpt-7b-1200.pt", None),
            ("latest.pt", None),
            ("steps.pt", None),
            ("step-99999999999999999999999.pt", None),
        ];
        for (name, step) in known {
            assert_eq!(step_in_name(name), step, "{name}");
        }
    }
}
