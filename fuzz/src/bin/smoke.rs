//! Every target on damaged input, for a moment, with nothing but a stable compiler.
//!
//! `smoke --seconds 20` prints the number that its inputs come from; `--seed N` gives the same inputs again. Targets take
//! turns. A failure is printed as hexadecimal bytes, made small first, and the exit code is 1; `--only NAME --hex BYTES`
//! runs one input alone.
//!
//! Two processes: a worker, which may die of an input in any way, and the first one, which knows from a scratch file what
//! the worker had in hand when it died or stood still. Being out of memory and out of stack are failures like any other.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use taintline_fuzz::mutate::{Random, input};
use taintline_fuzz::{TARGETS, Target};

/// One input may take this long; it is run again before it is called slow, because the machine may be busy.
const SLOW: Duration = Duration::from_secs(5);
/// A worker that stands still this long is ended.
const STUCK: Duration = Duration::from_secs(30);
/// The most memory that the worker may ever have had, in KiB.
const PEAK_KIB: u64 = 512 << 10;
/// The most that it may have asked for, in KiB: an absurd reservation ends it.
const ADDRESS_KIB: u64 = 4 << 20;
/// Memory that counts takes longer to touch than this, so shorter calls need no look.
const WORTH_A_LOOK: Duration = Duration::from_millis(2);
/// Time spent on making a failure small.
const SHRINKING: Duration = Duration::from_secs(3);

const USAGE: &str =
    "smoke [--seconds N] [--seed N] [--only NAME] [--all] [--skip-bombs] [--hex BYTES | --file PATH] [--write-seeds FOLDER]
  --seconds N           how long, 20 unless told otherwise
  --seed N              the inputs of an earlier run
  --only NAME           one target alone
  --all                 go on after a failure; each different one is printed once
  --skip-bombs          without the inputs that are heavy on purpose
  --hex BYTES           this input alone, with --only
  --file PATH           the same with bytes from a file
  --write-seeds FOLDER  write FOLDER/seeds/NAME/N and FOLDER/bombs/NAME/N, and end";

/// The last panic: what and where.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

#[derive(Clone)]
struct Options {
    seconds: u64,
    seed: u64,
    only: Option<String>,
    all: bool,
    skip_bombs: bool,
    input: Option<Vec<u8>>,
    write_seeds: Option<PathBuf>,
    scratch: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("smoke: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let outcome = match (&options.write_seeds, &options.scratch) {
        (Some(folder), _) => write_seeds(folder).map(|()| true),
        (None, Some(scratch)) => work(&options, scratch),
        (None, None) => watch(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("smoke: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    use std::hash::{BuildHasher as _, RandomState};
    let mut options = Options {
        seconds: 20,
        seed: RandomState::new().hash_one(0) >> 16,
        only: None,
        all: false,
        skip_bombs: false,
        input: None,
        write_seeds: None,
        scratch: None,
    };
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--all" => options.all = true,
            "--skip-bombs" => options.skip_bombs = true,
            _ => options.set(&name, arguments.next())?,
        }
    }
    if options.targets().is_empty() {
        return Err("--only: there is no such target".to_owned());
    }
    if options.input.is_some() && options.only.is_none() {
        return Err("--hex and --file need --only".to_owned());
    }
    Ok(options)
}

impl Options {
    fn set(&mut self, name: &str, value: Option<String>) -> Result<(), String> {
        let value = value.ok_or(format!("{name} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{value} is no number"));
        match name {
            "--seconds" => self.seconds = number()?,
            "--seed" => self.seed = number()?,
            "--only" => self.only = Some(value),
            "--hex" => self.input = Some(bytes_of(&value).ok_or("--hex: not hexadecimal")?),
            "--file" => self.input = Some(fs::read(&value).map_err(|error| error.to_string())?),
            "--write-seeds" => self.write_seeds = Some(value.into()),
            "--scratch" => self.scratch = Some(value.into()),
            _ => return Err(format!("{name} is not known")),
        }
        Ok(())
    }

    fn targets(&self) -> Vec<&'static Target> {
        let wanted = |target: &&Target| self.only.as_ref().is_none_or(|name| name == target.name);
        TARGETS.iter().filter(wanted).collect()
    }
}

fn write_seeds(folder: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        for (kind, inputs) in [("seeds", (target.seeds)()), ("bombs", (target.bombs)())] {
            let folder = folder.join(kind).join(target.name);
            fs::create_dir_all(&folder)?;
            for (index, input) in inputs.iter().enumerate() {
                fs::write(folder.join(index.to_string()), input)?;
            }
        }
    }
    Ok(())
}

