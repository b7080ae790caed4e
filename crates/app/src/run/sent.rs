//! Who sent which signal to a process of the run, where the kernel tells it: to be recorded, and to be said where a process ends by one.

use std::collections::HashMap;

use domain::entry::Act;
use domain::signals::{Party, SignalMade, SignalOrigin};
use domain::{Body, Process, Tier};
use host::kernel::{Origin, Signal};

use super::judge::signal_name;
use super::process::Member;
use super::recorder::Recorder;
use crate::party::{party, ticks};

/// Signals that are recorded of a run; the rest is counted.
const RECORDED_MAX: usize = 1_000;
/// Processes whose last signal is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Whose signal it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// A process of the run itself sent it.
    Run,
    /// The kernel by itself.
    Kernel,
    /// The login session that started the run.
    OwnSession,
    /// The same login or, where none is recorded, the same user.
    OwnLogin,
    /// Root without a login: a service, a scheduler's.
    Service,
    /// Another login, or another user.
    Other,
}

/// The last signal to a process.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) number: i32,
    pub(super) whose: Whose,
    /// Who, in words.
    pub(super) words: String,
}

/// What is remembered of one run.
pub(super) struct Sent {
    uid: u32,
    login_uid: Option<u32>,
    session: Option<u32>,
    recorded: usize,
    pub(super) more: u64,
    /// By number and start: a number comes back.
    last: HashMap<(u32, u64), Sender>,
}

impl Sent {
    pub(super) fn new() -> Self {
        let owner = host::identity::Person::current();
        Self {
            uid: owner.uid,
            login_uid: owner.login_uid,
            session: owner.session,
            recorded: 0,
            more: 0,
            last: HashMap::new(),
        }
    }

    /// Who sent the last signal that reached a process, if it was of this number.
    pub(super) fn to(&self, process: &Process, number: i32) -> Option<&Sender> {
        let last = self.last.get(&(process.pid, process.started));
        last.filter(|sent| sent.number == number)
    }

    /// Remembers who sent a signal. One that did not reach its target ends nobody, and the one before it still may.
    fn remember(&mut self, made: &SignalMade) {
        let key = (made.target.process.pid, made.target.process.started);
        if !made.delivered || (self.last.len() >= REMEMBERED_MAX && !self.last.contains_key(&key)) {
            return;
        }
        let whose = self.whose(made);
        let sender = Sender {
            number: made.number,
            whose,
            words: words(made, whose),
        };
        self.last.insert(key, sender);
    }

    fn whose(&self, made: &SignalMade) -> Whose {
        match made.origin {
            SignalOrigin::Kernel => Whose::Kernel,
            _ => self.of(&made.actor, made.from_run),
        }
    }

    /// Whose act it was, by who did it.
    pub(super) fn of(&self, actor: &Party, from_run: bool) -> Whose {
        if from_run {
            Whose::Run
        } else if self.session.is_some() && self.session == actor.session {
            Whose::OwnSession
        } else if self.login_uid.unwrap_or(self.uid) == actor.login_uid.unwrap_or(actor.uid) {
            // Where no login is recorded, the user counts: a run that a scheduler started for him is his as well.
            Whose::OwnLogin
        } else if actor.login_uid.is_none() && actor.uid == 0 {
            Whose::Service
        } else {
            Whose::Other
        }
    }
}

/// A sentence's part about who sent it.
fn words(made: &SignalMade, whose: Whose) -> String {
    let actor = &made.actor;
    if whose == Whose::Kernel {
        return "the kernel by itself".to_owned();
    }
    let login = match (actor.login_uid, actor.session) {
        (Some(login), Some(session)) => format!(", logged in as {login} (session {session})"),
        (Some(login), None) => format!(", logged in as {login}"),
        _ => ", of no login".to_owned(),
    };
    let group = actor.cgroup_path.as_ref();
    let group = group.map_or_else(String::new, |path| format!(", in {path}"));
    let claimed = match made.origin {
        SignalOrigin::Timer => ", as a timer",
        _ => "",
    };
    let who = format!(
        "pid {} (\"{}\"), user {}{login}{group}{claimed}",
        actor.process.pid, actor.name, actor.uid
    );
    match whose {
        Whose::Run => format!("a process of the run itself: {who}"),
        Whose::OwnSession => format!("the session that started the run: {who}"),
        Whose::OwnLogin => format!("the user that started the run, elsewhere: {who}"),
        Whose::Service => format!("a service: {who}"),
        Whose::Other | Whose::Kernel => format!("somebody else than who started the run: {who}"),
    }
}

/// As `show` has it.
pub(crate) fn sentence(made: &SignalMade) -> String {
    let target = made.rank.map_or_else(
        || format!("pid {}", made.target.process.pid),
        |rank| format!("rank {rank} (pid {})", made.target.process.pid),
    );
    let name = signal_name(made.number);
    let from = match made.origin {
        SignalOrigin::Kernel => "by the kernel itself".to_owned(),
        _ if made.from_run => format!("from pid {} of the run itself", made.actor.process.pid),
        _ => {
            let login = made.actor.login_uid;
            let login = login.map_or_else(
                || "no login".to_owned(),
                |login| format!("logged in as {login}"),
            );
            let (pid, name) = (made.actor.process.pid, &made.actor.name);
            format!("from pid {pid} ({name}), user {}, {login}", made.actor.uid)
        }
    };
    format!("{name} to {target} {from}")
}

