//! One thin function a command: arguments to use-case, view to text.

mod convert;
mod demo;
mod env;
mod generate;
mod ledger;
mod papers;
mod read;
mod replay;
mod run;
mod scan;
mod seal;
mod spec;
mod store;
mod watch;
mod witness;

use app::AppError;
use app::place::Surroundings;

use crate::args::{Args, Command};
use crate::exit::Exit;

/// Carries out what was said.
pub(crate) fn dispatch(args: Args) -> Result<Exit, AppError> {
    let surroundings = Surroundings::of_process(args.store);
    match args.command {
        Command::Run(run) => run::run(surroundings, run),
        Command::Scan(scan) => scan::scan(surroundings, scan),
        Command::Seal(args) => seal::seal(&surroundings, args),
        Command::Verify(args) => seal::verify(&surroundings, args),
        Command::Spec(args) => spec::spec(&surroundings, args),
        Command::Env(args) => env::env(&surroundings, args),
        Command::Approve(args) => papers::approve(&surroundings, args),
        Command::Approvals(args) => papers::approvals(&surroundings, args),
        Command::Attest(args) => papers::attest(&surroundings, args),
        Command::Runs(json) => read::runs(&surroundings, &json),
        Command::Show(show) => read::show(&surroundings, &show),
        Command::Diff(diff) => read::diff(&surroundings, &diff),
        Command::Replay(args) => replay::replay(&surroundings, args),
        Command::Bisect(args) => replay::bisect(&surroundings, args),
        Command::Audit(args) => replay::audit(&surroundings, args),
        Command::Watch(args) => watch::watch(surroundings, args),
        Command::Blame(args) => watch::blame(&surroundings, &args),
        Command::Convert(convert) => convert::convert(&convert),
        Command::Ledger(ledger) => ledger::ledger(&surroundings, &ledger),
        Command::Store(args) => store::store(&surroundings, args),
        Command::Demo(demo) => demo::demo(surroundings, demo),
        Command::Generate(generate) => Ok(generate::generate(&generate)),
    }
}

/// Serves a scan; not for people.
pub(crate) fn worker(arguments: impl Iterator<Item = std::ffi::OsString>) -> Exit {
    match app::scan::serve(arguments) {
        Ok(()) => Exit::Clean,
        Err(error) => {
            crate::screen::message(&format!(
                "taintline: {}\n",
                report::sanitise(&error.to_string())
            ));
            Exit::Failed
        }
    }
}

/// A view as text or as JSON.
fn show<V: serde::Serialize>(view: &V, json: bool, plain: fn(&V) -> String) {
    let text = if json {
        report::json(view)
            .map(|text| text + "\n")
            .unwrap_or_default()
    } else {
        plain(view)
    };
    crate::screen::out(&text);
}
