//! Hands laid on the processes of a run without a signal that ends them: debuggers, writes into memory, stops, limits, priorities.
//!
//! What its own owner does is recorded and explained. What another login does is found, for it either changes what is computed or holds it up.
//! Priorities and processors are looked at from outside now and then, so of those it is not known who set them.

use std::collections::{BTreeSet, HashMap};

use domain::entry::Act;
use domain::signals::{Party, SignalMade};
use domain::watched::{Actor, FileChange, Intervention, Known, Means};
use domain::{Body, Finding, Grade, Process, Rule, Tier};
use host::pace::Standing;

use super::judge::signal_name;
use super::process::Member;
use super::recorder::Recorder;
use super::sent::Whose;
use crate::party;

/// Acts that are recorded of a run, and findings that are made of them.
const RECORDED_MAX: usize = 1_000;
const FOUND_MAX: usize = 50;
/// Processes whose standing is remembered.
const STANDINGS_MAX: usize = 1_024;
/// Signals that stop whoever gets them.
const STOPS: [i32; 2] = [19, 20];
/// Files of a control group by which what is in it is stopped or slowed.
const HOLDING: [&str; 8] = [
    "cgroup.freeze",
    "cpu.max",
    "cpu.weight",
    "cpuset.cpus",
    "io.max",
    "memory.high",
    "memory.max",
    "pids.max",
];

/// What is remembered of one run.
#[derive(Default)]
pub(super) struct Touched {
    recorded: usize,
    /// Findings that were made: by whom, with what, of whom.
    told: BTreeSet<(Rule, Option<u32>, String)>,
    standings: HashMap<(u32, u64), Standing>,
}

impl Recorder<'_> {
    /// Somebody laid hands on a process, as the host's daemon saw it or the kernel told us.
    pub(super) fn intervened(&mut self, tier: Tier, at_us: i64, mut it: Intervention) {
        let target = &it.target.process;
        let member = self.members.values().find(|of| of.process == *target);
        it.rank = member.and_then(Member::rank);
        let last = member.and_then(|member| member.last_step);
        let found = self.judge_hands(&it, last);
        // A profiler attaches itself a hundred times a second: what it fills up is the record of acts, never the findings about others.
        self.touched.recorded += 1;
        if self.touched.recorded > RECORDED_MAX {
            self.touch_gap();
        } else {
            let body = Body::Act(Act::Intervened(Box::new(it)));
            self.journal.record_at(tier, at_us, body);
        }
        self.tell_touched(found);
    }

    fn touch_gap(&mut self) {
        if self.touched.recorded == RECORDED_MAX + 1 {
            let what = "each time that somebody lays hands on the run's processes, from here on";
            let why = "there was more than is recorded of one run; whoever else does is found";
            self.gap(what, why);
        }
    }

    fn judge_hands(&self, it: &Intervention, last_step: Option<u64>) -> Option<Told> {
        let from_run = it.actor.run == Some(self.journal.run());
        let whose = it.actor.party.as_ref();
        let whose = whose.map(|party| self.sent.of(party, from_run));
        let rule = match (it.what.alters(), whose) {
            // Who it was is not known: that somebody wrote there is enough.
            (true, None | Some(Whose::Other | Whose::Service)) => Rule::ProcessEntered,
            (false, Some(Whose::Other)) => Rule::ProcessHeld,
            _ => return None,
        };
        let mut details = vec![whose_words(whose)];
        details.extend(last_step.map(|step| format!("it was heard of when step {step} was done")));
        let innocent = match it.what {
            Means::Traced => {
                "somebody looked for a fault in it with a debugger or a profiler: ask him; a profiler only reads"
            }
            Means::MemoryWritten => {
                "a tool of the host's administration wrote there: hardly any does"
            }
            _ => "the host's administration keeps the machine usable: ask it",
        };
        Some(Told {
            rule,
            actor: it.actor.party.as_ref().map(account),
            what: sentence(it),
            details,
            rank: it.rank,
            innocent: innocent.to_owned(),
            key: format!("{:?} {}", it.what, it.target.process.pid),
        })
    }

    /// A process was sent a signal: whether somebody else stopped it.
    pub(super) fn held_by_signal(&mut self, made: &SignalMade) {
        let by_other = self.sent.of(&made.actor, made.from_run) == Whose::Other;
        let is_stop = STOPS.contains(&made.number) && made.delivered;
        if !is_stop || !by_other || made.origin == domain::signals::SignalOrigin::Kernel {
            return;
        }
        self.tell_touched(Some(Told {
            rule: Rule::ProcessHeld,
            actor: Some(account(&made.actor)),
            what: super::sent::sentence(made),
            details: vec![whose_words(Some(Whose::Other))],
            rank: made.rank,
            innocent: format!(
                "whoever sent {} let it go on soon: look for SIGCONT among the acts",
                signal_name(made.number)
            ),
            key: format!("signal {}", made.target.process.pid),
        }));
    }

    /// A file was changed: whether it is a limit of the run's control group, and somebody else set it.
    pub(super) fn held_by_limit(&mut self, change: &FileChange) {
        // Only limits are told with what they say.
        let Some(value) = change.after.as_ref().and_then(|it| it.value.as_ref()) else {
            return;
        };
        let path = change.path.as_str();
        let name = path.rsplit('/').next().unwrap_or_default();
        let from_run = change.actor.run == Some(self.journal.run());
        let party = change.actor.party.as_ref();
        let Some(party) = party.filter(|it| self.sent.of(it, from_run) == Whose::Other) else {
            return;
        };
        if !HOLDING.contains(&name) {
            return;
        }
        self.tell_touched(Some(Told {
            rule: Rule::ProcessHeld,
            actor: Some(account(party)),
            what: format!(
                "{path} was set, and says \"{value}\" now: by {}",
                party::actor(&change.actor)
            ),
            details: vec![whose_words(Some(Whose::Other))],
            rank: None,
            innocent: "the host's administration keeps the machine usable: ask it".to_owned(),
            key: name.to_owned(),
        }));
    }

    fn tell_touched(&mut self, found: Option<Told>) {
        let Some(found) = found else { return };
        let told = &mut self.touched.told;
        if told.len() >= FOUND_MAX || !told.insert((found.rule, found.actor, found.key)) {
            return;
        }
        self.finding(Finding {
            rule: found.rule,
            grade: Grade::Observed,
            what: found.what,
            details: found.details,
            path: None,
            step: None,
            rank: found.rank,
            earlier: None,
            evidence: Vec::new(),
            innocent: vec![found.innocent],
        });
    }

    /// Looks at the priority and the processors of each process that trains.
    pub(super) fn look_at_standings(&mut self) {
        let members: Vec<(Process, Option<u32>)> = self
            .members
            .values()
            .map(|member| (member.process.clone(), member.rank()))
            .take(STANDINGS_MAX)
            .collect();
        for (process, rank) in members {
            self.look_at_standing(&process, rank);
        }
        if self.touched.standings.len() > 2 * STANDINGS_MAX {
            self.touched.standings.clear();
        }
    }

    /// Looks at one of them; the first look is what later ones are held against.
    pub(super) fn look_at_standing(&mut self, process: &Process, rank: Option<u32>) {
        let Ok(now) = Standing::of(process.pid) else {
            return;
        };
        let key = (process.pid, process.started);
        let Some(before) = self.touched.standings.insert(key, now.clone()) else {
            return;
        };
        if before == now {
            return;
        }
        let Some((task, _)) = host::kernel::look(process.pid) else {
            return;
        };
        let target = party::party(task, &process.boot);
        if target.process != *process {
            return; // its number is another's by now
        }
        for (what, value, before) in [
            (Means::Priority, now.priority, before.priority),
            (Means::Processors, now.processors, before.processors),
        ] {
            self.touched.recorded += usize::from(value != before);
            if value == before || self.touched.recorded > RECORDED_MAX {
                continue;
            }
            let it = Intervention {
                what,
                at_ns: u64::try_from(host::clock::boot_us()).unwrap_or(0) * 1_000,
                actor: Actor::unnamed(0, Known::Unknown),
                target: target.clone(),
                rank,
                value: Some(value),
                before: Some(before),
            };
            self.journal
                .record(Body::Act(Act::Intervened(Box::new(it))));
        }
    }
}

