//! Ranks that hang, told while they do: a rank that stands still says nothing, and neither do those that wait for it.
//!
//! When no rank of a world has told a step for long, by the measure of its own steps, the supervisor reads from outside how far each has
//! come (`domain::sensor::Progress`), twice, and whether it works meanwhile. Who hangs is `training::hang`'s to say. What is read is
//! the process's own memory, so a finding is *claimed*; that it sleeps is the kernel's word.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use domain::sensor::Progress;
use domain::{Finding, Grade, Rule, StepRecord};
use training::hang::{Hang, Place, judge};

use super::event::Connection;
use super::keep::line_of;
use super::process::Member;
use super::recorder::Recorder;

/// Shortest silence that is looked into, and how many of the longest recent steps it must have lasted.
const QUIET: Duration = Duration::from_secs(10);
const STEPS: u32 = 5;
/// Steps whose length is remembered.
const RECENT: usize = 32;
/// Time between the two looks.
const BETWEEN: Duration = Duration::from_secs(2);
/// Share of that time from which on a process works.
const WORKS: f64 = 0.1;
/// Seconds of a clock tick, as the kernel tells it.
const TICK: f64 = 0.01;
/// Worlds that are followed, and findings of one run.
const WORLDS_MAX: usize = 256;
const FINDINGS_MAX: u32 = 8;

/// Key and size of a world.
type Which = (u32, u32);

/// What is seen of one rank.
#[derive(Debug, Clone, Copy)]
struct Seen {
    rank: u32,
    connection: Connection,
    pid: u32,
    progress: Progress,
    /// Clock ticks that it and its processes ran so far.
    worked: u64,
}

/// The steps of one world, by time.
struct Paced {
    last: Instant,
    step: u64,
    recent: VecDeque<Duration>,
    look: Option<(Instant, Vec<Seen>)>,
    judged: bool,
}

/// All worlds of a run.
#[derive(Default)]
pub(super) struct Hangs {
    /// Where each process tells its place, and when it spoke last.
    places: HashMap<Connection, (u64, Instant)>,
    worlds: BTreeMap<Which, Paced>,
    told: u32,
}

impl Hangs {
    /// A process said where its place is told.
    pub(super) fn place(&mut self, connection: Connection, address: u64) {
        self.places.insert(connection, (address, Instant::now()));
    }

    /// Where a process tells its place.
    pub(super) fn place_of(&self, connection: Connection) -> Option<u64> {
        self.places.get(&connection).map(|(address, _)| *address)
    }

    /// A process said anything.
    pub(super) fn spoke(&mut self, connection: Connection) {
        if let Some((_, last)) = self.places.get_mut(&connection) {
            *last = Instant::now();
        }
    }

    /// A step was told.
    pub(super) fn stepped(&mut self, step: &StepRecord) {
        let Some(place) = step.replica.as_deref() else {
            return;
        };
        let which = (place.world, place.size);
        if self.worlds.len() >= WORLDS_MAX && !self.worlds.contains_key(&which) {
            return;
        }
        let now = Instant::now();
        let paced = self.worlds.entry(which).or_insert_with(|| Paced {
            last: now,
            step: 0,
            recent: VecDeque::new(),
            look: None,
            judged: false,
        });
        if paced.recent.len() == RECENT {
            paced.recent.pop_front();
        }
        paced.recent.push_back(now - paced.last);
        (paced.last, paced.step) = (now, step.step);
        (paced.look, paced.judged) = (None, false);
    }
}

impl Paced {
    fn due(&self) -> bool {
        let longest = self.recent.iter().max().copied().unwrap_or_default();
        !self.judged && self.last.elapsed() >= QUIET.max(longest * STEPS)
    }
}

