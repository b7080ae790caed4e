//! One file after the other, in this process: open, examine, and make sure that it did not change meanwhile.

use std::fs::File;

use ::scan::{Options, Rules};
use domain::scan::{Examination, Gap, GapKind, Listing, Place};
use serde::{Deserialize, Serialize};

use super::input::{InputError, Opened};
use super::shadow;
use super::walk::{Met, MetKind};
use crate::examination::{guarded, only_gap};

/// What was learnt of one file, and its programs as lines where somebody asked for them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Examined {
    pub(super) done: Examination,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) listings: Vec<Listing>,
}

impl From<Examination> for Examined {
    fn from(done: Examination) -> Self {
        Self {
            done,
            listings: Vec::new(),
        }
    }
}

/// Examines in this process.
pub(super) struct Local<'a> {
    pub(super) rules: &'a Rules,
    pub(super) options: Options,
    /// Programs are told as lines too.
    pub(super) explain: bool,
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
                examined
            }
            Err(error) => only_gap(error.gap_kind(), error.to_string()).into(),
        }
    }

    /// A fault of ours must not cost the other files their result.
    fn opened(&self, name: &str, opened: &Opened) -> Examined {
        let mut examined = guarded(|| {
            if self.explain {
                let (done, listings) = ::scan::explain(self.rules, self.options, name, opened);
                return Examined { done, listings };
            }
            ::scan::examine(self.rules, self.options, name, opened).into()
        });
        let mut whole = |kind, what: &str| {
            examined.done.gaps.push(Gap {
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
