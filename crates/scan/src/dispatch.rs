//! What content goes to which examination. The bytes decide; a name only decides between readings that the bytes allow.

use domain::scan::{GapKind, Rule, Weight};
use formats::sniff::{Format, formats};
use formats::tar::{self, Kind, Oddity};
use formats::torch_legacy::{self, Role};
use formats::{ReadAt, Window};

use crate::pickle::{self, Origin};
use crate::{Bytes, Examiner, archive, gguf, models, numpy, safetensors, texts};

/// Examines `input` as what it is; several readings are all followed.
pub(crate) fn content(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let found = match formats(input) {
        Ok(found) => found,
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
    };
    let mut archives = 0;
    for format in &found {
        // One reader of ZIP archives has all views of one.
        archives += usize::from(format.is_zip());
        if !format.is_zip() || archives == 1 {
            one(examiner, name, input, *format);
        }
    }
    let own = found.iter().any(|format| has_own_reader(*format));
    if let Some(kind) = (!own).then(|| models::recognise(input)).flatten() {
        models::examine(examiner, kind, name, input);
    } else if found.contains(&Format::Unknown) || found.contains(&Format::Text) {
        // What is text was told by its beginning.
        examiner.search(input, Bytes::Nameless);
    }
    leftover(examiner, name, input, &found);
    several(examiner, &found);
    misnamed(examiner, name, &found);
}

/// What the bytes alone do not make: a program that breaks off before its end under a pickle's name, which runs up to
/// there; the beginning of a native library that is cut or mutilated.
fn leftover(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt, found: &[Format]) {
    if found
        .iter()
        .any(|format| has_own_reader(*format) && *format != Format::Text)
    {
        return;
    }
    let native = [Format::Elf, Format::Pe, Format::MachO];
    if native.iter().any(|format| found.contains(format)) && !examiner.was_read() {
        let why =
            "It begins like a native library or program; a loader would hand it to the system.";
        examiner.found(Rule::NativeCode, Weight::Unknown, examiner.here(), "", why);
    }
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    if !PICKLED
        .iter()
        .any(|known| known.eq_ignore_ascii_case(ending))
    {
        return;
    }
    let limits = formats::pickle::Limits::default();
    let program = formats::pickle::run_at(input, 0..input.len().min(BROKEN_LOOK), &limits);
    if program.is_ok_and(|program| !program.effects.is_empty()) {
        pickle::examine(examiner, input, Origin::Bare);
    }
}

/// Endings under which loaders take bytes for a pickle without asking them.
const PICKLED: [&str; 11] = [
    "pkl", "pickle", "p", "pk", "pt", "pth", "bin", "ckpt", "dat", "dump", "joblib",
];
/// Bytes of a file that is no complete pickle that are followed to see whether it is a broken one.
const BROKEN_LOOK: u64 = 1 << 20;

/// Whether [`one`] reads this format; of the others `models` knows some.
fn has_own_reader(format: Format) -> bool {
    format.is_zip()
        || format.is_tar()
        || matches!(
            format,
            Format::Pickle
                | Format::TorchLegacy
                | Format::SafeTensors
                | Format::Gguf
                | Format::Npy
                | Format::Packed(_)
                | Format::Json
                | Format::Yaml
                | Format::Xml
                | Format::Html
                | Format::Text
                | Format::Empty
        )
}

/// Whether bytes of this format say by themselves what they are.
fn is_read(format: Format) -> bool {
    // A stream without a magic number may be one by chance.
    let by_chance = matches!(format, Format::Packed(codec) if !codec.has_magic());
    !by_chance && !matches!(format, Format::Unknown | Format::Text | Format::Empty)
}

fn one(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt, format: Format) {
    match format {
        format if format.is_zip() => archive::zip(examiner, name, input),
        Format::TorchLegacy => legacy(examiner, input),
        Format::Pickle => bare(examiner, input),
        Format::TorchTar | Format::Nemo | Format::Tar => tar_archive(examiner, input, format),
        Format::Packed(codec) => archive::compressed(examiner, name, input, codec),
        Format::SafeTensors => safetensors::examine(examiner, input),
        Format::Gguf => gguf::examine(examiner, name, input),
        Format::Npy => numpy::examine(examiner, input),
        Format::Json
        | Format::Yaml
        | Format::Xml
        | Format::Html
        | Format::Text
        | Format::Script
        | Format::Unknown => text(examiner, name, input),
        Format::SevenZip | Format::Rar | Format::Cab => {
            examiner.part(format.name(), input.len(), None);
            let what = format!("it is {format}, which is recognised and not read");
            examiner.gap(GapKind::NotRead, examiner.here(), what);
        }
        _ => {}
    }
}

