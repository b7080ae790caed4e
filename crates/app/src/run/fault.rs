//! A thread whose answer the end of the run waits for has a duty: should a fault of this program end it, its answer is
//! that. Without one, the command would be over and its user wait for ten minutes.
//!
//! What is lost is a gap. The fault itself is told by the thread as it ends, on the terminal.

use std::sync::mpsc::Sender;

use super::event::Event;
use super::recorder::Recorder;

/// What the thread was at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lost {
    /// The commit of the code.
    Code,
    /// The environment of this number, or its byte code.
    Environment(usize),
    /// Watching.
    Watching,
}

/// Held by a thread while it works.
pub(super) struct Duty {
    events: Sender<Event>,
    of: Lost,
}

impl Duty {
    pub(super) fn new(events: &Sender<Event>, of: Lost) -> Self {
        let events = events.clone();
        Self { events, of }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.events.send(Event::Lost(self.of));
        }
    }
}

impl Recorder<'_> {
    /// A thread was ended by a fault of ours.
    pub(super) fn lost(&mut self, lost: Lost) {
        let what = match lost {
            Lost::Code => {
                self.code_awaited = false;
                "commit of the code".to_owned()
            }
            Lost::Environment(key) => self.environments.lost(key),
            Lost::Watching => {
                self.watch.is_over();
                "what happens to files while the run is going, from here on".to_owned()
            }
        };
        self.gap(&what, "a fault of this program: please report it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_a_fault_ends_answers_for_itself() {
        let (events, heard) = std::sync::mpsc::channel();
        let fine = Duty::new(&events, Lost::Code);
        drop(fine);
        assert!(heard.try_recv().is_err());
        let faulty = Duty::new(&events, Lost::Environment(3));
        let thread = std::thread::spawn(move || {
            let _duty = faulty;
            let nothing: [u8; 0] = [];
            nothing[std::hint::black_box(0)]
        });
        assert!(thread.join().is_err());
        assert!(matches!(
            heard.try_recv(),
            Ok(Event::Lost(Lost::Environment(3)))
        ));
    }
}
