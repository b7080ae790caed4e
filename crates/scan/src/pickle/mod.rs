//! What a pickle would do if it were loaded.
//!
//! `formats` follows the program; here every name that it imports, every call and every change of state is judged by what
//! it does and whether checkpoints need it. The order of the files: [`judge`] walks the effects, [`call`] judges calls
//! under the guards of the model, [`change`] judges what is done to objects, [`names`] says how a name stands, [`stored`]
//! judges what is kept for somebody else to call, [`evidence`] reads the arguments of what nobody knows.

mod call;
mod change;
mod difference;
mod evidence;
mod express;
mod guard;
mod inner;
mod judge;
mod names;
mod stored;
mod words;

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;
use formats::pickle::{Limits, Oddity, Program, run};

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
    let held = input.len().min(examiner.options().held_bytes);
    if !examiner.hold(held) {
        examiner.gap(GapKind::Limit, examiner.here(), "no memory is left for it");
        return 0;
    }
    let end = match read(input, held) {
        Ok(bytes) => programs(examiner, &bytes, origin),
        Err(error) => {
            examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
            0
        }
    };
    examiner.release(held);
    end as u64
}

/// Programs one behind the other beyond this are not looked at.
const MAX_STREAMS: u32 = 4096;

fn programs(examiner: &mut Examiner<'_>, bytes: &[u8], origin: Origin) -> usize {
    let limits = Limits::default();
    let mut end = 0;
    for stream in 0..MAX_STREAMS {
        let Some(rest) = bytes.get(end..).filter(|rest| !rest.is_empty()) else {
            break;
        };
        let program = run(rest, &limits);
        let is_first = stream == 0;
        if !is_first && !program.complete && program.effects.is_empty() {
            break;
        }
        Judge::new(examiner, &program, origin, stream, end).judge();
        oddities(examiner, &program, stream, end);
        end += program.end;
        if !program.complete {
            break;
        }
    }
    end
}

/// What is odd about the form of the program, apart from what it does.
fn oddities(examiner: &mut Examiner<'_>, program: &Program, stream: u32, base: usize) {
    for anomaly in &program.anomalies {
        let mut place = examiner.at((base + anomaly.offset) as u64);
        place.stream = Some(stream);
        let what = anomaly.oddity.to_string();
        match anomaly.oddity {
            Oddity::Limit { .. } => examiner.gap(GapKind::Limit, place, what),
            Oddity::UnknownProtocol(_) | Oddity::FramePastEnd => examiner.found(
                Rule::Broken,
                Weight::Note,
                place,
                "",
                format!("Loaders may refuse it: {what}."),
            ),
            Oddity::ComputedGlobal | Oddity::NotUtf8 => {}
            _ => examiner.gap(GapKind::Broken, place, what),
        }
    }
}

fn read(input: &dyn ReadAt, size: u64) -> std::io::Result<Vec<u8>> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size];
    input.read_at(0, &mut bytes)?;
    Ok(bytes)
}