/// What is nothing by a magic number: texts that loaders interpret, and libraries by their name alone.
fn text(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let mut head = vec![0; usize::try_from(input.len().min(TEXT_HEAD)).unwrap_or(0)];
    if let Err(error) = input.read_at(0, &mut head) {
        return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
    }
    if let Some(kind) = texts::recognise(name, &head) {
        return texts::examine(examiner, kind, name, input);
    }
    let ending = name
        .rsplit_once('.')
        .map(|(_, ending)| ending.to_ascii_lowercase());
    if ending.is_some_and(|ending| LIBRARIES.contains(&ending.as_str())) {
        let why = "Its name is that of a native library, which is loaded and run whole.";
        examiner.found(Rule::NativeCode, Weight::Unknown, examiner.here(), "", why);
    }
}

/// Bytes from which it is told what a text is.
const TEXT_HEAD: u64 = 4096;
/// Endings of native libraries.
const LIBRARIES: [&str; 5] = ["so", "dll", "dylib", "pyd", "cubin"];

/// A pickle as a file of its own, and what stands behind it.
fn bare(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    examiner.search(input, Bytes::Data);
    if !numpy::joblib(examiner, input) {
        let end = pickle::examine(examiner, input, Origin::Bare);
        behind(examiner, input, end);
    }
}

/// Bytes behind what a loader reads are looked at too: another loader may start there.
pub(crate) fn behind(examiner: &mut Examiner<'_>, input: &dyn ReadAt, end: u64) {
    let rest = Window::from(input, end);
    if !rest.is_empty() && end > 0 {
        examiner.member(
            &format!("{} bytes at {end} behind the end", rest.len()),
            &rest,
        );
    }
}

/// Torch's format before 1.6: five pickles and the raw bytes.
fn legacy(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    examiner.part(Format::TorchLegacy.name(), input.len(), None);
    examiner.search(input, Bytes::Data);
    let layout = match torch_legacy::layout(input, &formats::pickle::Limits::default()) {
        Ok(layout) => layout,
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
    };
    parts(examiner, input, &layout);
}

fn parts(examiner: &mut Examiner<'_>, input: &dyn ReadAt, layout: &torch_legacy::Layout) {
    for part in &layout.parts {
        let window = Window::new(input, part.offset, part.size);
        let name = format!("{} at {}", words(part.role), part.offset);
        match part.role {
            Role::Raw => examiner.raw(window.len()),
            Role::Rest => examiner.member(&name, &window),
            role if role.is_pickle() => examiner.inside(&name, |examiner| {
                pickle::examine(examiner, &window, Origin::TorchLegacy);
            }),
            _ => {}
        }
    }
    if !layout.complete {
        let what = "its parts are not those that torch writes";
        examiner.gap(GapKind::Broken, examiner.here(), what);
    }
}

const fn words(role: Role) -> &'static str {
    match role {
        Role::Magic => "magic number",
        Role::Protocol => "protocol number",
        Role::SysInfo => "facts about the machine",
        Role::Object => "object",
        Role::StorageKeys => "list of storages",
        Role::Item => "item",
        Role::Raw => "raw bytes",
        Role::Rest => "bytes behind the end",
    }
}

fn tar_archive(examiner: &mut Examiner<'_>, input: &dyn ReadAt, format: Format) {
    let archive = match tar::read(input) {
        Ok(archive) => archive,
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
    };
    examiner.part(format.name(), input.len(), None);
    for oddity in &archive.oddities {
        odd(examiner, oddity);
    }
    for member in &archive.members {
        if !matches!(member.kind, Kind::File | Kind::Sparse) {
            continue;
        }
        let window = Window::new(input, member.data_offset, member.size);
        let name = member.name_text().into_owned();
        let base = name.rsplit('/').next().unwrap_or_default();
        match (format, base) {
            (Format::TorchTar, "storages" | "tensors") => {
                let limits = formats::pickle::Limits::default();
                let layout = if base == "storages" {
                    torch_legacy::tar_storages(&window, &limits)
                } else {
                    torch_legacy::tar_tensors(&window, &limits)
                };
                examiner.inside(&name, |examiner| {
                    examiner.search(&window, Bytes::Data);
                    match &layout {
                        Ok(layout) => parts(examiner, &window, layout),
                        Err(error) => {
                            examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
                        }
                    }
                });
            }
            (Format::TorchTar, "pickle" | "sys_info") => examiner.inside(&name, |examiner| {
                examiner.search(&window, Bytes::Data);
                pickle::examine(examiner, &window, Origin::TorchLegacy);
            }),
            _ => examiner.member(&name, &window),
        }
    }
    for (offset, bytes) in &archive.unclaimed {
        let window = Window::new(input, *offset, *bytes);
        examiner.member(&format!("{bytes} bytes at {offset} of no member"), &window);
    }
}

