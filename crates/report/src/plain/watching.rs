//! `taintline watch`.

use domain::watched::Sense;

use super::field;
use crate::sanitise;
use crate::watching::ExplainView;

/// What this host can see, and what not.
pub fn explained(view: &ExplainView) -> String {
    let mut text = format!(
        "what can be seen on this host (kernel {})\n",
        sanitise(&view.kernel)
    );
    for sense in &view.senses {
        text.push_str(&one(sense));
    }
    for never in &view.never {
        text.push_str(&field("never", never));
    }
    let daemon = view.daemon.as_deref().map_or_else(
        || "none listens".to_owned(),
        |path| format!("listens at {path}"),
    );
    text.push_str(&field("daemon", &daemon));
    text
}

/// One line a sense.
pub fn one(sense: &Sense) -> String {
    match &sense.missing {
        None => field("seen", &format!("{} ({})", sense.what, sense.by)),
        Some(why) => field("not seen", &format!("{} ({}): {why}", sense.what, sense.by)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_and_what_is_not_is_told_apart() {
        let sense = |missing: Option<&str>| Sense {
            what: "who changes files".into(),
            by: "fanotify".into(),
            missing: missing.map(str::to_owned),
        };
        let view = ExplainView {
            schema: "taintline.watch-explain/1",
            senses: vec![sense(None), sense(Some("not \u{1b}root"))],
            never: vec!["writes from other hosts".into()],
            daemon: None,
            kernel: "6.1".into(),
        };
        let text = explained(&view);
        assert!(
            text.contains("  seen         who changes files (fanotify)\n"),
            "{text}"
        );
        assert!(
            text.contains("  not seen     who changes files (fanotify): not "),
            "{text}"
        );
        assert!(!text.contains('\u{1b}') && text.contains("none listens"));
    }
}
