//! Checks the byte code of one environment and says what it cost: `compiled PYTHON CACHE SITE STDLIB`.
//!
//! For measurements and for looking at an environment by hand; the folders are given, so that nothing of it is started but
//! its interpreter as a compiler. `CACHE` is a file outside of the environment; the second run with it is the cached one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use environment::{Cache, Layout, Options, RootKind};
use taintline_app::compiled::{Memory, check};

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [python, cache, site, stdlib] = arguments.as_slice() else {
        eprintln!("usage: compiled PYTHON CACHE SITE STDLIB");
        return ExitCode::from(2);
    };
    let mut layout = Layout::new();
    layout
        .leave_out(stdlib.join("site-packages"))
        .add_root("purelib", RootKind::Site, site)
        .add_root("stdlib", RootKind::Stdlib, stdlib);
    let began = Instant::now();
    let mut files = Cache::load(&cache.with_extension("files"));
    let snapshot = environment::scan(&layout, &mut files, &Options::new(SystemTime::now(), 1));
    let _ = files.save(&cache.with_extension("files"));
    println!("scan: {:.3} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let memory = Memory {
        path: cache.clone(),
        secret: [0; 32],
    };
    match check(python, &snapshot, None, memory) {
        Ok(report) => {
            println!("check: {:.3} s", began.elapsed().as_secs_f64());
            println!("{report:#?}");
            ExitCode::from(u8::from(!report.wrong.is_empty()))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
