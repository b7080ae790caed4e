//! One file after the other, in this process: open, examine, and make sure that it did not change meanwhile.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::scan::{Options, Rules};
use domain::scan::{Examination, Gap, GapKind, Place};

use super::crew::{Examine, only_gap};
use super::input::{InputError, Opened};
use super::walk::{Met, MetKind};

/// Examines in this process.
pub(super) struct Local<'a> {
    pub(super) rules: &'a Rules,
    pub(super) options: Options,
    /// What came on standard input.
    pub(super) stdin: Option<&'a File>,
}

impl Examine for Local<'_> {
    fn examine(&mut self, batch: &[Met]) -> Vec<Examination> {
        batch.iter().map(|met| self.one(met)).collect()
    }
}

impl Local<'_> {
    fn one(&self, met: &Met) -> Examination {
        let opened = match (&met.kind, self.stdin) {
            (MetKind::File, _) => Opened::open(&met.path, met.named),
            (MetKind::Stdin, Some(file)) => file
                .try_clone()
                .map_err(InputError::Refused)
                .and_then(Opened::of),
            (MetKind::Gap(kind, what), _) => return only_gap(*kind, what.clone()),
            (MetKind::Link | MetKind::Stdin, _) => return Examination::default(),
        };
        match opened {
            Ok(opened) => {
                let name = met.path.file_name().unwrap_or_default().to_string_lossy();
                self.opened(&name, &opened)
            }
            Err(error) => only_gap(error.gap_kind(), error.to_string()),
        }
    }

    /// A fault of ours must not cost the other files their result.
    fn opened(&self, name: &str, opened: &Opened) -> Examination {
        let examined = catch_unwind(AssertUnwindSafe(|| {
            ::scan::examine(self.rules, self.options, name, opened)
        }));
        let mut done = examined.unwrap_or_else(|_| {
            only_gap(
                GapKind::Crashed,
                "a fault of this program: please report it".to_owned(),
            )
        });
        let mut whole = |kind, what: &str| {
            done.gaps.push(Gap {
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
        done
    }
}
