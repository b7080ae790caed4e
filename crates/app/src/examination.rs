//! The one door through which `app` reaches the engine that examines.
//!
//! A parser that fails on hostile bytes fails in this program, so every caller needs the same answer to it: the thread goes
//! on, and the file is one that nobody examined. That is a gap, never an empty examination, because an empty one reads as
//! clean. What is examined and why, this does not know.

use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::scan::{Examination, Gap, GapKind, Place};
use formats::ReadAt;
use scan::{Options, Rules};

/// Examines `input`, which people call `name`. A fault of this program is a gap of kind [`GapKind::Crashed`].
pub(crate) fn examine(
    rules: &Rules,
    options: Options,
    name: &str,
    input: &dyn ReadAt,
) -> Examination {
    guarded(|| scan::examine(rules, options, name, input))
}

/// What `examine` gives, or the gap of an examination that crashed.
pub(crate) fn guarded<T: From<Examination>>(examine: impl FnOnce() -> T) -> T {
    // What `examine` had half done is dropped with it: nothing that it borrows is written to by an examination.
    catch_unwind(AssertUnwindSafe(examine)).unwrap_or_else(|_| crashed().into())
}

fn crashed() -> Examination {
    only_gap(
        GapKind::Crashed,
        "a fault of this program: please report it".to_owned(),
    )
}

/// The examination of something that could not be examined.
pub(crate) fn only_gap(kind: GapKind, what: String) -> Examination {
    Examination {
        gaps: vec![Gap {
            kind,
            place: Place::default(),
            what,
        }],
        ..Examination::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics(u64);

    impl ReadAt for Panics {
        fn len(&self) -> u64 {
            self.0
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
            panic!("a fault, as a parser might have one");
        }
    }

    #[test]
    fn a_fault_of_the_engine_is_a_gap_and_never_clean() {
        let rules = Rules::builtin();
        let done = examine(&rules, Options::default(), "a.pt", &Panics(4096));
        assert!(!done.is_complete());
        let kinds: Vec<GapKind> = done.gaps.iter().map(|gap| gap.kind).collect();
        assert_eq!(kinds, [GapKind::Crashed]);
    }

    #[test]
    fn a_thread_that_met_a_fault_examines_the_next_file() {
        let rules = Rules::builtin();
        let thread = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let lost = examine(&rules, Options::default(), "a", &Panics(64));
                let next = examine(&rules, Options::default(), "b.pkl", &&b"\x80\x04N."[..]);
                (lost, next)
            });
            work.join()
        });
        let (lost, next) = thread.unwrap();
        assert!(!lost.is_complete());
        assert!(next.is_complete());
    }
}
