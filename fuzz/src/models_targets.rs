//! `scan::models` and the readers below it: an answer for any bytes, places that lie in them, the same one twice.

use std::sync::LazyLock;

use formats::{marshal as code, native as machine, pyjson};
use scan::models::{self as family, Role};
use scan::{Examiner, Options, Rules};

/// What `work` makes of an examination, twice, with everything checked that holds of any.
fn examined(size: u64, work: impl Fn(&mut Examiner<'_>)) -> bool {
    static RULES: LazyLock<Rules> = LazyLock::new(Rules::builtin);
    let rules = &*RULES;
    let once = || {
        let mut examiner = Examiner::new(rules, Options::default());
        work(&mut examiner);
        examiner.finish(size)
    };
    let seen = once();
    assert_eq!(seen, once(), "two looks differ");
    let limit = Options::default().records;
    assert!(seen.findings.len() <= limit && seen.gaps.len() <= limit && seen.parts.len() <= limit);
    let places = seen.findings.iter().map(|finding| &finding.place);
    for place in places.chain(seen.gaps.iter().map(|gap| &gap.place)) {
        let inside = place.offset.is_none_or(|offset| offset <= size);
        assert!(
            inside || !place.members.is_empty(),
            "{place:?} lies outside of {size} bytes"
        );
    }
    seen.gaps.is_empty()
}

/// [`scan::models::examine`] by content.
pub fn models(data: &[u8]) -> bool {
    let Some(kind) = family::recognise(&data) else {
        return false;
    };
    examined(data.len() as u64, |examiner| {
        family::examine(examiner, kind, "model", &data)
    });
    true
}

/// [`scan::models::keras_config`], and the reader of its JSON.
pub fn keras_config(data: &[u8]) -> bool {
    examined(data.len() as u64, |examiner| {
        family::keras_config(examiner, data, 0)
    });
    let ours = pyjson::parse(data).is_ok();
    // Whatever the strict reader takes is taken, unless it is too deep or too large.
    if !ours && serde_json::from_slice::<serde_json::Value>(data).is_ok() {
        assert!(
            !matches!(pyjson::parse(data), Err(pyjson::JsonError::Syntax(_))),
            "valid JSON was refused"
        );
    }
    ours
}

/// Sources of TorchScript and exported programs.
pub fn torchscript(data: &[u8]) -> bool {
    let roles = [Role::TorchScript, Role::Exported, Role::Package];
    roles.into_iter().all(|role| {
        examined(data.len() as u64, |examiner| {
            family::examine_member(examiner, role, &data)
        })
    })
}

/// [`formats::marshal::read`].
pub fn marshal(data: &[u8]) -> bool {
    let Some(read) = code::read(data) else {
        return false;
    };
    assert!(read.names.len() <= code::MAX_RECORDS && read.texts.len() <= code::MAX_RECORDS);
    assert!(read.objects > 0);
    true
}

/// [`formats::native::Search`] finds the same however its input is cut.
pub fn native(data: &[u8]) -> bool {
    let found = |chunk: usize| {
        let mut search = machine::Search::new();
        data.chunks(chunk.max(1))
            .for_each(|chunk| search.feed(chunk));
        search.finish()
    };
    let whole = found(data.len());
    for chunk in [13, 1000, 2048] {
        assert_eq!(found(chunk), whole, "cut by {chunk}");
    }
    let start = machine::recognise(data);
    assert!(start.is_none() || whole.first().is_some_and(|(place, _)| *place == 0));
    !whole.is_empty()
}
