//! Prints how fast memory is digested: `cargo run --release -p taintline-hashing --example speed [MEGABYTES [BYTES-A-STREAM]]`.
#![expect(clippy::print_stdout, reason = "it prints figures")]

use std::ops::Range;
use std::time::Instant;

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
    for (name, engine) in [
        ("one by one", Engine::one_by_one()),
        ("best", Engine::best()),
        ("one by one", Engine::one_by_one()),
        ("best", Engine::best()),
    ] {
        let clock = Instant::now();
        let results = digest_ranges(engine, &ranges, |at, buffer: &mut [u8]| {
            buffer.fill(u8::try_from(at % 251).unwrap_or(0));
            Ok::<_, ()>(buffer.len())
        });
        let seconds = clock.elapsed().as_secs_f64();
        let speed = total as f64 / 1e9 / seconds;
        println!("{name:12} {} streams, {speed:.2} GB/s", results.len());
    }
}