/// Starts the worker and judges how it ended.
fn watch(options: &Options) -> std::io::Result<bool> {
    println!("smoke: --seed {}", options.seed);
    // In memory where that is possible: the scratch file is written once an input.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let scratch = folder.path().join("input");
    let limits = format!("ulimit -c 0 && ulimit -v {ADDRESS_KIB} && exec \"$0\" \"$@\"");
    let mut worker = Command::new("sh")
        .args(["-c", &limits])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(["--seed", &options.seed.to_string(), "--scratch"])
        .arg(&scratch)
        .env("TMPDIR", folder.path())
        .spawn()?;
    let (mut last, mut since) = (0, Instant::now());
    let status = loop {
        if let Some(status) = worker.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(100));
        let count = InHand::read(&scratch).map_or(0, |in_hand| in_hand.count);
        if count != last {
            (last, since) = (count, Instant::now());
        } else if since.elapsed() > STUCK {
            worker.kill()?;
            break worker.wait()?;
        }
    };
    match (status.code(), InHand::read(&scratch)) {
        (Some(0), _) => Ok(true),
        (Some(1 | 2), _) => Ok(false),
        (_, Some(in_hand)) => {
            let how = format!("the worker ended with {status} after {:?}", since.elapsed());
            let name = TARGETS
                .get(in_hand.target)
                .map_or("?", |target| target.name);
            report(name, &how, &in_hand.data);
            Ok(false)
        }
        (_, None) => Err(std::io::Error::other(format!(
            "the worker ended with {status}"
        ))),
    }
}

/// What the worker is at, as it stands in the scratch file.
struct InHand {
    count: u64,
    target: usize,
    data: Vec<u8>,
}

impl InHand {
    fn read(scratch: &Path) -> Option<Self> {
        let bytes = fs::read(scratch).ok()?;
        let (count, rest) = bytes.split_first_chunk::<8>()?;
        let (target, rest) = rest.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let number = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).ok();
        Some(Self {
            count: u64::from_le_bytes(*count),
            target: number(target)?,
            data: rest.get(..number(size)?)?.to_vec(),
        })
    }

    fn write(scratch: &File, count: u64, target: &Target, data: &[u8]) -> std::io::Result<()> {
        let index = TARGETS.iter().position(|it| it.name == target.name);
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend((index.unwrap_or(TARGETS.len()) as u64).to_le_bytes());
        bytes.extend((data.len() as u64).to_le_bytes());
        bytes.extend(data);
        scratch.write_all_at(&bytes, 0)
    }
}

/// What one target has done.
struct Tally {
    target: &'static Target,
    seeds: Vec<Vec<u8>>,
    runs: u64,
    taken: u64,
    slowest: Duration,
}

struct Worker {
    scratch: File,
    count: u64,
    peak_kib: u64,
    failures: BTreeSet<String>,
}

/// Runs the inputs; `false` when one failed.
fn work(options: &Options, scratch: &Path) -> std::io::Result<bool> {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("a panic without words");
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = format!("{place}: {what}");
        }
    }));
    let mut worker = Worker {
        scratch: File::create(scratch)?,
        count: 0,
        peak_kib: peak_kib(),
        failures: BTreeSet::new(),
    };
    let mut tallies = options
        .targets()
        .into_iter()
        .map(Tally::new)
        .collect::<Vec<_>>();
    if let (Some(data), Some(tally)) = (&options.input, tallies.first_mut()) {
        let fine = worker.run(tally, data)?;
        let verdict = if fine { "fine" } else { "failed" };
        println!(
            "smoke: {}: {verdict} in {:?}",
            tally.target.name, tally.slowest
        );
        return Ok(fine);
    }
    for tally in &mut tallies {
        worker.seeds(tally, options.skip_bombs)?;
    }
    let mut random = Random::new(options.seed);
    let began = Instant::now();
    let may_go_on = |worker: &Worker| options.all || worker.failures.is_empty();
    while may_go_on(&worker) && began.elapsed() < Duration::from_secs(options.seconds) {
        for tally in &mut tallies {
            let data = input(&mut random, &tally.seeds, tally.target.words);
            if !worker.run(tally, &data)? && !options.all {
                break;
            }
        }
    }
    print_table(&tallies, &worker, began.elapsed());
    Ok(worker.failures.is_empty())
}

impl Tally {
    fn new(target: &'static Target) -> Self {
        Self {
            target,
            seeds: (target.seeds)(),
            runs: 0,
            taken: 0,
            slowest: Duration::ZERO,
        }
    }
}

