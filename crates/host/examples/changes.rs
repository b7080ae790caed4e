//! Shows who changes what at or below the paths that are named, for a number of seconds. Needs root.
//!
//! `cargo run -p taintline-host --example changes -- 10 /etc`
#![expect(clippy::print_stdout, reason = "it prints changes")]

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use taintline_host::files::{Files, Place};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let seconds = arguments.next().ok_or("seconds, and paths")?;
    let seconds: u64 = seconds.to_string_lossy().parse()?;
    let mut files = Files::new()?;
    let mut wanted = Vec::new();
    for path in arguments {
        let path = PathBuf::from(path).canonicalize()?;
        files.watch(&path)?;
        wanted.push(path);
    }
    files.only(wanted);
    let shown = |place: Option<Place>| place.map_or("?".into(), |place| place.path());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let may_be_more = files.take(|change| {
            let (pid, what) = (change.pid, change.what);
            let from = change.from.map(|from| shown(Some(from)));
            println!("{pid} {what:?} {} {from:?}", shown(change.place).display());
        })?;
        if !may_be_more {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let (overflows, unplaced) = (files.overflows(), files.unplaced());
    println!("{overflows} times full, {unplaced} unplaced");
    Ok(())
}
