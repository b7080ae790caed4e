//! Prints how fast memory is digested, by processor time: `cargo run --release -p taintline-hashing --example speed [MEGABYTES [BYTES-A-STREAM]]`.
#![expect(clippy::print_stdout, reason = "it prints figures")]

use std::ops::Range;

use taintline_hashing::{Engine, digest_ranges};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| {
        let given = arguments.next().and_then(|word| word.parse().ok());
        given.unwrap_or(default).max(1)
    };
    let total = number(1000) * 1_000_000;
    let each = number(16_000_000);
    let ranges: Vec<Range<u64>> = (0..total / each)
        .map(|at| at * each..(at + 1) * each)
        .collect();
    let all = Engine::all();
    for engine in all.iter().chain(&all) {
        let before = processor_seconds();
        let results = digest_ranges(*engine, &ranges, |at, buffer: &mut [u8]| {
            buffer.fill(u8::try_from(at % 251).unwrap_or(0));
            Ok::<_, ()>(buffer.len())
        });
        let seconds = processor_seconds() - before;
        let speed = total as f64 / 1e9 / seconds;
        println!(
            "{:2} at a time: {} streams, {speed:.2} GB/s",
            engine.lanes(),
            results.len()
        );
    }
}

/// The first number of the scheduler's account of this process, in nanoseconds.
fn processor_seconds() -> f64 {
    let account = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = account.split_whitespace().next();
    first.and_then(|number| number.parse().ok()).unwrap_or(0.0) / 1e9
}