fn odd(examiner: &mut Examiner<'_>, oddity: &Oddity) {
    let (rule, weight) = match oddity {
        Oddity::UnsafeName(_) | Oddity::UnsafeLink { .. } | Oddity::Special(_) => {
            (Rule::PathEscapes, Weight::Unknown)
        }
        Oddity::DuplicateName(_) => (Rule::ReadersDisagree, Weight::Note),
        Oddity::BrokenHeader(_) | Oddity::BehindEnd(_) => (Rule::ReadersDisagree, Weight::Unknown),
        Oddity::Unclaimed { .. } => (Rule::Hidden, Weight::Note),
        Oddity::BytesMissing(_) | Oddity::BadSize(_) | Oddity::LongRecord(_) => {
            return examiner.gap(GapKind::Broken, examiner.here(), oddity.to_string());
        }
        Oddity::NotRead(_) => {
            return examiner.gap(GapKind::Limit, examiner.here(), oddity.to_string());
        }
    };
    let why = archive::sentence(&oddity.to_string());
    examiner.found(rule, weight, examiner.here(), "", why);
}

/// A file that loaders of different kinds take for different things.
fn several(examiner: &mut Examiner<'_>, found: &[Format]) {
    let runs = found.iter().filter(|format| may_run(**format)).count();
    let kinds = found.iter().filter(|format| is_read(**format)).count();
    if runs == 0 || kinds < 2 || is_known_pair(found) {
        return;
    }
    let names: Vec<&str> = found.iter().map(|format| format.name()).collect();
    let why = format!("It is at once {}.", names.join(" and "));
    examiner.found(
        Rule::ReadersDisagree,
        Weight::Unknown,
        examiner.here(),
        "",
        why,
    );
}

/// What tools of the trade write: a program or an image with an archive behind it is an installer or a model with files;
/// a pickle may be text by chance.
fn is_known_pair(found: &[Format]) -> bool {
    found.iter().filter(|format| may_run(**format)).count() == 1
        && found.iter().any(|format| {
            matches!(
                format,
                Format::Elf | Format::Pe | Format::MachO | Format::TfLite | Format::Script
            )
        })
}

/// Whether loaders of this format may run what it says.
fn may_run(format: Format) -> bool {
    format.is_zip()
        || format.is_tar()
        || matches!(format, Format::Pickle | Format::TorchLegacy | Format::Hdf5)
}

/// Endings that promise plain data.
const PLAIN: [&str; 22] = [
    "safetensors",
    "gguf",
    "npy",
    "json",
    "jsonl",
    "txt",
    "md",
    "csv",
    "tsv",
    "yaml",
    "yml",
    "toml",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "webp",
    "wav",
    "mp3",
    "pdf",
    "onnx",
    "tflite",
];

/// A program under a name that promises plain data is there to be overlooked.
fn misnamed(examiner: &mut Examiner<'_>, name: &str, found: &[Format]) {
    let Some((_, ending)) = name.rsplit_once('.') else {
        return;
    };
    let plain = PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(ending));
    let program = found.iter().find(|format| {
        matches!(
            format,
            Format::Pickle
                | Format::TorchLegacy
                | Format::TorchZip
                | Format::TorchScript
                | Format::TorchPackage
                | Format::TorchTar
        )
    });
    // Four characters of text may be a pickle by chance; one that names nothing is data under any name.
    let by_chance = found.contains(&Format::Pickle) && !examiner.needs_names();
    if let Some(program) = program.filter(|_| plain && !by_chance) {
        let why = format!("Its name promises {ending}, its content is {program}.");
        examiner.found(
            Rule::NameDisagrees,
            Weight::Unknown,
            examiner.here(),
            "",
            why,
        );
    }
}
