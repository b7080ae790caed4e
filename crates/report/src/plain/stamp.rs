//! `taintline ledger stamp`, and time stamps wherever they are told.

use super::field;
use super::statement::approval_line;
use crate::sanitise;
use crate::stamp::{SealStampView, StampView, StampedView, Standing};
use crate::time::count;
use crate::view::{ClockView, RunView};

/// What was asked or taken, and what to do next.
pub fn stamped(view: &StampedView) -> String {
    let head = format!(
        "{} entries of {}, root {}",
        count(view.size),
        view.log,
        view.root
    );
    let mut text = field("head", &head);
    text.push_str(&field("imprint", &format!("sha256 {}", view.imprint)));
    if let Some(request) = &view.request {
        text.push_str(&field("request", request));
        text.push_str(
            "  next: send it to an authority (application/timestamp-query), then taintline ledger stamp --response FILE\n",
        );
    }
    if let Some(stamp) = &view.stamp {
        text.push_str(&field("stamped", &stamp_line(stamp)));
        if let Some((log, number)) = &stamp.recorded {
            text.push_str(&field("ledger", &format!("{log}, entry {number}")));
        }
    }
    text
}

/// What was put into a model signature.
pub fn seal_stamped(view: &SealStampView) -> String {
    let mut text = format!("STAMPED {}\n", sanitise(&view.path));
    text.push_str(&field("time", &stamp_line(&view.stamp)));
    text.push_str(&field("signature", &view.signature));
    if let Some((log, number)) = &view.stamp.recorded {
        text.push_str(&field("ledger", &format!("{log}, entry {number}")));
    }
    text
}

/// The worst that was said of the clock.
fn clock(states: &[ClockView]) -> String {
    let Some(worst) = states
        .iter()
        .max_by_key(|state| (!state.synchronised, state.max_error_us))
    else {
        return String::new();
    };
    let off = worst.max_error_us as f64 / 1e6;
    let line = if worst.synchronised {
        format!("kept in step with others, off by {off:.3} s at most")
    } else {
        format!("NOT kept in step with others, at {}", worst.at)
    };
    field("clock", &line)
}

/// What others vouch for of a run.
pub(super) fn vouched(view: &RunView) -> String {
    let mut text = clock(&view.clock);
    if let Some(stamp) = &view.not_before {
        text.push_str(&field("not before", &stamp_line(stamp)));
    }
    if let Some(stamp) = &view.no_later_than {
        text.push_str(&field("no later than ", &stamp_line(stamp)));
    }
    for approval in &view.approvals {
        text.push_str(&field("approved", &approval_line(approval)));
    }
    text
}

/// One stamp in one line, without the label.
pub(super) fn stamp_line(stamp: &StampView) -> String {
    let time = stamp
        .time
        .as_deref()
        .unwrap_or("at a time that cannot be read");
    let why = stamp.why.as_deref().unwrap_or("-");
    match stamp.standing {
        Standing::Holds => format!(
            "{time}{} (TSA {})",
            accuracy(stamp),
            stamp.authority.as_deref().unwrap_or("-")
        ),
        Standing::NotChecked => format!("{time} as a time stamp states, NOT CHECKED: {why}"),
        Standing::Wrong => format!("{time} is NOT PROVED: {why}"),
    }
}

fn accuracy(stamp: &StampView) -> String {
    let micros = stamp.accuracy_us.unwrap_or_default();
    if micros == 0 {
        return String::new();
    }
    format!(" ± {} s", micros as f64 / 1e6)
}
