//! When a model was signed, as far as somebody says so whom the reader trusts.

use domain::Digest;
use trust::certificate::At;
use trust::oms::Bundle;

use super::verifying::Verification;
use crate::stamp;

impl Verification<'_> {
    /// Judges the time stamps of a bundle. One that holds decides when certificates are looked at, unless the user said when.
    ///
    /// A stamp that is not over this signature, or whose own signature does not hold, was changed: that is wrong whatever
    /// else there is. One by an authority that is not trusted proves nothing, and nothing more.
    pub(super) fn time(&mut self, bundle: &Bundle) {
        let over = Digest::of(bundle.envelope.signature());
        let mut earliest: Option<i64> = None;
        for token in &bundle.time_stamps {
            let judged = stamp::judge(token, &over, None, &self.time_roots, stamp::empty(None));
            if judged.is_changed {
                let why = judged.view.why.clone().unwrap_or_default();
                self.problem(format!(
                    "a time stamp beside the signature does not hold: {why}"
                ));
            }
            if let Some(stamped) = &judged.stamped {
                // The end of what the authority vouches for, rounded up.
                let at = stamped.latest_us().saturating_add(999_999) / 1_000_000;
                earliest = Some(earliest.map_or(at, |earlier| earlier.min(at)));
            }
            self.answer.time_stamps.push(judged.view);
        }
        if let (Some(seconds), At::Now(_)) = (earliest, self.at) {
            self.at = At::Stamped(seconds);
        }
    }
}
