//! One file after the other, in this process: open, examine, and make sure that it did not change meanwhile.

use std::fs::File;
use std::time::Instant;

use ::scan::{Options, Rules, sets};
use domain::scan::{Examination, Gap, GapKind, Listing, Place};
use domain::verdict::{Bound, Kept};
use formats::ReadAt;
use serde::{Deserialize, Serialize};

use super::beside::Neighbours;
use super::input::{InputError, Opened};
use super::keep::is_settled;
use super::shadow;
use super::traced::Traced;
use super::walk::{Met, MetKind};
use crate::examination::{guarded, only_gap};

/// What was learnt of one file, and its programs as lines where somebody asked for them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Examined {
    pub(super) done: Examination,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) listings: Vec<Listing>,
    /// What the answer rests on, where somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bound: Option<Bound>,
    /// How long it took in microseconds, where somebody asked for it.
    #[serde(default)]
    pub(super) took_us: u64,
    /// It depends on the files beside it too.
    #[serde(default)]
    pub(super) beside: bool,
    /// It is the answer of an earlier entry. Never said by a worker.
    #[serde(skip)]
    pub(super) as_in: Option<Kept>,
}

impl From<Examination> for Examined {
    fn from(done: Examination) -> Self {
        Self {
            done,
            ..Self::default()
        }
    }
}

/// Examines in this process.
pub(super) struct Local<'a> {
    pub(super) rules: &'a Rules,
    pub(super) options: Options,
    /// Programs are told as lines too.
    pub(super) explain: bool,
    /// What the answer rests on is told too.
    pub(super) bind: bool,
    /// What came on standard input.
    pub(super) stdin: Option<&'a File>,
}

impl Local<'_> {
    /// Examines one file.
    pub(super) fn one(&self, met: &Met) -> Examined {
        let opened = match (&met.kind, self.stdin) {
            (MetKind::File, _) => Opened::open(&met.path, met.named),
            (MetKind::Stdin, Some(file)) => file
                .try_clone()
                .map_err(InputError::Refused)
                .and_then(Opened::of),
            (MetKind::Gap(kind, what), _) => return only_gap(*kind, what.clone()).into(),
            (MetKind::Link | MetKind::Stdin, _) => return Examined::default(),
        };
        match opened {
            Ok(opened) => {
                let name = met.path.file_name().unwrap_or_default().to_string_lossy();
                let mut examined = self.opened(&name, &opened);
                shadow::look(self.rules, &met.path, &mut examined.done);
                examined.beside = shadow::may_look(&met.path);
                if met.kind == MetKind::File && sets::names_parts(&name) {
                    examined.beside = true;
                    let neighbours = Neighbours::of(&met.path);
                    let (rules, options) = (self.rules, self.options);
                    let done = &mut examined.done;
                    sets::judge(rules, options, &name, &opened, &neighbours, done);
                }
                examined
            }
            Err(error) => only_gap(error.gap_kind(), error.to_string()).into(),
        }
    }

    fn opened(&self, name: &str, opened: &Opened) -> Examined {
        let mut examined = if self.bind {
            let traced = Traced::new(opened);
            let started = Instant::now();
            let mut examined = self.engine(name, &traced);
            let took = started.elapsed().as_micros();
            examined.took_us = u64::try_from(took).unwrap_or(u64::MAX);
            if is_settled(&examined.done) {
                examined.bound = traced.bound(name);
            }
            examined
        } else {
            self.engine(name, opened)
        };
        let (gaps, bound) = (&mut examined.done.gaps, &mut examined.bound);
        let mut whole = |kind, what: &str| {
            *bound = None;
            gaps.push(Gap {
                kind,
                place: Place::default(),
                what: what.to_owned(),
            });
        };
        if !opened.is_unchanged() {
            whole(
                GapKind::Changed,
                "somebody wrote to it while it was examined",
            );
        }
        if opened.has_no_size() {
            whole(
                GapKind::NotRead,
                "the system says that it is empty, and it gives bytes",
            );
        }
        examined
    }
}

impl Local<'_> {
    /// A fault of ours must not cost the other files their result.
    fn engine(&self, name: &str, input: &dyn ReadAt) -> Examined {
        guarded(|| {
            if self.explain {
                let (done, listings) = ::scan::explain(self.rules, self.options, name, input);
                return Examined {
                    listings,
                    ..done.into()
                };
            }
            ::scan::examine(self.rules, self.options, name, input).into()
        })
    }
}
