//! Prints what a pool of confined workers costs: `cargo run --release -p taintline-host --example pool -- [WORKERS [REQUESTS]]`.
#![expect(clippy::print_stdout, reason = "it prints figures")]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use taintline_host::sandbox::{Limits, Readable, confine};
use taintline_host::worker::{Pool, PoolLimits, serve};

/// The argument that makes it a worker.
const WORKER: &str = "--worker";
const REQUEST_BYTES: usize = 4096;

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|word| word == WORKER) {
        let holds = confine(&Limits::default(), Readable::Everything);
        let hello = serde_json::to_vec(&holds).unwrap_or_default();
        // An end of the pool is the only end that is expected.
        let _ = serve(&hello, REQUEST_BYTES, <[u8]>::to_vec);
        return;
    }
    let mut number = |default: u64| {
        let given = arguments.next().and_then(|word| word.parse().ok());
        given.unwrap_or(default).max(1)
    };
    let (workers, requests) = (number(1), number(200_000));
    starts(100);
    stream(usize::try_from(workers).unwrap_or(1), requests);
}

fn new_pool(workers: usize) -> Pool {
    let limits = PoolLimits {
        request_bytes: REQUEST_BYTES,
        ..PoolLimits::default()
    };
    Pool::new(workers, vec![WORKER.into()], limits)
}

/// One worker, one request, one end, many times.
fn starts(times: u32) {
    let (clock, before) = (Instant::now(), cpu());
    for _ in 0..times {
        let mut pool = new_pool(1);
        if pool.submit(0, b"path".to_vec()).is_ok() {
            pool.next_outcome();
        }
    }
    let cost = (cpu().saturating_sub(before)) / times;
    println!(
        "start and end  {cost:.0?} cpu, {:.0?} wall",
        clock.elapsed() / times
    );
}

/// Requests as long as a path, with at most 512 outstanding.
fn stream(workers: usize, requests: u64) {
    let mut pool = new_pool(workers);
    let (clock, before) = (Instant::now(), cpu());
    let mut answered = 0_u64;
    for id in 0..requests {
        if pool.submit(id, vec![b'x'; 100]).is_err() {
            return;
        }
        while pool.outstanding() >= 512 {
            answered += u64::from(
                pool.next_outcome()
                    .is_some_and(|outcome| outcome.result.is_ok()),
            );
        }
    }
    while let Some(outcome) = pool.next_outcome() {
        answered += u64::from(outcome.result.is_ok());
    }
    let greeting = String::from_utf8_lossy(pool.greeting().unwrap_or_default()).into_owned();
    let wall = clock.elapsed();
    drop(pool);
    let each = cpu().saturating_sub(before).as_secs_f64() * 1e6 / answered.max(1) as f64;
    let speed = answered as f64 / wall.as_secs_f64();
    println!(
        "{workers} workers     {answered} answers, {speed:.0} a second, {each:.1} µs cpu each"
    );
    println!("confinement    {greeting}");
}

/// Processor time of this process and of the workers that have ended.
fn cpu() -> Duration {
    let own = clock_gettime(ClockId::ProcessCPUTime);
    let own = Duration::try_from(own).unwrap_or_default();
    own + ended()
}

/// The same of its ended children: fields 16 and 17 of `/proc/self/stat`, in ticks of 10 ms.
fn ended() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}
