//! Views laid out as plain text. Every string of a view passes through the sanitiser on its way out.

mod convert;
mod diff;
mod finding;
mod ledger;
mod runs;
mod seal;
mod show;
mod summary;
mod weights;

pub use convert::converted;
pub use diff::{audit, diff};
pub use finding::{finding, found};
pub use ledger::{entries, entry, proof, proved};
pub use runs::runs;
pub use seal::{sealed, verified};
pub use show::show;
pub use summary::{opening, summary};
pub use weights::weights;

use crate::sanitise;

/// Width that lines aim at.
const WIDTH: usize = 110;

/// `label` padded to the column where values begin, then `value`.
fn field(label: &str, value: &str) -> String {
    format!("  {label:<13}{}\n", sanitise(value))
}

/// `n thing` or `n things`, with the count separated.
fn plural(number: u64, thing: &str) -> String {
    format!(
        "{} {thing}{}",
        crate::time::count(number),
        if number == 1 { "" } else { "s" }
    )
}
