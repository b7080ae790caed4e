//! The newest tree head of a log that witnesses cosigned: the file `cosigned` beside the log's own `checkpoint`.
//!
//! It is no part of the log: the log goes on without it, and what is in it is believed by whoever verifies it. So it is
//! written whole or not at all, and whether a new one is better than the old is for who knows the policy.

use crate::disk::{Disk as _, Kernel};
use crate::durable::{self, Fault};
use crate::lock::{Held, PATIENCE};
use crate::log::Log;
use crate::note::MAX_NOTE_BYTES;
use crate::store::TEMPORARY;
use crate::tiles::LogError;
use crate::writer::LedgerError;

/// The file's name in the folder of the log.
pub(crate) const COSIGNED: &str = "cosigned";

impl Log {
    /// The newest cosigned tree head, as bytes that nobody verified; `None` when there is none.
    pub fn cosigned(&self) -> Result<Option<Vec<u8>>, Fault> {
        durable::read_regular(&self.folder().join(COSIGNED), MAX_NOTE_BYTES as u64)
    }

    /// Puts what `choose` makes of the cosigned tree head that lies there in its place. Nobody else exchanges it in between.
    pub fn replace_cosigned(
        &self,
        choose: impl FnOnce(Option<&[u8]>) -> Result<Option<Vec<u8>>, LogError>,
    ) -> Result<(), LedgerError> {
        let _held = Held::take(self.folder(), PATIENCE)?;
        let there = self.cosigned()?;
        if let Some(note) = choose(there.as_deref())? {
            self.keep_cosigned(&note)?;
        }
        Ok(())
    }

    /// Puts a cosigned tree head in the place of the earlier one; whole and durable when this returns.
    fn keep_cosigned(&self, note: &[u8]) -> Result<(), Fault> {
        let path = self.folder().join(COSIGNED);
        let random = durable::random_name().map_err(|error| Fault::at(&path, error))?;
        let temporary = self.folder().join(format!("{TEMPORARY}{random}"));
        Kernel.sync(&Kernel.create(&temporary, note)?)?;
        // Dying before the rename leaves the earlier one, and a hidden file that nothing refers to.
        if let Err(fault) = durable::rename(&Kernel, &temporary, &path) {
            Kernel.remove(&temporary)?;
            return Err(fault);
        }
        Kernel.sync_directory(self.folder())
    }
}
