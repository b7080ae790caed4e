//! What an earlier bisection that did not come to its end was told, so that it need not be asked again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::{Digest, Hasher};
use serde::{Deserialize, Serialize};
use training::replay::halve::Answer;

use super::super::Task;
use crate::error::AppError;
use crate::secret;

/// Answers by what was asked, in a file that only this store's secret vouches for: another's is not believed.
pub(super) struct Memory {
    file: PathBuf,
    secret: Option<[u8; 32]>,
    answers: BTreeMap<String, bool>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    /// Whether it was bad.
    answers: BTreeMap<String, bool>,
    keyed: Digest,
}

impl Memory {
    /// Of the same question about the same run in the same environment.
    pub(super) fn open(task: &Task<'_>, environment: &str) -> Result<Self, AppError> {
        let subject = task.subject;
        let store = &subject.reading.store;
        let mut hasher = Hasher::new();
        let request = task.request;
        let question = format!(
            "{} {environment} {:?} {:?} {:?} {:?}",
            subject.record.id, request.steps, request.code, request.resume, request.threads
        );
        hasher.update(question.as_bytes());
        let folder = store.root().join("cache/bisect");
        let _ = std::fs::create_dir_all(&folder); // without it nothing is remembered
        let mut memory = Self {
            file: folder.join(hasher.finish().to_string().replace(':', "-")),
            secret: secret::known(store, &subject.surroundings.keys()?),
            answers: BTreeMap::new(),
        };
        let written = std::fs::read(&memory.file)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Written>(&bytes).ok());
        if let Some(written) = written
            && memory.keyed(&written.answers) == Some(written.keyed)
        {
            memory.answers = written.answers;
        }
        Ok(memory)
    }

    pub(super) fn of(&self, what: &str) -> Option<Answer> {
        let bad = self.answers.get(what)?;
        Some(if *bad { Answer::Bad } else { Answer::Good })
    }

    /// What could not be tested is asked again.
    pub(super) fn keep(&mut self, what: &str, answer: Answer) {
        if answer == Answer::CannotTest {
            return;
        }
        self.answers.insert(what.to_owned(), answer == Answer::Bad);
        let Some(keyed) = self.keyed(&self.answers) else {
            return;
        };
        let written = Written {
            answers: self.answers.clone(),
            keyed,
        };
        let bytes = serde_json::to_vec(&written).unwrap_or_default();
        let _ = std::fs::write(&self.file, bytes); // then it is asked again
    }

    /// It came to its end.
    pub(super) fn forget(&self) {
        let _ = std::fs::remove_file(&self.file); // there may be none
    }

    fn keyed(&self, answers: &BTreeMap<String, bool>) -> Option<Digest> {
        let text = serde_json::to_vec(answers).ok()?;
        let name = self.file.file_name()?.to_string_lossy().into_owned();
        let parts: [&[u8]; 3] = [b"bisect ", name.as_bytes(), &text];
        Some(secret::keyed(self.secret.as_ref()?, &parts))
    }
}
