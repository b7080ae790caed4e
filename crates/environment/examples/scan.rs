//! Scans folders and prints what that cost: `cargo run --release -p taintline-environment --example scan -- CACHE ROOT...`.
//! Run it twice with one cache file to see the first and the unchanged scan; `-` as cache is none.
#![expect(clippy::print_stdout, reason = "it prints figures")]

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use taintline_environment::{Cache, Layout, Options, RootKind, Snapshot, records, scan};

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(cache_path) = arguments.next() else {
        println!("usage: scan CACHE ROOT...");
        return;
    };
    let mut layout = Layout::new();
    for path in arguments {
        let name = path.file_name().map_or_else(
            || "root".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        layout.add_root(&name, RootKind::Site, path);
    }
    let (clock, cpu) = (Instant::now(), cpu_seconds());
    let mut cache = if cache_path == Path::new("-") {
        Cache::empty()
    } else {
        Cache::load(&cache_path)
    };
    let began = SystemTime::now();
    let seed = began
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::from(since.subsec_nanos()));
    let snapshot = scan(&layout, &mut cache, &Options::new(began, seed));
    if cache_path != Path::new("-")
        && let Err(error) = cache.save(&cache_path)
    {
        println!("{error}");
    }
    let (scan_wall, scan_cpu) = (clock.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let (clock, cpu) = (Instant::now(), cpu_seconds());
    let report = records::check(&snapshot);
    let (check_wall, check_cpu) = (clock.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("scan       {scan_wall:.3} s wall, {scan_cpu:.3} s cpu");
    println!("check      {check_wall:.3} s wall, {check_cpu:.3} s cpu");
    describe(&snapshot, &report, &cache);
}

fn describe(snapshot: &Snapshot, report: &records::RecordReport, cache: &Cache) {
    let totals = snapshot.totals;
    println!("digest     {}", snapshot.root.digest());
    println!(
        "listed     {} files, {:.1} MB, {} packages",
        totals.files,
        totals.bytes as f64 / 1e6,
        snapshot.packages.len()
    );
    println!(
        "read       {} files, {:.1} MB",
        totals.read_files,
        totals.read_bytes as f64 / 1e6
    );
    println!(
        "unread     {}; cache {:?}, {} lies",
        snapshot.unread().count(),
        cache.start(),
        snapshot.cache_lies.len()
    );
    println!(
        "records    {} vouched, {} without digest, {} mismatched, {} missing, {} unowned, {} outside, {} oddities",
        report.vouched,
        report.without_digest,
        report.mismatched.len(),
        report.missing.len(),
        report.unowned.len(),
        report.outside,
        report.oddities.len()
    );
    for path in report.unowned.iter().take(5) {
        println!("unowned    {path}");
    }
    for mismatch in report.mismatched.iter().take(5) {
        println!("mismatch   {}", mismatch.path);
    }
}

/// User and system time of this process: ticks of 10 ms from `/proc/self/stat`, where it is there, summed over threads
/// that have ended.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}