impl Recorder<'_> {
    /// Looks into worlds that have been silent for long.
    pub(super) fn judge_hangs(&mut self) {
        let due: Vec<Which> = self
            .hangs
            .worlds
            .iter()
            .filter(|(_, paced)| paced.due())
            .map(|(which, _)| *which)
            .collect();
        for which in due {
            let again = self.hangs.worlds.get(&which).and_then(|it| it.look.clone());
            match again {
                Some((at, _)) if at.elapsed() < BETWEEN => {}
                Some((at, first)) => self.second_look(which, at, &first),
                None => {
                    let look = self.look(which);
                    if let Some(paced) = self.hangs.worlds.get_mut(&which) {
                        paced.look = Some((Instant::now(), look));
                    }
                }
            }
        }
    }

    /// The ranks of a world that run on this machine; none if one of them has ended, because then that is what there is to tell.
    fn look(&mut self, which: Which) -> Vec<Seen> {
        let mut seen = Vec::new();
        for (rank, connection) in self.ranks_of(which) {
            let member = self.members.get(&connection).filter(|it| !it.left);
            let place = self.hangs.places.get(&connection);
            let (Some(member), Some((address, _))) = (member, place) else {
                return Vec::new();
            };
            match see(rank, connection, member.process.pid, *address) {
                Ok(one) => seen.push(one),
                Err(error) => {
                    self.gap_once(connection, "ranks that hang", &error.to_string());
                    return Vec::new();
                }
            }
        }
        seen
    }

    fn second_look(&mut self, which: Which, at: Instant, first: &[Seen]) {
        let elapsed = at.elapsed();
        let now = self.look(which);
        let Some(paced) = self.hangs.worlds.get_mut(&which) else {
            return;
        };
        paced.look = None;
        let still = first.len() == now.len()
            && first.iter().zip(&now).all(|(first, now)| {
                first.connection == now.connection && first.progress == now.progress
            });
        if !still {
            return;
        }
        paced.judged = true;
        let (silent, step) = (paced.last.elapsed(), paced.step + 1);
        let places: Vec<Place> = first
            .iter()
            .zip(&now)
            .map(|(first, now)| Place {
                rank: now.rank,
                progress: (now.progress.steps, now.progress.phases),
                works: works(first, now, elapsed),
            })
            .collect();
        let Some(hang) = judge(&places) else {
            return;
        };
        // Between two steps the training may be over, or wait for work.
        if !waits_inside(&hang, &now) {
            return;
        }
        self.hang(&hang, &now, which.1, silent, step);
    }

    fn hang(&mut self, hang: &Hang, seen: &[Seen], size: u32, silent: Duration, step: u64) {
        let of = |ranks: &[u32]| -> Vec<Seen> {
            let these = seen.iter().filter(|it| ranks.contains(&it.rank));
            these.copied().collect()
        };
        let silent = silent.as_secs();
        let (those, what) = match hang {
            Hang::Works(ranks) => {
                let why = "the others waited for long while it worked between two steps, as an evaluation or a save does";
                for one in of(ranks) {
                    self.gap_once(one.connection, "waits of the other ranks", why);
                }
                return;
            }
            Hang::Together => {
                let what =
                    format!("all ranks stand still at step {step}, and none is behind the others");
                (seen.to_vec(), what)
            }
            Hang::Behind(ranks) => {
                let what = format!(
                    "{} still at step {step}, and the others wait",
                    stands(ranks)
                );
                (of(ranks), what)
            }
            Hang::Ahead(ranks) => {
                let what = format!(
                    "{} gone on at step {step} without the others, which wait",
                    have(ranks)
                );
                (of(ranks), what)
            }
        };
        let about: Vec<Connection> = those.iter().map(|it| it.connection).collect();
        if self.is_excused(&those) || self.hangs.told >= FINDINGS_MAX {
            let why = "it saves, loads or waits for a disk, or this was told often enough";
            return self.gap(&format!("{what} (for {silent} s)"), why);
        }
        self.hangs.told += 1;
        let rank = those
            .first()
            .map(|it| it.rank)
            .filter(|_| *hang != Hang::Together);
        let mut finding = words(what, seen, silent, step);
        if u32::try_from(seen.len()).is_ok_and(|count| count < size) {
            let here = format!(
                "{} of {size} ranks run on this machine; the others are not seen",
                seen.len()
            );
            finding.details.push(here);
        }
        finding.rank = rank;
        let text = finding.details.join("\n");
        finding.evidence.extend(self.journal.blob(text.as_bytes()));
        let process = about.first().and_then(|it| self.members.get(it));
        let line = process.map(|it| line_of(Some(&it.process), Member::rank(it)));
        self.kept.about = line;
        self.finding(finding);
        self.kept.about = None;
        self.flush();
    }

    /// Whether one of these saved or loaded something since its last step, said something a moment ago, or waits for a disk.
    fn is_excused(&self, those: &[Seen]) -> bool {
        those.iter().any(|seen| {
            let spoke = self.hangs.places.get(&seen.connection);
            self.timings.is_excused(seen.connection)
                || spoke.is_some_and(|(_, last)| last.elapsed() < QUIET)
                || host::pace::waits_for_disk(seen.pid).unwrap_or(false)
        })
    }
}

