//! How fast appending is beside the disk's own limit, in turns within one run:
//! `cargo run --release --example durable -p taintline-ledger -- FOLDER [SECONDS [WRITERS]] [--sync-delay MILLISECONDS]`.
//!
//! The limit is one write of the same bytes into a file of zeros and one `fdatasync`, over and over. Ours is a
//! number of threads, each appending entries of 300 bytes and waiting until they are durable. Printed is, for each number of
//! threads and of entries in one append, entries a second, syncs a second of the limit, the ratio to all × syncs, and the
//! processor time of the whole process for each entry; and the ratio that bare threads reach, as many, which do nothing but
//! wait for each sync: with a thousand of them, waking is what costs. With a delay every sync takes so much longer, of ours as of the
//! limit: for disks that are slower than the one at hand.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::futex;
use taintline_ledger::{Store, Writer, audit};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ENTRY: usize = 300;

const STACK: usize = 128 << 10;

/// Turns of the limit and of ours, for each number of writers.
const ROUNDS: u32 = 6;

/// What the command line asks for.
struct Asked {
    place: String,
    seconds: f64,
    writers: Option<usize>,
    delay: Duration,
}

impl Asked {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut asked = Self {
            place: "target".to_owned(),
            seconds: 4.0,
            writers: None,
            delay: Duration::ZERO,
        };
        let (mut arguments, mut position) = (arguments, 0);
        while let Some(argument) = arguments.next() {
            if argument == "--sync-delay" {
                let milliseconds: f64 = arguments.next().ok_or("a delay is missing")?.parse()?;
                asked.delay = Duration::try_from_secs_f64(milliseconds / 1e3)?;
                continue;
            }
            match position {
                0 => asked.place = argument,
                1 => asked.seconds = argument.parse()?,
                _ => asked.writers = Some(argument.parse()?),
            }
            position += 1;
        }
        Ok(asked)
    }
}

fn main() -> Result<(), Failure> {
    let asked = Asked::parse(std::env::args().skip(1))?;
    let folder = tempfile::Builder::new()
        .prefix("durable")
        .tempdir_in(&asked.place)?;
    let store = Store::open_or_create_slower(&folder.path().join("store"), asked.delay)?;
    let writer = store.writer("bench@here", &folder.path().join("keys"))?;
    for (threads, batch) in [(1_usize, 1_usize), (64, 1), (1024, 1), (16, 64)] {
        if asked.writers.is_none_or(|only| only == threads) {
            compare(folder.path(), &writer, &asked, (threads, batch))?;
        }
    }
    drop(writer);
    for _ in 0..3 {
        let (start, before) = (Instant::now(), processor());
        let report = audit(&store, &|_| Vec::new());
        let cpu = processor().saturating_sub(before).as_secs_f64();
        println!(
            "audit: {} entries, {} problems, {:.2?}, {cpu:.2} CPU-s: {:.2} M entries a CPU-second",
            report.entries,
            report.problems.len(),
            start.elapsed(),
            report.entries as f64 / cpu / 1e6
        );
    }
    Ok(())
}

/// Takes turns between the limit and so many threads that append so many entries at a time.
fn compare(
    folder: &Path,
    writer: &Writer,
    asked: &Asked,
    (threads, batch): (usize, usize),
) -> Result<(), Failure> {
    let turn = Duration::from_secs_f64(asked.seconds / f64::from(ROUNDS));
    let all = (threads * batch) as f64;
    let (mut syncs, mut rounds, mut ours, mut rates) = (0.0, 0.0, 0.0, Vec::new());
    let mut spent = Duration::ZERO;
    let mut raw = Raw::new(folder, threads * batch * (ENTRY + 2) + 400, asked.delay)?;
    for _ in 0..ROUNDS {
        let limit = limit(&mut raw, turn)?;
        rounds += bare(&mut raw, threads, turn)? / f64::from(ROUNDS);
        let before = processor();
        let rate = appends(writer, threads, batch, turn)?;
        spent += processor().saturating_sub(before);
        rates.push(rate / (limit * all));
        syncs += limit / f64::from(ROUNDS);
        ours += rate / f64::from(ROUNDS);
    }
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
    println!(
        "{threads:>5} writers of {batch:>2}: {ours:>9.0} entries/s, limit {syncs:>6.0} syncs/s, ratio {:.2} (median of turns {median:.2}); bare threads {:.2}; {:.2} CPU-us an entry",
        ours / (syncs * all),
        rounds / syncs,
        spent.as_secs_f64() * 1e6 / (ours * asked.seconds)
    );
    Ok(())
}

