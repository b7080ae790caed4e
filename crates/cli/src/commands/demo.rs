//! `taintline demo`.

use app::AppError;
use app::demo::{self, DemoRequest, Stage};
use app::place::Surroundings;
use report::sanitise;

use crate::args::Demo;
use crate::exit::Exit;
use crate::screen::{message, out};

struct Told;

impl Stage for Told {
    fn say(&mut self, text: &str) {
        out(&format!("{}\n", sanitise(text)));
    }
}

/// Plays the story.
pub(crate) fn demo(surroundings: Surroundings, args: Demo) -> Result<Exit, AppError> {
    let request = DemoRequest {
        surroundings,
        folder: args.folder,
        python: args.python,
        steps: args.steps,
    };
    let told = demo::play(&request, &mut Told)?;
    if !told {
        message("taintline: the demo did not show what it should; see above\n");
        return Ok(Exit::Found);
    }
    Ok(Exit::Clean)
}
