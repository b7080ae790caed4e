//! How fast appending is beside the disk's own limit, in turns within one run:
//! `cargo run --release --example durable -p taintline-ledger -- FOLDER [SECONDS [WRITERS]]`.
//!
//! The limit is one write of the same bytes into a file of zeros and one `fdatasync`, over and over. Ours is a
//! number of threads, each appending entries of 300 bytes and waiting until they are durable. Printed is, for each number of
//! threads and of entries in one append, entries a second, syncs a second of the limit, and the ratio to all × syncs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use taintline_ledger::{Store, Writer, audit};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ENTRY: usize = 300;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().unwrap_or_else(|| "target".to_owned());
    let seconds: f64 = arguments.next().map_or(Ok(4.0), |it| it.parse())?;
    let folder = tempfile::Builder::new()
        .prefix("durable")
        .tempdir_in(place)?;
    let store = Store::open_or_create(&folder.path().join("store"))?;
    let writer = store.writer("bench@here", &folder.path().join("keys"))?;
    let rounds = 6_u32;
    let only: Option<usize> = arguments.next().map(|it| it.parse()).transpose()?;
    for (threads, batch) in [(1_usize, 1_usize), (64, 1), (1024, 1), (16, 64)] {
        if only.is_some_and(|only| only != threads) {
            continue;
        }
        let turn = Duration::from_secs_f64(seconds / f64::from(rounds));
        let (mut limit, mut ours, mut rates) = (0.0, 0.0, Vec::new());
        for _ in 0..rounds {
            let raw = raw(folder.path(), threads * batch * (ENTRY + 2) + 400, turn)?;
            let rate = appends(&writer, threads, batch, turn)?;
            rates.push(rate / (raw * (threads * batch) as f64));
            limit += raw / f64::from(rounds);
            ours += rate / f64::from(rounds);
        }
        rates.sort_by(f64::total_cmp);
        let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
        println!(
            "{threads:>5} writers of {batch:>2}: {ours:>9.0} entries/s, limit {limit:>6.0} syncs/s, ratio {:.2} (median of turns {median:.2})",
            ours / (limit * (threads * batch) as f64)
        );
    }
    drop(writer);
    let start = Instant::now();
    let report = audit(&store, &|_| Vec::new());
    println!(
        "audit: {} entries, {} problems, {:.2?}",
        report.entries,
        report.problems.len(),
        start.elapsed()
    );
    Ok(())
}

/// Syncs a second.
fn raw(folder: &Path, bytes: usize, turn: Duration) -> Result<f64, Failure> {
    const FILE: u64 = 4 << 20;
    let path = folder.join("raw");
    std::fs::write(&path, vec![0; usize::try_from(FILE)?])?;
    let file = File::options().write(true).open(&path)?;
    file.sync_all()?;
    let block = vec![7; bytes.div_ceil(512) * 512];
    let (mut at, mut count) = (0, 0_u32);
    let start = Instant::now();
    while start.elapsed() < turn {
        file.write_all_at(&block, at)?;
        file.sync_data()?;
        count += 1;
        at += block.len() as u64;
        if at + block.len() as u64 > FILE {
            at = 0;
        }
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
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
                    .stack_size(128 << 10)
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