impl Worker {
    /// Good inputs and heavy ones. Every target must take the first of its own, or it fuzzes nothing but its first check.
    fn seeds(&mut self, tally: &mut Tally, skip_bombs: bool) -> std::io::Result<()> {
        let seeds = tally.seeds.clone();
        for (index, seed) in seeds.iter().enumerate() {
            let fine = self.run(tally, seed)?;
            if index == 0 && fine && tally.taken == 0 {
                self.fail(tally.target, "its first good input is refused", seed);
            }
        }
        let bombs = if skip_bombs {
            Vec::new()
        } else {
            (tally.target.bombs)()
        };
        for bomb in bombs {
            self.run(tally, &bomb)?;
        }
        Ok(())
    }

    /// Runs one input; `false` when it failed.
    fn run(&mut self, tally: &mut Tally, data: &[u8]) -> std::io::Result<bool> {
        self.count += 1;
        let target = tally.target;
        InHand::write(&self.scratch, self.count, target, data)?;
        let (result, took) = timed(target, data);
        tally.runs += 1;
        tally.slowest = tally.slowest.max(took);
        let memory = self.memory_risen(took);
        let how = match result {
            Ok(taken) => {
                tally.taken += u64::from(taken);
                let slow = took > SLOW && timed(target, data).1 > SLOW;
                memory.or(slow.then(|| format!("takes more than {SLOW:?}")))
            }
            Err(panic) => {
                if self.is_new(target, &panic) {
                    report(target.name, &panic, &shrink(target, data, &panic));
                }
                return Ok(false);
            }
        };
        if let Some(how) = &how {
            self.fail(target, how, data);
        }
        Ok(how.is_none())
    }

    /// What to say if the last input took more memory than any may.
    fn memory_risen(&mut self, took: Duration) -> Option<String> {
        if took <= WORTH_A_LOOK {
            return None;
        }
        let (before, now) = (self.peak_kib, peak_kib());
        self.peak_kib = now;
        (now > PEAK_KIB && now > before).then(|| {
            format!(
                "takes more memory than {} MiB: {} MiB",
                PEAK_KIB >> 10,
                now >> 10
            )
        })
    }

    /// Prints a failure unless the same was printed before.
    fn fail(&mut self, target: &Target, how: &str, data: &[u8]) {
        if self.is_new(target, how) {
            report(target.name, how, data);
        }
    }

    /// Whether this target has not failed at the same place yet.
    fn is_new(&mut self, target: &Target, how: &str) -> bool {
        self.failures
            .insert(format!("{}: {}", target.name, place(how)))
    }
}

/// Where a panic happened; of another failure all of it.
fn place(how: &str) -> &str {
    how.split(": ").next().unwrap_or(how)
}

fn timed(target: &Target, data: &[u8]) -> (Result<bool, String>, Duration) {
    let began = Instant::now();
    let result = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    let said = || {
        LAST_PANIC
            .lock()
            .map(|last| last.clone())
            .unwrap_or_default()
    };
    (result.map_err(|_| said()), began.elapsed())
}

/// The input without the pieces that the failure does not need.
fn shrink(target: &Target, data: &[u8], panic: &str) -> Vec<u8> {
    let began = Instant::now();
    let mut small = data.to_vec();
    let mut piece = small.len().next_power_of_two();
    while piece > 0 && began.elapsed() < SHRINKING {
        let mut at = 0;
        while at < small.len() && began.elapsed() < SHRINKING {
            let end = (at + piece).min(small.len());
            let without = [&small[..at], &small[end..]].concat();
            match timed(target, &without).0 {
                Err(other) if place(&other) == place(panic) => small = without,
                _ => at = end,
            }
        }
        piece /= 2;
    }
    small
}

fn report(name: &str, how: &str, data: &[u8]) {
    let how: String = how.chars().take(1500).collect();
    println!("FAILED {name}: {how}");
    println!(
        "  {} bytes, as text: {}",
        data.len(),
        String::from_utf8_lossy(&data[..data.len().min(300)]).escape_debug()
    );
    let mut hex = String::with_capacity(data.len() * 2);
    for byte in data {
        let _ = write!(hex, "{byte:02x}");
    }
    println!("  --only {name} --hex {hex}");
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// The most memory that this process ever had, in KiB; 0 where the kernel does not say.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn print_table(tallies: &[Tally], worker: &Worker, took: Duration) {
    println!(
        "{:20} {:>10} {:>10} {:>12}",
        "target", "inputs", "taken", "slowest ms"
    );
    for tally in tallies {
        let slowest = tally.slowest.as_secs_f64() * 1000.0;
        println!(
            "{:20} {:>10} {:>10} {slowest:>12.1}",
            tally.target.name, tally.runs, tally.taken
        );
    }
    println!(
        "smoke: {} inputs in {:.0} s, peak {} MiB, {} failures",
        worker.count,
        took.as_secs_f64(),
        peak_kib() >> 10,
        worker.failures.len()
    );
}
