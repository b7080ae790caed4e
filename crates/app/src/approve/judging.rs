//! What a recorded approval is worth to this reader: whose key, for this purpose, valid then, over what is there.

use std::collections::BTreeMap;

use domain::entry::{Act, Signer};
use domain::vouch::{Approval, ApprovalOf};
use domain::{Digest, Gap, RunId};
use ledger::TreeHead;
use report::stamp::Standing;
use report::statement::ApprovalView;
use trust::envelope::{Envelope, Opened};
use trust::statement::{Statement, Subject};
use trust::strict;

use super::{APPROVAL, MAX_BYTES, NAMESPACE, Predicate, What, words};
use crate::attest::{self, predicate::closure_digest};
use crate::error::AppError;
use crate::index::STAMPS;
use crate::people::People;
use crate::place::Surroundings;
use crate::queries::Reading;
use crate::settings::Settings;
use crate::stamp;

/// Log and number.
type Place = (String, u64);

/// Judges approvals of one store.
pub(crate) struct Judge<'a> {
    reading: &'a Reading,
    people: People,
    /// What each run loaded, as it is recorded now.
    closures: BTreeMap<RunId, Option<Digest>>,
    /// What is asked about. Of a sealed model the root alone binds neither names nor modes.
    asked: Option<What>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(surroundings: &Surroundings, reading: &'a Reading) -> Result<Self, AppError> {
        let settings = Settings::load(surroundings)?;
        Ok(Self {
            reading,
            people: People::load(&settings.trust)?,
            closures: BTreeMap::new(),
            asked: None,
        })
    }

    /// The same, asked about one thing.
    pub(super) fn about(mut self, what: &What) -> Self {
        self.asked = Some(what.clone());
        self
    }

    pub(super) fn judge(&mut self, approval: &Approval, place: Place) -> ApprovalView {
        let (what, about) = words(&approval.of);
        let mut view = ApprovalView {
            what: what.to_owned(),
            about,
            standing: "wrong",
            who: None,
            key: approval.key.clone(),
            touched: None,
            note: None,
            at: (String::new(), "stated"),
            why: None,
            recorded: place,
        };
        if let Err(why) = self.fill(approval, &mut view) {
            view.standing = "wrong";
            view.why = Some(why);
        }
        view
    }

    fn fill(&mut self, approval: &Approval, view: &mut ApprovalView) -> Result<(), String> {
        let envelope = self.reading.store.blob(&approval.envelope).ok().flatten();
        let envelope = envelope.ok_or("what was signed is not in the store")?;
        let opened = open(&envelope).ok_or("what is recorded is no signed statement")?;
        let signed = opened.verified_by_person(NAMESPACE);
        let signed = signed.map_err(|why| why.to_string())?;
        let (subject, predicate) =
            Statement::<Predicate>::decode(signed.statement, APPROVAL, MAX_BYTES)
                .map_err(|why| why.to_string())?;
        view.key = signed.key.fingerprint();
        view.touched = signed.token.map(trust::ssh::Token::touched);
        view.note.clone_from(&predicate.note);
        let stated: jiff::Timestamp = predicate
            .stated
            .parse()
            .map_err(|_| "it states no time".to_owned())?;
        let (at, source) = self.time(&view.recorded, stated);
        let shown = at.unwrap_or_else(|| stated.as_second());
        view.at = (
            report::time::rfc3339(shown.saturating_mul(1_000_000)),
            source,
        );
        (view.standing, view.who) = standing(self.people.signer(&signed.key, NAMESPACE, at));
        if view.key != approval.key {
            return Err("the entry names another key than the one that signed".to_owned());
        }
        self.is_about(approval, &subject, &predicate.what)
    }

    /// The time that somebody vouches for, the end of what it may be off; else the signer's own word; seconds since 1970. None
    /// where so many stamps are worthless that one that holds may not have been reached.
    fn time(&self, place: &Place, stated: jiff::Timestamp) -> (Option<i64>, &'static str) {
        let covering = self.reading.no_later_than((&place.0, place.1));
        let vouched = covering
            .filter(|stamp| stamp.standing == Standing::Holds)
            .and_then(|stamp| {
                let at: jiff::Timestamp = stamp.time?.parse().ok()?;
                let accuracy = i64::try_from(stamp.accuracy_us.unwrap_or_default()).ok()?;
                let latest = at.as_microsecond().saturating_add(accuracy);
                Some(latest.saturating_add(999_999).div_euclid(1_000_000))
            });
        if let Some(seconds) = vouched {
            return (Some(seconds), "stamped");
        }
        let count = self.reading.index.stamps_over(&place.0, place.1);
        let is_bounded = count.is_ok_and(|found| found.len() < STAMPS as usize);
        (is_bounded.then(|| stated.as_second()), "stated")
    }

    /// Whether what was signed is what the act says, and, of a run, still what is recorded.
    fn is_about(
        &mut self,
        approval: &Approval,
        subject: &Subject,
        what: &What,
    ) -> Result<(), String> {
        let digest = subject.digest.get("sha256").map(String::as_str);
        let same = |wanted: &Digest| digest == Some(wanted.to_string().as_str());
        let other =
            || Err("what was signed is about something else than the entry says".to_owned());
        match (&approval.of, what) {
            (ApprovalOf::Bytes { digest }, What::Bytes {}) if same(digest) => Ok(()),
            (ApprovalOf::Sealed { root }, What::Sealed { tree }) if same(root) => {
                match &self.asked {
                    Some(What::Sealed { tree: now }) if now != tree => Err("another seal over the same bytes was approved: names, modes, links or what is left out differ".to_owned()),
                    _ => Ok(()),
                }
            }
            (ApprovalOf::Run { run: id }, What::Run { run }) if run.id == id.to_string() => {
                let head = TreeHead {
                    size: run.size,
                    root: run.root,
                };
                self.log_continues(&run.log, head)?;
                match self.closure(*id) {
                    Some(now) if same(&now) => Ok(()),
                    Some(_) => Err("the run recorded something else when it was approved: more was loaded since, or the record was changed".to_owned()),
                    None => Err("the run is no longer in the store".to_owned()),
                }
            }
            _ => other(),
        }
    }

    fn log_continues(&self, log: &str, head: TreeHead) -> Result<(), String> {
        let logs = self
            .reading
            .store
            .logs()
            .map_err(|error| error.to_string())?;
        let found = logs.iter().find(|found| found.name() == log);
        let found = found.ok_or("the log that was approved is gone")?;
        let snapshot = found.snapshot().map_err(|error| error.to_string())?;
        match snapshot.continues(head) {
            Ok(true) => Ok(()),
            Ok(false) => Err(
                "the log does not begin with what was approved: it was rewritten or put back since"
                    .to_owned(),
            ),
            Err(error) => Err(error.to_string()),
        }
    }

    fn closure(&mut self, run: RunId) -> Option<Digest> {
        let reading = self.reading;
        let gathered = || {
            let run = reading.find(&run.to_string()).ok()?;
            let closure = attest::gather(reading, &run).ok()?.closure;
            Some(closure_digest(&closure.loads))
        };
        *self.closures.entry(run).or_insert_with(gathered)
    }
}

