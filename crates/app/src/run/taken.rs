//! Files that were read: loads, writes, and the lineage of checkpoints.

use domain::entry::{Kind, Load, Write};
use domain::{Body, Digest, Finding, Gap, PathText, Tier};
use training::checkpoint::CheckpointSummary;

use super::event::{Purpose, ReadFile};
use super::files;
use super::keep::Part;
use super::recorder::{Asked, Recorder};
use crate::index::IndexError;
use crate::origin::{self, Loaded, Origin, Saves};

impl Recorder<'_> {
    /// A file was read.
    pub(super) fn file(&mut self, read: ReadFile) {
        self.reader.answered();
        self.kept.arrived(read.ticket);
        let asked = self.asked.remove(&read.ticket).unwrap_or_default();
        if asked.void {
            return read.kept.into_iter().for_each(Part::remove);
        }
        if let Some(why) = &read.gap {
            let what = match read.purpose {
                Purpose::Take(_) => format!("content of {}", read.path),
                Purpose::Save => format!("checkpoint {} as it was saved", read.path),
                Purpose::Resume => format!("checkpoint {} as it was loaded", read.path),
            };
            self.journal.record(Body::Gap(Gap {
                what,
                why: why.clone(),
            }));
        }
        match read.purpose {
            Purpose::Save => self.saved(read, asked),
            Purpose::Resume => self.resumed(&read, &asked),
            Purpose::Take(kind) => self.took(kind, read, asked),
        }
    }

    fn took(&mut self, kind: Kind, read: ReadFile, asked: Asked) {
        if let (Some(digest), Some(identity)) = (read.digest, read.identity.clone()) {
            self.watch.loaded(kind, &read.path, digest, &identity);
            self.loose.insert(read.path.clone(), (digest, identity));
        }
        if kind == Kind::Mapped {
            return; // they are told together, as one tree
        }
        let stored = read
            .content
            .as_ref()
            .is_some_and(|content| self.journal.blob(content).is_some());
        let load = Load {
            what: kind,
            path: read.path,
            digest: read.digest,
            stored,
            identity: read.identity,
            process: asked.process,
            rank: asked.rank,
            step: asked.step,
            summary: None,
            examined: asked.examined,
        };
        self.declared_file(&load);
        self.journal
            .record_at(Tier::InProcess, asked.at_us, Body::Load(load));
    }

    fn summary_blob(&mut self, summary: Option<&CheckpointSummary>) -> Option<Digest> {
        self.journal.blob(&summary?.encode())
    }

    fn saved(&mut self, mut read: ReadFile, asked: Asked) {
        let kept = std::mem::take(&mut read.kept);
        let summary = self.summary_blob(read.summary.as_ref());
        if let Some(tree) = read.content.as_deref() {
            self.journal.blob(tree);
        }
        let Some(process) = asked.process else {
            return kept.into_iter().for_each(Part::remove);
        };
        self.reading.retain(|_, ticket| *ticket != read.ticket);
        let (path, from) = match asked.now {
            Some(now) => (now, asked.from.or(Some(read.path))),
            None => (read.path, asked.from),
        };
        let write = Write {
            path,
            from,
            digest: read.digest,
            identity: read.identity,
            process,
            rank: asked.rank,
            step: asked.step,
            summary,
        };
        if write.digest.is_some() {
            self.keep(&write, kept);
        }
        self.writes.insert(write.path.clone(), write.clone());
        self.journal
            .record_at(Tier::InProcess, asked.at_us, Body::Write(write));
        self.flush();
    }

    /// A rename: a checkpoint that is still being read gets its final name; one that was recorded is recorded there too.
    pub(super) fn rename(&mut self, from: &PathText, to: PathText, at_us: i64) {
        if !self.checkpoints.contains(from) {
            return;
        }
        self.checkpoints.insert(to.clone());
        self.own_outputs.insert(to.clone());
        self.kept.renamed(from, &to);
        if let Some(mut asked) = self.moved_away.remove(from) {
            asked.from = Some(from.clone());
            self.ask_saved(to, asked);
            return;
        }
        // By ticket, not by name: the same temporary name serves the next save, and that one goes elsewhere.
        if let Some(ticket) = self.reading.remove(from) {
            self.follow(ticket, from, to);
            return;
        }
        if let Some(mut write) = self.writes.remove(from) {
            let read = write.identity.as_ref().map(|file| (file.dev, file.ino));
            if files::inode(&to).is_some_and(|there| Some(there) != read) {
                // The next save had begun under the name before it could be opened: what was read is not what went here.
                let again = Asked {
                    process: Some(write.process),
                    rank: write.rank,
                    step: write.step,
                    at_us,
                    from: Some(from.clone()),
                    ..Asked::default()
                };
                self.ask_saved(to, again);
                return;
            }
            write.from = Some(from.clone());
            write.path = to.clone();
            self.writes.insert(to.clone(), write.clone());
            self.journal
                .record_at(Tier::InProcess, at_us, Body::Write(write));
            self.flush();
        }
    }

    /// Has a checkpoint read. If it is gone already it was renamed, and the next message says to what.
    pub(super) fn ask_saved(&mut self, path: PathText, mut asked: Asked) {
        let mut reserved = 0;
        let spot = |bytes| {
            let spot = self.kept.spot(&asked, bytes);
            reserved = spot.as_ref().map_or(0, |_| bytes);
            spot
        };
        if let Some((ticket, opened)) = self.reader.ask_saved(&path, spot) {
            self.kept.expects(ticket, &asked, reserved);
            asked.opened = opened;
            self.asked.insert(ticket, asked);
            self.reading.insert(path, ticket);
        } else {
            self.moved_away.insert(path, asked);
        }
    }

    /// A checkpoint that is being read went to `to`. A rename keeps the inode: if what was opened has another one, the next
    /// save had already begun under the temporary name, and the file is read anew where it is.
    fn follow(&mut self, ticket: u64, from: &PathText, to: PathText) {
        let there = files::inode(&to);
        let Some(asked) = self.asked.get_mut(&ticket) else {
            return;
        };
        if there.is_none() || there == asked.opened {
            asked.now = Some(to.clone());
            self.reading.insert(to, ticket);
            return;
        }
        let again = Asked {
            from: Some(from.clone()),
            ..asked.clone()
        };
        asked.void = true;
        self.ask_saved(to, again);
    }

    fn resumed(&mut self, read: &ReadFile, asked: &Asked) {
        let summary = self.summary_blob(read.summary.as_ref());
        let stored = read
            .content
            .as_deref()
            .is_some_and(|tree| self.journal.blob(tree).is_some());
        let load = Load {
            what: Kind::Checkpoint,
            path: read.path.clone(),
            digest: read.digest,
            stored,
            identity: read.identity.clone(),
            process: asked.process.clone(),
            rank: asked.rank,
            step: asked.step,
            summary,
            examined: asked.examined,
        };
        self.journal
            .record_at(Tier::InProcess, asked.at_us, Body::Load(load));
        self.flush();
        let Some(digest) = read.digest else { return };
        match self.lineage(read, digest) {
            Ok(Some(mut finding)) if self.judged.insert((read.path.clone(), digest)) => {
                finding.evidence.extend(summary);
                finding.rank = asked.rank;
                self.finding(finding);
            }
            Ok(_) => {}
            Err(why) => self.gap(&format!("lineage of {}", read.path), &why),
        }
        self.flush();
    }

    fn lineage(&mut self, read: &ReadFile, digest: Digest) -> Result<Option<Finding>, String> {
        let store = self.journal.store().clone();
        let told = |error: IndexError| error.to_string();
        self.index.sync(&store).map_err(told)?;
        let asked = Loaded {
            path: &read.path,
            digest,
            summary: read.summary.as_ref(),
        };
        let saves = Saves::of(&self.index, &asked).map_err(told)?;
        Ok(match origin::judge(&store, &asked, &saves) {
            Origin::AsSaved(_) => None,
            Origin::Unknown => {
                let why = "no run in this store saved it: what it was before is not known";
                self.gap(&format!("origin of {}", read.path), why);
                None
            }
            Origin::Wrong(finding) => Some(*finding),
        })
    }
}