/// A signal as it stands in an entry.
pub(crate) fn as_made(signal: Signal, boot: &str, rank: Option<u32>) -> SignalMade {
    SignalMade {
        number: signal.signal,
        code: signal.code,
        delivered: signal.delivered,
        origin: match signal.origin {
            Origin::Process => SignalOrigin::Process,
            Origin::Kernel => SignalOrigin::Kernel,
            Origin::Timer => SignalOrigin::Timer,
        },
        at_ns: signal.at_ns,
        from_run: signal.from_followed,
        actor: party(signal.actor, boot),
        target: party(signal.target, boot),
        rank,
    }
}

impl Recorder<'_> {
    /// A signal was made for a process of the run.
    pub(super) fn made(&mut self, signal: Signal, tier: Tier) {
        let own = std::process::id();
        // What we hand on ourselves is told where it reached us; what a process does to itself is its own affair.
        if signal.actor.pid == own
            || (signal.actor.pid == signal.target.pid && signal.origin == Origin::Process)
        {
            // Whoever signalled before did not send this one.
            let started = ticks(signal.target.started_ns);
            if signal.delivered {
                self.sent.last.remove(&(signal.target.pid, started));
            }
            return;
        }
        let target = signal.target.pid;
        let of_target = |member: &&Member| member.process.pid == target;
        let member = self.members.values().find(of_target);
        let takes_part = member.is_some() || self.command.pid == target;
        if !takes_part && signal.from_followed {
            return;
        }
        let rank = member.and_then(Member::rank);
        let made = as_made(signal, &self.command.boot, rank);
        self.sent.remember(&made);
        if self.sent.recorded >= RECORDED_MAX {
            self.sent.more += 1;
            return;
        }
        self.sent.recorded += 1;
        self.held_by_signal(&made);
        let body = Body::Act(Act::SignalMade(Box::new(made)));
        self.journal.record_at(tier, host::clock::wall_us(), body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(uid: u32, login_uid: Option<u32>, session: Option<u32>) -> SignalMade {
        let party = |pid| Party {
            process: Process {
                boot: "b".into(),
                pid,
                started: 1,
            },
            uid,
            effective_uid: uid,
            login_uid,
            session,
            cgroup: 1,
            cgroup_path: None,
            name: "sh".to_owned(),
            came: None,
        };
        SignalMade {
            number: 9,
            code: 0,
            delivered: true,
            origin: SignalOrigin::Process,
            at_ns: 1,
            actor: party(2),
            from_run: false,
            target: party(3),
            rank: Some(1),
        }
    }

    fn run_of(uid: u32, login_uid: Option<u32>, session: Option<u32>) -> Sent {
        Sent {
            uid,
            login_uid,
            session,
            ..Sent::new()
        }
    }

    #[test]
    fn only_who_reached_a_process_is_said_to_have_ended_it() {
        let mut run = run_of(1000, Some(1000), Some(4));
        let first = made(0, Some(1001), Some(5));
        run.remember(&first);
        // The second found it dying already.
        let mut second = made(0, Some(1002), Some(6));
        second.delivered = false;
        run.remember(&second);
        let target = first.target.process.clone();
        assert!(run.to(&target, 9).unwrap().words.contains("1001"));
        assert!(run.to(&target, 15).is_none());
        // Another process that has its number since.
        let later = Process {
            started: 2,
            ..target
        };
        assert!(run.to(&later, 9).is_none());
    }

    #[test]
    fn whose_a_signal_was() {
        let of_login = run_of(1000, Some(1000), Some(4));
        let of_service = run_of(1000, None, None);
        let root_again = made(0, Some(1000), Some(9));
        for (run, signal, whose) in [
            (
                &of_login,
                made(1000, Some(1000), Some(4)),
                Whose::OwnSession,
            ),
            (&of_login, made(1000, Some(1000), Some(5)), Whose::OwnLogin),
            (&of_login, root_again, Whose::OwnLogin),
            (&of_login, made(1000, None, None), Whose::OwnLogin),
            (&of_login, made(0, None, None), Whose::Service),
            (&of_login, made(0, Some(1001), Some(5)), Whose::Other),
            // Another's login that has become this user.
            (&of_login, made(1000, Some(1001), Some(5)), Whose::Other),
            (
                &of_service,
                made(1000, Some(1000), Some(5)),
                Whose::OwnLogin,
            ),
            (&of_service, made(1001, None, None), Whose::Other),
            (&of_service, made(0, None, None), Whose::Service),
        ] {
            assert_eq!(run.whose(&signal), whose, "{:?}", signal.actor);
        }
        let mut own = made(1001, Some(1001), None);
        own.from_run = true;
        assert_eq!(of_login.whose(&own), Whose::Run);
        own.origin = SignalOrigin::Kernel;
        assert_eq!(of_login.whose(&own), Whose::Kernel);
    }
}
