//! Whether keys that ended stayed ended.
//!
//! That a key was exchanged is believed if the key that ended signed it. What it signed behind that was signed with a copy
//! that should not exist.

use std::collections::BTreeMap;

use domain::upkeep::KeyRotated;
use report::view::ProblemView;
use trust::keys::PublicKey;
use trust::succession::is_consent;

/// What is wrong: with the exchanges, each with the time of its entry, and with the newest seal of each key, by its hint.
pub(super) fn problems(
    rotations: &[(i64, KeyRotated)],
    newest: &BTreeMap<String, i64>,
) -> Vec<ProblemView> {
    let mut problems = Vec::new();
    for (at_us, rotated) in rotations {
        let at = report::time::rfc3339(*at_us);
        let key = |pem: &str| PublicKey::from_pem(pem.as_bytes()).ok();
        let (Some(ended), Some(begun)) = (key(&rotated.ended), key(&rotated.begun)) else {
            problems.push(problem(format!(
                "the exchange of a seal key of {at} names something that is no key"
            )));
            continue;
        };
        let hint = ended.hint();
        if !is_consent(&rotated.consent, &ended, &begun, &rotated.list) {
            problems.push(problem(format!(
                "seal key {hint} was exchanged at {at} without its consent"
            )));
        } else if let Some(sealed) = newest.get(&hint).filter(|sealed| *sealed > at_us) {
            let sealed = report::time::rfc3339(*sealed);
            problems.push(problem(format!(
                "seal key {hint} ended at {at}, and something was sealed with it at {sealed}: somebody has a copy"
            )));
        }
    }
    problems
}

fn problem(what: String) -> ProblemView {
    ProblemView {
        file: "ledger".to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Digest, Person};
    use trust::keys::{Curve, PrivateKey};
    use trust::succession::consent;

    fn rotated(old: &PrivateKey, new: &PrivateKey, by: &PrivateKey) -> KeyRotated {
        let list = Digest::of(b"list");
        KeyRotated {
            ended: old.public().to_pem(),
            begun: new.public().to_pem(),
            list,
            seals: 1,
            consent: consent(by, new.public(), &list).unwrap(),
            reason: String::new(),
            person: Person::default(),
        }
    }

    fn told(rotated: KeyRotated, sealed: &[(String, i64)]) -> Vec<String> {
        let problems = problems(&[(100, rotated)], &sealed.iter().cloned().collect());
        problems.into_iter().map(|it| it.what).collect()
    }

    #[test]
    fn a_seal_behind_the_end_of_its_key_is_named_and_one_before_is_not() {
        let [old, new] = [(); 2].map(|()| PrivateKey::generate(Curve::P256).unwrap());
        let hint = old.public().hint();
        for (sealed, count) in [(99, 0), (100, 0), (101, 1)] {
            let all = told(rotated(&old, &new, &old), &[(hint.clone(), sealed)]);
            assert_eq!(all.len(), count, "{all:?}");
        }
        let by_new = [(new.public().hint(), 200)];
        assert_eq!(told(rotated(&old, &new, &old), &by_new), [""; 0]);
    }

    #[test]
    fn nobody_can_end_the_key_of_another() {
        let [old, new] = [(); 2].map(|()| PrivateKey::generate(Curve::P256).unwrap());
        let all = told(rotated(&old, &new, &new), &[(old.public().hint(), 200)]);
        assert_eq!(all.len(), 1);
        assert!(all[0].ends_with("without its consent"), "{all:?}");
        let mut none = rotated(&old, &new, &old);
        none.ended = "no key".to_owned();
        assert!(told(none, &[])[0].ends_with("no key"));
    }
}
