//! Facts that wait for the code of their files, found again by the file whose code came.
//!
//! A training with its libraries tells thousands of facts about thousands of files. Asking each fact again whenever one file
//! is ready was rejected: the recorder would be at it for minutes, and with it everything else that it hears.

use std::collections::BTreeMap;

use domain::PathText;

use super::{Compiler, Told};

/// Whether what stands at a fact may mean something, so that its files go first.
pub(super) fn is_urgent(fact: &domain::memory::MemoryFact) -> bool {
    use domain::memory::MemoryFact;
    match fact {
        MemoryFact::Namespace(namespace) => namespace.standing.iter().any(|standing| {
            let mut codes = standing.chain.iter();
            standing.later || codes.any(|code| code.file.as_str().starts_with('<'))
        }),
        MemoryFact::Hook(_) | MemoryFact::Machinery { .. } => true,
        MemoryFact::Module { .. } | MemoryFact::Set(_) => false,
    }
}

/// The facts that were told and not judged.
#[derive(Default)]
pub(super) struct Waiting {
    /// Facts with how many of their files have no answer, by number.
    facts: BTreeMap<u64, (usize, Told)>,
    next: u64,
    /// Facts that want a file.
    wanting: BTreeMap<(Compiler, PathText), Vec<u64>>,
    ready: Vec<Told>,
}

impl Waiting {
    /// Keeps a fact until the code of the files that are `missing` came.
    pub(super) fn add(&mut self, told: Told, missing: Vec<PathText>) {
        if missing.is_empty() {
            self.ready.push(told);
            return;
        }
        let number = self.next;
        self.next += 1;
        let count = missing.len();
        for path in missing {
            let key = (told.compiler.clone(), path);
            self.wanting.entry(key).or_default().push(number);
        }
        self.facts.insert(number, (count, told));
    }

    /// A file was answered for.
    pub(super) fn answered(&mut self, compiler: &Compiler, path: &PathText) {
        let key = (compiler.clone(), path.clone());
        for number in self.wanting.remove(&key).unwrap_or_default() {
            if let Some((missing, _)) = self.facts.get_mut(&number) {
                *missing = missing.saturating_sub(1);
                if *missing == 0
                    && let Some((_, told)) = self.facts.remove(&number)
                {
                    self.ready.push(told);
                }
            }
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.facts.is_empty()
    }

    /// The facts whose files are all answered for; all of them if `last`.
    pub(super) fn take(&mut self, last: bool) -> Vec<Told> {
        let mut taken = std::mem::take(&mut self.ready);
        if last {
            self.wanting.clear();
            let rest = std::mem::take(&mut self.facts);
            taken.extend(rest.into_values().map(|(_, told)| told));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use domain::memory::MemoryFact;

    use super::*;
    use crate::run::event::Connection;

    fn compiler() -> Compiler {
        Compiler {
            executable: PathBuf::from("/python"),
            python: "3.11".to_owned(),
            optimize: 0,
        }
    }

    fn told(what: &str) -> Told {
        Told {
            connection: Connection(1),
            compiler: compiler(),
            step: None,
            began_us: 0,
            cwd: PathBuf::from("/"),
            fact: MemoryFact::Machinery {
                what: what.to_owned(),
                object: String::new(),
                chain: Vec::new(),
            },
        }
    }

    fn path(text: &str) -> PathText {
        PathText::from_text(text)
    }

    #[test]
    fn a_fact_is_ready_when_the_last_of_its_files_is_answered_for_and_not_before() {
        let mut waiting = Waiting::default();
        waiting.add(told("both"), vec![path("/a"), path("/b")]);
        waiting.add(told("one"), vec![path("/b")]);
        waiting.add(told("none"), Vec::new());
        assert_eq!(waiting.take(false).len(), 1);
        waiting.answered(&compiler(), &path("/a"));
        waiting.answered(&compiler(), &path("/a"));
        assert!(waiting.take(false).is_empty());
        waiting.answered(&compiler(), &path("/b"));
        assert_eq!(waiting.take(false).len(), 2);
        assert!(waiting.is_empty());
    }

    #[test]
    fn at_the_end_all_facts_are_given() {
        let mut waiting = Waiting::default();
        waiting.add(told("both"), vec![path("/a")]);
        assert_eq!(waiting.take(true).len(), 1);
        assert!(waiting.is_empty());
    }
}
