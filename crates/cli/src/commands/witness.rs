//! `taintline ledger cosign` and `taintline ledger witness`.

use app::AppError;
use app::place::Surroundings;
use report::{plain, sanitise};
use server::Told;

use crate::args::{Cosign, Witness, WitnessServe};
use crate::exit::Exit;
use crate::screen;

/// Asks the witnesses.
pub(crate) fn cosign(surroundings: &Surroundings, args: &Cosign) -> Result<Exit, AppError> {
    let view = app::witness::cosign_now(surroundings, args.log.as_deref())?;
    super::show(&view, args.json.json, plain::cosigned);
    Ok(if view.is_clean() {
        Exit::Clean
    } else {
        Exit::Found
    })
}

/// Serves, or prints keys.
pub(crate) fn witness(surroundings: &Surroundings, args: &Witness) -> Result<Exit, AppError> {
    match args {
        Witness::Serve(serve) => self::serve(surroundings, serve),
        Witness::Key(key) => {
            let view = app::witness::keys(surroundings, &key.folder, key.name.as_deref())?;
            super::show(&view, key.json.json, plain::witness_keys);
            Ok(Exit::Clean)
        }
    }
}

fn serve(surroundings: &Surroundings, args: &WitnessServe) -> Result<Exit, AppError> {
    let logs = args.logs.as_deref();
    let witness = app::witness::open(surroundings, &args.folder, &args.log, logs)?;
    let count = witness.origins().count();
    let told = move |told: Told<'_>| match told {
        Told::Listening(address) => {
            screen::out(&format!(
                "listening on http://{address}, for {count} logs\n"
            ));
        }
        Told::Trouble(error) => {
            let words = error.to_string();
            screen::message(&format!(
                "taintline: a request failed: {}\n",
                sanitise(&words)
            ));
        }
        Told::Ending => screen::message("taintline: asked to end\n"),
    };
    let served = server::serve(witness, args.listen, told);
    match served {
        Ok(()) => Ok(Exit::Clean),
        Err(error) => {
            let words = error.to_string();
            screen::message(&format!("taintline: {}\n", sanitise(&words)));
            Ok(Exit::Failed)
        }
    }
}
