//! What a pickle would do if it were loaded.
//!
//! `formats` follows the program; here every name that it imports, every call and every change of state is judged by what
//! it does and whether checkpoints need it. The order of the files: [`judge`] walks the effects, [`call`] judges calls
//! under the guards of the model, [`change`] judges what is done to objects, [`names`] says how a name stands, [`stored`]
//! judges what is kept for somebody else to call, [`evidence`] reads the arguments of what nobody knows.

mod call;
mod change;
mod difference;
mod dunder;
mod evidence;
mod guard;
mod inner;
mod judge;
mod late;
mod names;
mod stored;
mod words;

use domain::scan::{GapKind, Place, Rule, Weight};
use formats::pickle::{Limits, Oddity, Program, decompile, programs};
use formats::{ReadAt, Window};

use crate::Examiner;
use judge::Judge;

pub use difference::{Difference, difference};

/// In what the program lies: that decides who loads it, and so what its names and persistent ids mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A file of its own, or a member that nothing more is known of.
    Bare,
    /// `data.pkl` of a zip that `torch.save` wrote.
    TorchZip,
    /// One of the programs of a file that `torch.save` wrote before it wrote zips, or of its tar.
    TorchLegacy,
    /// A member of a TorchScript archive: its own classes are in `__torch__` and C++ reads it.
    TorchScript,
    /// Within a file of numpy.
    Numpy,
    /// A file of joblib.
    Joblib,
    /// The metadata or an item of a distributed checkpoint of torch.
    Dcp,
    /// Metadata of a memory-mapped tensordict.
    Tensordict,
    /// Bytes that another program would have loaded.
    Inner,
}

impl Origin {
    /// Whether persistent ids are those of torch's storages.
    fn has_storages(self) -> bool {
        matches!(
            self,
            Self::TorchZip | Self::TorchLegacy | Self::TorchScript | Self::Dcp
        )
    }
}

/// Examines all programs at the start of `input`, one behind the other. Returns the offset behind the last one.
pub fn examine(examiner: &mut Examiner<'_>, input: &dyn ReadAt, origin: Origin) -> u64 {
    let limits = Limits {
        opcodes: examiner.opcodes_left(),
        ..Limits::default()
    };
    let mut stream = 0;
    let mut end = 0;
    let mut followed = programs(input, 0..input.len(), &limits);
    while let Some(program) = followed.next() {
        examiner.followed(followed.opcodes_left());
        let program = match program {
            Ok(program) => program,
            Err(error) => {
                examiner.gap(GapKind::Unreadable, examiner.at(end), error.to_string());
                break;
            }
        };
        let is_first = stream == 0;
        if !is_first && !program.complete && !is_declared(input, end) {
            // What stands behind a pickle is mostly no pickle, though any bytes are some opcodes.
            break;
        }
        let place = Place {
            stream: Some(stream),
            ..examiner.at(end)
        };
        let lines = decompile(&program).map(|line| (line.offset as u64, line.text));
        examiner.listing(place, lines);
        Judge::new(examiner, &program, input, origin, stream).judge();
        oddities(examiner, &program, stream);
        end = program.end as u64;
        stream += 1;
        if stream == MAX_STREAMS {
            let what = format!("more than {MAX_STREAMS} programs one behind the other");
            examiner.gap(GapKind::Limit, examiner.at(end), what);
            break;
        }
    }
    if stream > 0 && origin != Origin::Inner {
        examiner.part_of("a pickle", &Window::new(input, 0, end));
    }
    end
}

/// Programs one behind the other beyond this are not looked at.
const MAX_STREAMS: u32 = 4096;

/// Whether a program that says its protocol begins at `offset`.
fn is_declared(input: &dyn ReadAt, offset: u64) -> bool {
    let mut start = [0; 2];
    input.read_at(offset, &mut start).is_ok() && matches!(start, [0x80, 2..=5])
}

/// What is odd about the form of the program, apart from what it does.
fn oddities(examiner: &mut Examiner<'_>, program: &Program, stream: u32) {
    for anomaly in &program.anomalies {
        let mut place = examiner.at(anomaly.offset as u64);
        place.stream = Some(stream);
        let what = anomaly.oddity.to_string();
        match anomaly.oddity {
            Oddity::Limit { .. } => examiner.gap(GapKind::Limit, place, what),
            Oddity::FrameStraddle => {
                let why = format!("Both readings were examined: {what}.");
                examiner.found(Rule::ReadersDisagree, Weight::Unknown, place, "", why);
            }
            Oddity::UnknownProtocol(_)
            | Oddity::FramePastEnd
            | Oddity::LoadersDisagree(_)
            | Oddity::OnlyC(_)
            | Oddity::EncodedText => {
                let why = format!("Loaders may refuse it or differ: {what}.");
                examiner.found(Rule::Broken, Weight::Note, place, "", why);
            }
            // Told where they are used.
            Oddity::ComputedGlobal | Oddity::Unregistered(_) => {}
            _ => examiner.gap(GapKind::Broken, place, what),
        }
    }
}