fn see(rank: u32, connection: Connection, pid: u32, address: u64) -> io::Result<Seen> {
    let bytes = host::proc::memory(pid, address, Progress::BYTES)?;
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    Ok(Seen {
        rank,
        connection,
        pid,
        progress: Progress::read(&bytes).ok_or_else(odd)?,
        worked: host::pace::worked_so_far(pid)?,
    })
}

/// Whether those that wait do so in the middle of a step: between two steps all may have nothing to do.
fn waits_inside(hang: &Hang, seen: &[Seen]) -> bool {
    let inside = |it: &Seen| matches!(it.progress.phase, 1..=5 | 7);
    match hang {
        Hang::Together => seen.iter().all(inside),
        Hang::Behind(ranks) | Hang::Works(ranks) => seen
            .iter()
            .any(|it| !ranks.contains(&it.rank) && inside(it)),
        Hang::Ahead(ranks) => seen.iter().any(|it| ranks.contains(&it.rank) && inside(it)),
    }
}

fn works(first: &Seen, now: &Seen, elapsed: Duration) -> bool {
    let ticks = u32::try_from(now.worked.saturating_sub(first.worked)).unwrap_or(u32::MAX);
    f64::from(ticks) * TICK >= WORKS * elapsed.as_secs_f64()
}

fn named(ranks: &[u32]) -> String {
    let listed: Vec<String> = ranks.iter().take(8).map(u32::to_string).collect();
    let more = if ranks.len() > 8 { ", …" } else { "" };
    let noun = if ranks.len() == 1 { "rank" } else { "ranks" };
    format!("{noun} {}{more}", listed.join(", "))
}

fn stands(ranks: &[u32]) -> String {
    let verb = if ranks.len() == 1 { "stands" } else { "stand" };
    format!("{} {verb}", named(ranks))
}

fn have(ranks: &[u32]) -> String {
    let verb = if ranks.len() == 1 { "has" } else { "have" };
    format!("{} {verb}", named(ranks))
}

/// Where a rank is, in words.
fn place(progress: Progress) -> &'static str {
    match progress.phase {
        0 => "before its forward pass, where data is loaded",
        1 => "in the forward pass",
        2 => "in the backward pass, where gradients are reduced",
        3 | 7 => "between the backward pass and the optimizer",
        4 => "in the optimizer's step",
        6 => "behind the forward pass",
        _ => "in a phase that is not known",
    }
}

fn words(what: String, seen: &[Seen], silent: u64, step: u64) -> Finding {
    let mut details: Vec<String> = seen
        .iter()
        .take(16)
        .map(|it| {
            let stopped = host::pace::is_stopped(it.pid).unwrap_or(false);
            let stopped = if stopped {
                "; stopped by a signal or a debugger"
            } else {
                ""
            };
            format!(
                "rank {} (process {}): {}{stopped}",
                it.rank,
                it.pid,
                place(it.progress)
            )
        })
        .collect();
    details.push(format!(
        "no rank told a step for {silent} s, and none moved or worked between two looks"
    ));
    Finding {
        rule: Rule::RankStalled,
        grade: Grade::Claimed,
        what,
        details,
        path: None,
        step: Some(step),
        rank: None,
        earlier: None,
        evidence: Vec::new(),
        innocent: vec![
            "one rank evaluates, saves or loads with something that is slow and is not seen here"
                .to_owned(),
            "the network between the ranks, or a machine that others of the ranks run on, is gone"
                .to_owned(),
            "ranks have different numbers of batches, and one has none left".to_owned(),
        ],
    }
}
