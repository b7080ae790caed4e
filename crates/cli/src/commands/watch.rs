//! `taintline watch` and `taintline blame`.

use app::AppError;
use app::place::Surroundings;
use app::watch::{Ready, WatchRequest};
use report::plain;

use crate::args::{Blame, Watch};
use crate::exit::Exit;

/// Watches this host, or says what could be seen on it.
pub(crate) fn watch(surroundings: Surroundings, args: Watch) -> Result<Exit, AppError> {
    let request = WatchRequest {
        surroundings,
        socket: args.socket,
        keep_days: args.keep_days,
        tier: args.tier,
    };
    if args.explain {
        let view = app::watch::explain(&request);
        super::show(&view, args.json.json, plain::explained);
        return Ok(Exit::Clean);
    }
    app::watch::watch(&request, &mut |ready| {
        crate::screen::message(&opening(ready));
    })?;
    Ok(Exit::Clean)
}

fn opening(ready: &Ready) -> String {
    let mut text = format!(
        "taintline  watching this host   socket {}   store {}\n",
        report::sanitise(&ready.socket),
        report::sanitise(&ready.store)
    );
    for sense in &ready.senses {
        text.push_str(&plain::sense(sense));
    }
    if ready.folders > 0 {
        text.push_str(&format!(
            "  from before  {} files and folders of earlier runs\n",
            ready.folders
        ));
    }
    text
}

/// Who wrote a file.
pub(crate) fn blame(surroundings: &Surroundings, args: &Blame) -> Result<Exit, AppError> {
    let view = app::blame::blame(surroundings, &args.asked)?;
    super::show(&view, args.json.json, plain::blamed);
    Ok(if view.links.is_empty() {
        Exit::Incomplete
    } else {
        Exit::Clean
    })
}
