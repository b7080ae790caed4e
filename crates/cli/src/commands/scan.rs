//! `taintline scan`: what was said to a request, the result to text as it comes.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use app::AppError;
use app::place::Surroundings;
use app::scan::{Audience, Learning, Scan, ScanError, Writing, scan as carry_out};
use domain::scan::Weight;
use report::sanitise;
use report::scan::{FileReport, Github, Head, Json, Plain, Renderer, Sarif, Totals};

use crate::args::{FailOn, Format, ScanArgs};
use crate::exit::Exit;

/// Scans.
pub(crate) fn scan(surroundings: Surroundings, args: ScanArgs) -> Result<Exit, AppError> {
    if args.history {
        return history(&surroundings, &args);
    }
    let renderer = renderer(args.output_format, args.verbose);
    let request = request(surroundings, args);
    let mut screen = Screen {
        renderer,
        output: Output::new(),
        progress: Progress::new(),
    };
    let tail = carry_out(&request, &mut screen);
    screen.progress.clear();
    let written = match &tail {
        Ok(tail) => {
            let end = screen.renderer.end(tail);
            screen.output.finish(&end)
        }
        Err(_) => screen.output.finish(""),
    };
    let tail = tail?;
    if let Err(error) = written {
        crate::screen::message(&format!(
            "taintline: the result cannot be written: {error}\n  hint: make room, or write it elsewhere\n"
        ));
        return Ok(Exit::Failed);
    }
    Ok(Exit::of_scan(tail.exit_code))
}

/// What was said of these files before.
fn history(surroundings: &Surroundings, args: &ScanArgs) -> Result<Exit, AppError> {
    let view = app::scan::history(surroundings, &args.paths).map_err(ScanError::from)?;
    super::show(
        &view,
        args.output_format == Format::Json,
        report::history::plain,
    );
    Ok(Exit::Clean)
}

fn request(surroundings: Surroundings, args: ScanArgs) -> Scan {
    let fail_on = match args.fail_on {
        FailOn::Note => Weight::Note,
        FailOn::Custom => Weight::Custom,
        FailOn::Unknown => Weight::Unknown,
        FailOn::Dangerous => Weight::Dangerous,
    };
    let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Scan {
        fail_on: if args.strict {
            fail_on.min(Weight::Custom)
        } else {
            fail_on
        },
        paths: args.paths,
        full: args.full,
        explain: args.explain,
        jobs: args.jobs.map_or_else(processors, usize::from),
        baseline: args.baseline,
        write_baseline: args.write_baseline.map(|path| Writing {
            path,
            reason: args.reason.unwrap_or_default(),
            expires: args.expires,
        }),
        policy: args.policy,
        learn: args.learn.map(|path| Learning {
            path,
            sources: args.source,
        }),
        since: args.since,
        without: args.without_rules,
        stdin_limit: args.stdin_limit,
        record: args.record.then_some(surroundings),
    }
}

fn renderer(format: Format, verbose: bool) -> Box<dyn Renderer> {
    match format {
        Format::Plain => Box::new(Plain {
            color: color(),
            verbose,
            ..Plain::default()
        }),
        Format::Json => Box::new(Json::default()),
        Format::Sarif => Box::new(Sarif::default()),
        Format::Github => Box::new(Github),
    }
}

fn color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// Writes results as they come, and how far it is where somebody watches.
struct Screen {
    renderer: Box<dyn Renderer>,
    output: Output,
    progress: Progress,
}

impl Audience for Screen {
    fn begin(&mut self, head: &Head) {
        let text = self.renderer.begin(head);
        self.output.add(&text);
    }

    fn file(&mut self, file: &FileReport, so_far: &Totals) {
        let text = self.renderer.file(file);
        if !text.is_empty() {
            self.progress.clear();
            self.output.add(&text);
        }
        self.progress.show(file, so_far);
    }
}

/// Standard output, written in pieces: a scan tells of thousands of files in a second.
struct Output {
    waiting: String,
    last: Instant,
    at_once: bool,
    error: Option<std::io::Error>,
}

/// Bytes that wait.
const PIECE: usize = 32 << 10;

impl Output {
    fn new() -> Self {
        Self {
            waiting: String::new(),
            last: Instant::now(),
            at_once: std::io::stdout().is_terminal(),
            error: None,
        }
    }

    fn add(&mut self, text: &str) {
        self.waiting.push_str(text);
        if self.at_once || self.waiting.len() >= PIECE || self.last.elapsed() >= PACE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.last = Instant::now();
        let text = std::mem::take(&mut self.waiting);
        let mut stdout = std::io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        // A reader that went away has read what it wanted.
        let lost = written
            .err()
            .filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe);
        self.error = self.error.take().or(lost);
    }

    fn finish(&mut self, end: &str) -> Result<(), std::io::Error> {
        self.waiting.push_str(end);
        self.flush();
        self.error.take().map_or(Ok(()), Err)
    }
}

/// One line on standard error that is written over and over; only on a terminal.
struct Progress {
    watched: bool,
    shown: bool,
    last: Instant,
}

/// Scans that take less show nothing, and a line stands for as long.
const PACE: Duration = Duration::from_millis(150);

impl Progress {
    fn new() -> Self {
        Self {
            watched: std::io::stderr().is_terminal(),
            shown: false,
            last: Instant::now(),
        }
    }

    fn show(&mut self, file: &FileReport, so_far: &Totals) {
        if !self.watched || self.last.elapsed() < PACE {
            return;
        }
        self.last = Instant::now();
        self.clear();
        self.shown = true;
        let name = report::shorten(file.path.as_str(), 50);
        let count = report::time::count(so_far.files);
        let line = format!("{count} files, {} findings   {name}", so_far.findings);
        let _ = write!(std::io::stderr().lock(), "\r{}", sanitise(&line));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = std::io::stderr().lock().write_all(b"\r\x1b[2K");
        }
    }
}
