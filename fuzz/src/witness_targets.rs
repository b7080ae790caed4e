//! `ledger`, of witnesses: policies, cosignatures, requests. One form, bounds, and no believing of what no key signed.

use ledger::cosignature::CosignerKey;
use ledger::note as notes;
use ledger::policy::{self as policies, MAX_ITEMS};
use ledger::witness::{AddCheckpoint, MAX_PROOF_LINES, judge};
use ledger::{TreeHead, tree_head as heads};

use crate::seeds;

/// [`ledger::policy::parse`]: bounded, and never satisfied by nobody unless it asks for nobody.
pub fn policy(data: &[u8]) -> bool {
    let Ok(policy) = policies::parse(data) else {
        return false;
    };
    assert!(policy.witnesses().len() <= MAX_ITEMS && policy.logs().len() <= MAX_ITEMS);
    assert!(policy.needed() <= policy.witnesses().len());
    let nothing = policy.judge_nothing();
    assert_eq!(nothing.quorum, policy.needed() == 0);
    assert_eq!(nothing.lacking().count(), policy.witnesses().len());
    for witness in policy.witnesses() {
        let text = witness.key.encode();
        assert_eq!(CosignerKey::parse(&text).as_ref(), Ok(&witness.key));
    }
    true
}

/// [`CosignerKey::read`]: only what the two witnesses of the seed said is believed.
pub fn cosignature(data: &[u8]) -> bool {
    let Ok(note) = notes::parse(data) else {
        return false;
    };
    let original = &seeds::cosigned_heads()[0];
    let original = notes::parse(original).map(|it| it.text().to_owned());
    for key in seeds::COSIGNERS.lines() {
        let Ok(key) = CosignerKey::parse(key) else {
            unreachable!("the keys of the seed are well formed");
        };
        if let Some(Ok(cosigned)) = key.read(&note) {
            let (original, text) = (original.as_deref().ok(), note.text());
            let head = |text| heads::parse_extended(text);
            assert_eq!(head(text), original.and_then(head), "a forged head");
            assert!(i64::try_from(cosigned.at).is_ok());
        }
    }
    true
}

/// [`AddCheckpoint::parse`] and [`judge`]: one form, and nothing is cosigned that the log's key did not sign.
pub fn add_checkpoint(data: &[u8]) -> bool {
    let Ok(request) = AddCheckpoint::parse(data) else {
        return false;
    };
    assert_eq!(request.encode(), data, "a second form of one request");
    assert!(request.proof.len() <= MAX_PROOF_LINES);
    let verdict = judge(&request, &[seeds::verifier_key()], TreeHead::empty());
    if let Ok(head) = verdict.answer {
        let signed = seeds::tree_head_texts();
        let text = request.note.text().as_bytes();
        assert!(
            signed.iter().any(|it| it == text),
            "cosigned what was not signed"
        );
        assert!(
            request.old == 0 && request.proof.is_empty() && head.size > 0
                || head == TreeHead::empty()
        );
    }
    true
}