fn standing(signer: Signer) -> (&'static str, Option<String>) {
    match signer {
        Signer::Allowed { principals } => ("allowed", Some(principals)),
        Signer::NotAsked => ("not_asked", None),
        Signer::Unknown => ("unknown", None),
        Signer::OtherPurpose => ("other_purpose", None),
        Signer::NotYet => ("not_yet", None),
        Signer::Expired => ("expired", None),
        Signer::Open => ("open", None),
        Signer::Revoked => ("revoked", None),
    }
}

/// The envelope in a blob.
pub(super) fn open(bytes: &[u8]) -> Option<Opened> {
    let envelope: Envelope = strict::from_slice(bytes, MAX_BYTES * 2).ok()?;
    envelope.open().ok()
}

/// An approval and where it stands.
type Recorded = (Approval, Place);

/// The approvals that the index knows of, each read again from its log, and what could not be read.
pub(super) fn recorded(
    reading: &Reading,
    about: Option<&str>,
) -> Result<(Vec<Recorded>, Vec<Gap>), AppError> {
    let logs = reading.store.logs()?;
    let mut all = Vec::new();
    let mut gaps = reading.index.unread().to_vec();
    for (log, number) in reading.index.approvals(about)? {
        let found = logs.iter().find(|found| found.name() == log);
        let act = found
            .map(|found| stamp::act_at(found, number))
            .transpose()?;
        match act.flatten() {
            Some(Act::Approved(approval)) => all.push((*approval, (log, number))),
            _ => gaps.push(Gap {
                what: format!("entry {number} of log {log}"),
                why: "an approval stood there, and does not any more".to_owned(),
            }),
        }
    }
    Ok((all, gaps))
}

/// The approvals of one run, for those who look at it.
pub(crate) fn of_run(
    surroundings: &Surroundings,
    reading: &Reading,
    run: RunId,
) -> Result<Vec<ApprovalView>, AppError> {
    // What could not be read is among the gaps of the run already.
    let (recorded, _) = recorded(reading, Some(&run.to_string()))?;
    if recorded.is_empty() {
        return Ok(Vec::new());
    }
    let mut judge = Judge::new(surroundings, reading)?;
    let judged = recorded.iter();
    let judged = judged.map(|(approval, place)| judge.judge(approval, place.clone()));
    Ok(judged.collect())
}