/// Processor time of all threads so far.
fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A file of zeros that is written over and over, a block and a sync at a time.
struct Raw {
    file: File,
    block: Vec<u8>,
    at: u64,
    delay: Duration,
}

impl Raw {
    const BYTES: u64 = 4 << 20;

    fn new(folder: &Path, bytes: usize, delay: Duration) -> Result<Self, Failure> {
        let path = folder.join("raw");
        std::fs::write(&path, vec![0; usize::try_from(Self::BYTES)?])?;
        let file = File::options().write(true).open(&path)?;
        file.sync_all()?;
        std::fs::remove_file(&path)?;
        let block = vec![7; bytes.div_ceil(512) * 512];
        let at = 0;
        Ok(Self {
            file,
            block,
            at,
            delay,
        })
    }

    fn write(&mut self) -> Result<(), Failure> {
        self.file.write_all_at(&self.block, self.at)?;
        self.file.sync_data()?;
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        self.at += self.block.len() as u64;
        if self.at + self.block.len() as u64 > Self::BYTES {
            self.at = 0;
        }
        Ok(())
    }
}

/// Syncs a second.
fn limit(raw: &mut Raw, turn: Duration) -> Result<f64, Failure> {
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < turn {
        raw.write()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// The same with so many threads that do nothing but wait for each sync, all of them woken by one call: rounds a second.
fn bare(raw: &mut Raw, threads: usize, turn: Duration) -> Result<f64, Failure> {
    const LAST: u32 = u32::MAX;
    let (round, waiting) = (AtomicU32::new(0), AtomicUsize::new(0));
    let main = std::thread::current();
    let work = || {
        loop {
            let seen = round.load(Ordering::Acquire);
            if seen == LAST {
                return;
            }
            if waiting.fetch_add(1, Ordering::AcqRel) + 1 == threads {
                main.unpark();
            }
            while round.load(Ordering::Acquire) == seen {
                let _ = futex::wait(&round, futex::Flags::PRIVATE, seen, None);
            }
        }
    };
    let wake = |next: u32| {
        round.store(next, Ordering::Release);
        let _ = futex::wake(&round, futex::Flags::PRIVATE, i32::MAX.unsigned_abs());
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let thread = std::thread::Builder::new().stack_size(STACK);
            if let Err(error) = thread.spawn_scoped(scope, work) {
                wake(LAST);
                return Err(error.into());
            }
        }
        let (start, mut count) = (Instant::now(), 0_u32);
        let mut result = Ok(());
        while start.elapsed() < turn && result.is_ok() {
            while waiting.load(Ordering::Acquire) < threads {
                std::thread::park();
            }
            waiting.store(0, Ordering::Release);
            result = raw.write();
            count += 1;
            wake(count);
        }
        let rate = f64::from(count) / start.elapsed().as_secs_f64();
        while waiting.load(Ordering::Acquire) < threads {
            std::thread::park();
        }
        wake(LAST);
        result.map(|()| rate)
    })
}

/// Durable appends a second.
fn appends(writer: &Writer, threads: usize, batch: usize, turn: Duration) -> Result<f64, Failure> {
    let entries = vec![vec![b'e'; ENTRY]; batch];
    let start = Instant::now();
    let total = std::thread::scope(|scope| {
        let work = || -> Result<u64, Failure> {
            let mut count = 0;
            while start.elapsed() < turn {
                writer.append(&entries)?;
                count += batch as u64;
            }
            Ok(count)
        };
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                std::thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, work)
            })
            .collect::<Result<_, _>>()?;
        let mut total = 0;
        for thread in threads {
            total += thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok::<u64, Failure>(total)
    })?;
    Ok(total as f64 / start.elapsed().as_secs_f64())
}
