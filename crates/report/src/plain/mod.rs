//! Views laid out as plain text. Every string of a view passes through the sanitiser on its way out.

mod audit;
mod bisect;
mod blame;
mod convert;
mod diff;
mod environment;
mod finding;
mod ledger;
mod replay;
mod runs;
mod seal;
mod show;
mod space;
mod spec;
mod stamp;
mod statement;
mod summary;
mod watching;
mod weights;
mod witness;

pub use audit::{audit, exchanged, head, rotated};
pub use bisect::bisected;
pub use blame::blamed;
pub use convert::converted;
pub use diff::diff;
pub use environment::{env_baseline, env_checked};
pub use finding::{finding, found};
pub use ledger::{entries, entry, proof, proved};
pub use replay::{audit_planned, audited, job, replayed};
pub use runs::runs;
pub use seal::{sealed, verified};
pub use show::show;
pub use space::{du, pruned};
pub use spec::{spec_learnt, spec_shown, spec_signed};
pub use stamp::{seal_stamped, stamped};
pub use statement::{approvals, attestation, attested};
pub use summary::{IN_MEMORY, opening, summary};
pub use watching::{explained, one as sense};
pub use weights::weights;
pub use witness::{cosigned, witness_keys, witnessed};

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
