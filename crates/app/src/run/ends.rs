//! How processes end: what the host tells, what the sensors said before, and what follows from both.

use std::time::{Duration, Instant};

use domain::entry::{Act, Exit, Signal};
use domain::{Body, Outcome, Process, Tier};
use host::job::HostEvent;
use host::signals::Passed;

use super::event::Connection;
use super::judge;
use super::process::Member;
use super::recorder::{Recorder, to_outcome, to_process};

impl Recorder<'_> {
    pub(super) fn left(&mut self, connection: Connection, why: Option<String>) {
        self.joined(connection, host::clock::wall_us());
        self.close_segment(connection);
        let Some(member) = self.members.get_mut(&connection) else {
            return;
        };
        member.left = true;
        let label = member.label();
        if let Some(why) = why {
            self.gap(
                &format!("what {label} said from here on"),
                &format!("its sensor sent {why}"),
            );
        }
        let ended = self.members.get(&connection).and_then(|member| {
            member
                .ended
                .map(|(outcome, _)| (member.process.clone(), outcome))
        });
        if let Some((process, outcome)) = ended {
            self.conclude(&process, outcome);
        }
    }

    pub(super) fn host(&mut self, event: HostEvent) {
        match event {
            HostEvent::Signal(signal) => {
                self.context.stop_asked |= matches!(signal.number, 1 | 2 | 3 | 15);
                let act = Signal {
                    number: signal.number,
                    sender: signal
                        .sender
                        .as_ref()
                        .and_then(|sender| sender.id.as_ref())
                        .map(to_process),
                    name: signal
                        .sender
                        .as_ref()
                        .and_then(|sender| sender.name.clone()),
                    uid: signal.sender.as_ref().map(|sender| sender.uid),
                    forwarded: signal.passed == Passed::Forwarded,
                };
                self.journal.record(Body::Act(Act::Signal(act)));
            }
            HostEvent::Made(signal) => self.made(*signal, Tier::Supervisor),
            HostEvent::Exited(exited) => self.exited(
                &to_process(&exited.process),
                to_outcome(Some(exited.status)),
            ),
            HostEvent::WatchedExited {
                process, status, ..
            } => self.exited(&to_process(&process), to_outcome(status)),
            HostEvent::Unfollowed { count } => {
                let what = format!("signals to {count} processes of the run");
                self.gap(&what, "they are more than can be followed at once");
            }
            HostEvent::SignalsLost { count } => {
                self.gap(&format!("{count} signals"), "they came too fast");
            }
            HostEvent::LeftBehind { .. } => {} // told once more, and finally, when the job is over
        }
    }

    /// A process ended. Who killed it may still be on its way from the host's daemon.
    fn exited(&mut self, process: &Process, outcome: Outcome) {
        if !self.defer(process, outcome) {
            self.really_exited(process, outcome);
        }
    }

    /// A process ended. What it said last may still be on its way, so its end is concluded when its connection ends too.
    pub(super) fn really_exited(&mut self, process: &Process, outcome: Outcome) {
        let member = self
            .members
            .values_mut()
            .find(|member| member.process == *process);
        match member {
            Some(member) if member.ended.is_some() || member.outcome.is_some() => {}
            Some(member) if !member.left => member.ended = Some((outcome, Instant::now())),
            _ => self.conclude(process, outcome),
        }
    }

    /// Concludes the ends of processes that are known to have ended, at once or when they were silent long enough.
    pub(super) fn conclude_ends(&mut self, after: Duration) {
        let due = self.members.values().filter_map(|member| {
            let (outcome, since) = member.ended?;
            (since.elapsed() >= after).then(|| (member.process.clone(), outcome))
        });
        for (process, outcome) in due.collect::<Vec<_>>() {
            self.conclude(&process, outcome);
        }
    }

    /// The end of a process: recorded when it takes part or is the command itself, and judged.
    fn conclude(&mut self, process: &Process, outcome: Outcome) {
        let main = *process == self.command;
        let connection = self
            .members
            .values_mut()
            .find(|member| member.process == *process)
            .map(|member| {
                member.ended = None;
                member.outcome = Some(outcome);
                member.connection
            });
        if let Some(connection) = connection {
            self.joined(connection, host::clock::wall_us());
            self.close_segment(connection);
        }
        let member = connection.and_then(|connection| self.members.get(&connection));
        if member.is_none() && !main {
            return;
        }
        self.context.oom_kills = judge::oom_kills()
            .zip(self.context.oom_before)
            .map(|(now, before)| now.saturating_sub(before));
        let trains = member.filter(|member| !self.is_worker(member));
        let sender = match outcome {
            Outcome::Signalled { signal } => self.sent.to(process, signal),
            _ => None,
        };
        let found =
            trains.and_then(|member| judge::vanished(member, outcome, &self.context, sender));
        let exit = Exit {
            process: process.clone(),
            rank: member.and_then(Member::rank),
            outcome,
            main,
            last_step: member.and_then(|member| member.last_step),
            exception: member.and_then(|member| member.exception.clone()),
        };
        let of_note =
            main || trains.is_some_and(|member| member.step_count > 0 || member.rank().is_some());
        self.context.another_fell |= of_note && outcome != Outcome::Exited { code: 0 };
        self.journal.record(Body::Act(Act::Exit(exit)));
        if let Some(finding) = found {
            self.finding(finding);
        }
    }

    /// A process that a training process started for itself (to load data, to compile) has its rank in the environment and
    /// makes no step; that it is stopped is no rank's end.
    fn is_worker(&self, member: &Member) -> bool {
        let parent = self
            .members
            .values()
            .find(|other| Some(other.process.pid) == member.parent);
        member.step_count == 0 && parent.is_some_and(|parent| parent.rank() == member.rank())
    }
}
