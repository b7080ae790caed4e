//! Judgements of the supervisor itself: how a process ended, and what that means.

use domain::{Finding, Grade, Outcome, Rule};

use super::process::Member;
use super::sent::{Sender, Whose};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// What happened on the host while the run was going, against which an end is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// Signals that were passed on to the command: its owner (or whoever) asked it to stop.
    pub(super) stop_asked: bool,
    /// Another process of the run had ended badly before.
    pub(super) another_fell: bool,
    /// The kernel's count of out-of-memory kills when the run began.
    pub(super) oom_before: Option<u64>,
    /// Out-of-memory kills on this host since the run began, where the kernel counts them.
    pub(super) oom_kills: Option<u64>,
}

/// A rank that did not end by itself. `None` when its end is explained: asked to stop, an exception of its own, or brought
/// down by the launcher after another one fell.
pub(super) fn vanished(
    member: &Member,
    outcome: Outcome,
    context: &Context,
    sender: Option<&Sender>,
) -> Option<Finding> {
    if member.step_count == 0 && member.rank().is_none() {
        return None;
    }
    let how = match outcome {
        Outcome::Signalled { signal } => {
            let brought_down = context.another_fell && matches!(signal, SIGTERM | SIGKILL);
            let own_session = sender.is_some_and(|sender| sender.whose == Whose::OwnSession);
            // What somebody else sent is explained by nothing that happened beside it.
            let by_other = sender.is_some_and(|sender| sender.whose == Whose::Other);
            if !by_other && (context.stop_asked || brought_down || own_session) {
                return None;
            }
            format!("was ended by signal {signal} ({})", signal_name(signal))
        }
        Outcome::Unknown if !member.said_bye => "vanished without a word".to_owned(),
        Outcome::Exited { .. } | Outcome::Unknown => return None,
    };
    let at = member.last_step.map_or_else(
        || "before its first step".to_owned(),
        |step| format!("after step {step}"),
    );
    let mut innocent = Vec::new();
    if outcome == (Outcome::Signalled { signal: SIGKILL }) {
        innocent.push(match context.oom_kills {
            Some(0) => "the kernel ran out of memory: no, its counter of such kills did not move".to_owned(),
            Some(kills) => format!("the kernel ran out of memory: it counted {kills} such kills on this host during the run"),
            None => "the kernel ran out of memory: this kernel does not count such kills".to_owned(),
        });
        innocent.push(match sender.map(|sender| sender.whose) {
            None => "its owner or the scheduler ended it: who sent the signal is not seen without the rights to watch the kernel",
            Some(Whose::Service) => "a scheduler ended it: it came from root without a login, as a service's does",
            Some(Whose::OwnLogin) => "its owner ended it: it came from the same user, though not from the session that started the run",
            Some(Whose::Run) => "a launcher ended it: it came from a process of the run itself",
            Some(_) => "its owner or the scheduler ended it: no, it came from elsewhere",
        }.to_owned());
    } else {
        innocent
            .push("a fault in the program or the machine: look at its own last output".to_owned());
    }
    Some(Finding {
        rule: Rule::RankVanished,
        grade: Grade::Observed,
        what: format!("{} (pid {}) {how} {at}", member.label(), member.process.pid),
        details: (sender.into_iter())
            .map(|sender| format!("it was sent by {}", sender.words))
            .collect(),
        path: None,
        step: Some(member.last_step.map_or(0, |step| step + 1)),
        rank: member.rank(),
        earlier: None,
        evidence: Vec::new(),
        innocent,
    })
}

/// Name of a signal on Linux, as `kill -l` gives it.
pub(crate) fn signal_name(number: i32) -> &'static str {
    match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        SIGKILL => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        SIGTERM => "SIGTERM",
        17 => "SIGCHLD",
        18 => "SIGCONT",
        19 => "SIGSTOP",
        20 => "SIGTSTP",
        21 => "SIGTTIN",
        22 => "SIGTTOU",
        23 => "SIGURG",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        28 => "SIGWINCH",
        29 => "SIGIO",
        30 => "SIGPWR",
        31 => "SIGSYS",
        _ => "another signal",
    }
}

/// The kernel's count of out-of-memory kills on this host.
pub(super) fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use domain::Process;

    use super::super::event::Connection;
    use super::*;

    fn member() -> Member {
        let mut member = Member::new(
            Connection(0),
            Process {
                boot: "b".into(),
                pid: 7,
                started: 1,
            },
        );
        member.step_count = 3;
        member.last_step = Some(3);
        member
    }

    #[test]
    fn a_rank_killed_out_of_the_blue_is_found_with_its_signal_and_step() {
        let found = vanished(
            &member(),
            Outcome::Signalled { signal: 9 },
            &Context {
                oom_kills: Some(0),
                ..Context::default()
            },
            None,
        );
        let found = found.unwrap();
        assert!(
            found.what.contains("SIGKILL") && found.what.contains("after step 3"),
            "{}",
            found.what
        );
        assert_eq!(found.step, Some(4));
    }

    #[test]
    fn what_somebody_else_sent_is_found_although_another_one_fell_before() {
        let second = Context {
            another_fell: true,
            ..Context::default()
        };
        let by = |whose| Sender {
            number: 9,
            whose,
            words: "pid 5".to_owned(),
        };
        let killed = Outcome::Signalled { signal: 9 };
        let launcher = by(Whose::Run);
        assert!(vanished(&member(), killed, &second, Some(&launcher)).is_none());
        let other = by(Whose::Other);
        let found = vanished(&member(), killed, &second, Some(&other)).unwrap();
        assert_eq!(found.details, ["it was sent by pid 5"]);
        let own = by(Whose::OwnSession);
        assert!(vanished(&member(), killed, &Context::default(), Some(&own)).is_none());
    }

    #[test]
    fn an_end_that_is_explained_is_not_found() {
        let asked = Context {
            stop_asked: true,
            ..Context::default()
        };
        assert!(vanished(&member(), Outcome::Signalled { signal: 2 }, &asked, None).is_none());
        let second = Context {
            another_fell: true,
            ..Context::default()
        };
        assert!(vanished(&member(), Outcome::Signalled { signal: 15 }, &second, None).is_none());
        assert!(
            vanished(
                &member(),
                Outcome::Exited { code: 1 },
                &Context::default(),
                None
            )
            .is_none()
        );
    }
}
