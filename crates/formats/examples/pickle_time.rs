//! How fast the symbolic machine is, and how much memory it takes.
//!
//! `pickle_time small SECONDS` follows one pickle of 4 kB over and over; `pickle_time file PATH` follows the programs of a file
//! once, from a file and not from memory.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use taintline_formats::ReadAt;
use taintline_formats::pickle::{Limits, programs, run};

struct Opened(File, u64);

impl ReadAt for Opened {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["small", seconds] => small(seconds.parse().unwrap_or(2)),
        ["file", path] => file(path)?,
        _ => println!("pickle_time small SECONDS | file PATH"),
    }
    Ok(())
}

fn small(seconds: u64) {
    let mut bytes = b"\x80\x04}\x94(".to_vec();
    for key in 0..6u8 {
        bytes.extend([0x8c, 4, b'k', b'e', b'y', b'a' + key, 0x94]);
        bytes.extend(b"C\xf0");
        bytes.extend([key; 0xf0]);
        bytes.extend(b"\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94\x86\x94");
    }
    bytes.extend(b"\x8c\x03big\x94B\x00\x08\0\0");
    bytes.extend([7; 0x800]);
    bytes.extend(b"\x94u.");
    let (began, mut count, mut opcodes) = (Instant::now(), 0u32, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..1000 {
            let program = run(&bytes, &Limits::default());
            opcodes = program.effects.len();
            count += 1;
        }
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    println!(
        "{} bytes, {opcodes} effects: {rate:.0} a second",
        bytes.len()
    );
}

fn file(path: &str) -> io::Result<()> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let input = Opened(file, size);
    let began = Instant::now();
    let mut stream = programs(&input, 0..size, &Limits::default());
    for program in &mut stream {
        let program = program?;
        println!(
            "{}..{} complete {} values {} effects {} imports {:?}",
            program.start,
            program.end,
            program.complete,
            program.values().count(),
            program.effects.len(),
            program
                .imports()
                .iter()
                .take(9)
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        );
        for anomaly in program.anomalies.iter().take(9) {
            println!("  {}: {}", anomaly.offset, anomaly.oddity);
        }
    }
    let took = began.elapsed();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!(
        "{took:?}, {} behind, {}",
        size - stream.position(),
        peak.unwrap_or_default()
    );
    Ok(())
}
