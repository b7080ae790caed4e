//! The terminal: data on standard output, everything else on standard error. A closed pipe ends nothing.

use std::error::Error as _;
use std::io::Write as _;

use app::AppError;
use app::run::Screen;
use domain::Finding;
use report::{plain, sanitise};

/// Writes data; a reader that went away is no error.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Writes a message.
pub(crate) fn message(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Says how the command line was not understood. The words are the parser's, but what they quote is whatever was typed.
pub(crate) fn usage(text: &str) {
    let lines: Vec<_> = text.lines().map(sanitise).collect();
    message(&format!("{}\n", lines.join("\n")));
}

/// Says what went wrong, why, and what to do.
pub(crate) fn error(error: &AppError) {
    let mut text = format!("taintline: {}\n", sanitise(&error.to_string()));
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(&format!("  because: {}\n", sanitise(&words)));
        }
        cause = inner.source();
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    message(&text);
}

/// Tells of a run while it is going.
pub(crate) struct Live {
    /// Findings only.
    pub(crate) quiet: bool,
}

impl Screen for Live {
    fn found(&mut self, finding: &Finding) {
        message(&plain::found(finding));
    }

    fn finishing(&mut self, left: &str) {
        if !self.quiet {
            message(&format!(
                "taintline  finishing the record: {} (Ctrl-C ends the wait)\n",
                sanitise(left)
            ));
        }
    }
}