/// What is to be told of one act.
struct Told {
    rule: Rule,
    /// The account that did it.
    actor: Option<u32>,
    what: String,
    details: Vec<String>,
    rank: Option<u32>,
    innocent: String,
    /// What makes it another one than those that were told.
    key: String,
}

fn account(party: &Party) -> u32 {
    party.login_uid.unwrap_or(party.uid)
}

fn whose_words(whose: Option<Whose>) -> String {
    match whose {
        None => "who it was is not known".to_owned(),
        Some(Whose::Service) => {
            "it was a process of root's without a login, as services are".to_owned()
        }
        Some(_) => "it was another login than the one that started the run".to_owned(),
    }
}

/// As `show` has it.
pub(crate) fn sentence(it: &Intervention) -> String {
    let target = it.rank.map_or_else(
        || format!("pid {}", it.target.process.pid),
        |rank| format!("rank {rank} (pid {})", it.target.process.pid),
    );
    let by = party::actor(&it.actor);
    let value = it.value.as_deref().unwrap_or("something that was not read");
    let before = it.before.as_ref();
    let before = before.map_or_else(String::new, |before| format!(", before {before}"));
    match it.what {
        Means::Traced => format!("a debugger attached itself to {target}: {by}"),
        Means::MemoryWritten => format!("the memory of {target} was written from outside: by {by}"),
        Means::MemoryKiller => format!(
            "the place of {target} in line for the memory killer was set (it says \"{value}\"): by {by}"
        ),
        Means::Share => {
            format!("the share of {target}'s session was set (it says \"{value}\"): by {by}")
        }
        Means::Priority => format!(
            "the priority of {target} is another: {value}{before}; by whom is not seen: itself, its owner or root"
        ),
        Means::Processors => format!(
            "{target} may run on other processors: {value}{before}; by whom is not seen: itself, its owner or root"
        ),
    }
}
