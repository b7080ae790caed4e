//! `formats`: places lie in the file, lists are bounded, a second look sees the same.

use formats::checkpoint::{self, Checkpoint, Reading, Tensor};
use formats::pickle::{
    Argument, Given, Limits, Oddity, Program, Refusal, Step, decompile, disassemble, expression,
    programs, run, run_at,
};
use formats::{safetensors as header, sniff as magic, zip as archive};

use crate::seeds;

/// Reading from memory cannot fail, so an error of reading is a wrong offset inside the parser.
const IN_MEMORY: &str = "bytes in memory were asked for outside of the input";

/// [`formats::zip::read`].
pub fn zip(data: &[u8]) -> bool {
    let directory = match archive::read(&data) {
        Ok(directory) => directory,
        Err(error) => {
            assert!(!matches!(error, archive::ZipError::Io(_)), "{IN_MEMORY}");
            assert!(bounded_text(&error.to_string()));
            return false;
        }
    };
    assert!(directory.len_all_views() as u64 <= archive::MAX_MEMBERS);
    assert!(directory.oddities.len() <= archive::MAX_ODDITIES);
    for member in directory.members_all_views() {
        let end = member.data_offset.checked_add(member.stored_size);
        assert!(
            end.is_some_and(|end| end <= data.len() as u64),
            "{member:?} lies outside"
        );
    }
    for member in &directory.members {
        assert!(directory.find(&member.name).is_some());
    }
    for (offset, bytes) in &directory.unclaimed {
        let end = offset.checked_add(*bytes);
        assert!(end.is_some_and(|end| end <= data.len() as u64));
    }
    let again = archive::read(&data).ok();
    assert_eq!(again.as_ref(), Some(&directory), "two looks differ");
    !directory.members.is_empty()
}

/// [`formats::pickle::run`], whole and broken off: what stands before a break would have been done.
pub fn pickle(data: &[u8]) -> bool {
    let limits = Limits::default();
    let program = run(data, &limits);
    check_program(data, &program, &limits);
    let cut = data.len() / 2;
    // Of a cut file both the last line without end and a frame without rest are read in another way; see the machine.
    let half = run(&data[..cut], &limits);
    let same = half
        .effects
        .iter()
        .zip(&program.effects)
        .filter(|(first, second)| first == second);
    let others = |program: &Program| {
        let parted = |it: &formats::pickle::Anomaly| {
            matches!(
                it.oddity,
                Oddity::FrameStraddle | Oddity::LoadersDisagree(Refusal::OpenLine)
            )
        };
        program.anomalies.iter().any(parted)
    };
    assert!(
        others(&half) || others(&program) || same.count() == half.effects.len(),
        "the first half does something that the whole does not"
    );
    let small = Limits {
        opcodes: 50,
        values: 20,
        memo: 5,
        records: 3,
        name_bytes: 40,
        ..Limits::default()
    };
    check_program(data, &run(data, &small), &small);
    program.complete
}

/// [`formats::pickle::programs`] and [`formats::pickle::run_at`]: a file is read as the same bytes in memory are, each program
/// begins where the one before it ended, and limits that are far too small hide no import that comes first.
pub fn pickle_stream(data: &[u8]) -> bool {
    let limits = Limits::default();
    let whole = 0..data.len() as u64;
    let Ok(from_file) = run_at(&data, whole.clone(), &limits) else {
        unreachable!("{IN_MEMORY}")
    };
    same_program(&from_file, &run(data, &limits));
    let mut stream = programs(&data, whole, &limits);
    let mut position = 0;
    for program in (&mut stream).take(1000) {
        let Ok(program) = program else {
            unreachable!("{IN_MEMORY}")
        };
        assert_eq!(program.start as u64, position);
        assert!(program.end >= program.start && program.end <= data.len());
        if program.complete {
            position = program.end as u64;
        }
    }
    assert!(stream.position() <= data.len() as u64);
    let tight = Limits {
        values: 64,
        memo: 16,
        records: 8,
        stack: 16,
        bytes: 16 << 10,
        kept: 8,
        ..limits
    };
    check_program(data, &run(data, &tight), &tight);
    from_file.complete
}

fn same_program(first: &Program, second: &Program) {
    let said = |program: &Program| {
        let span = (program.start, program.end, program.complete, program.root);
        (span, program.effects.clone(), program.anomalies.clone())
    };
    assert_eq!(said(first), said(second), "a file is read as other bytes");
    // Through text, because a float that is not a number does not equal itself.
    let values = |program: &Program| {
        program
            .values()
            .map(|it| format!("{it:?}"))
            .collect::<Vec<_>>()
    };
    if first.values().count() < 1000 {
        assert_eq!(values(first), values(second));
    }
}

/// What a person is shown: bounded, and without a character that a terminal obeys.
pub fn pickle_shown(data: &[u8]) -> bool {
    const BUDGET: usize = 300;
    let program = run(data, &Limits::default());
    let harmless = |text: &str| {
        text.chars()
            .all(|it| it == '\u{2026}' || matches!(it, ' '..='~'))
    };
    for id in program.ids().take(500) {
        let text = expression(&program, id, BUDGET);
        assert!(text.len() < BUDGET + 4000 && harmless(&text), "{text}");
    }
    let mut last = program.effects.len() + program.anomalies.len() + 1;
    for line in decompile(&program).take(2000) {
        assert!(
            line.text.len() < 6000 && harmless(&line.text),
            "{}",
            line.text
        );
        assert!(line.offset <= data.len() && last > 0);
        last -= 1;
    }
    let mut listing = disassemble(&data, 0..data.len() as u64);
    let mut position = 0;
    for step in &mut listing {
        let Ok(step) = step else { break };
        assert_eq!(step.offset, position);
        position = position.max(step.offset + 1);
        assert!(harmless(&step.to_string()));
        position = step_end(&step, position);
    }
    program.complete
}

/// Where the opcode behind `step` begins, by the widths alone.
fn step_end(step: &Step, behind: u64) -> u64 {
    let size = match &step.argument {
        Given::Bytes { size, .. } => *size,
        _ => 0,
    };
    behind
        + match step.opcode.argument {
            Argument::None => 0,
            Argument::Unsigned(width) => u64::from(width),
            Argument::Signed => 4,
            Argument::Float => 8,
            Argument::Line => size + 1,
            // The blank between the two stands for a line feed.
            Argument::Lines => size + 1,
            Argument::Text(width) | Argument::Bytes(width) | Argument::Long(width) => {
                u64::from(width) + size
            }
        }
}

fn check_program(data: &[u8], program: &Program, limits: &Limits) {
    assert!(program.end <= data.len());
    // One more stands for all that was let go.
    assert!(program.values().count() <= limits.values + 1);
    assert!(program.effects.len() <= 3 * limits.records);
    // Each limit that was reached says so once, and one more says what ended the program; both ways to read it.
    assert!(program.anomalies.len() <= limits.records + 20);
    assert!(!program.complete || program.root.is_some());
    let places = program.effects.iter().map(|effect| effect.offset);
    let odd = program.anomalies.iter().map(|anomaly| anomaly.offset);
    assert!(places.chain(odd).all(|offset| offset <= data.len()));
    let imports = program.imports();
    assert!(imports.is_sorted());
    for anomaly in &program.anomalies {
        assert!(bounded_text(&anomaly.oddity.to_string()));
    }
}

/// [`formats::checkpoint::read`] on a file of any format.
pub fn checkpoint(data: &[u8]) -> bool {
    let first = checkpoint::read(&data);
    if let (Ok(first), Ok(second)) = (&first, &checkpoint::read(&data)) {
        // Through text where they differ, because a float that is not a number does not equal itself.
        let same = first == second || format!("{first:?}") == format!("{second:?}");
        assert!(same, "two looks differ");
    }
    assert!(first.is_ok(), "{IN_MEMORY}: {first:?}");
    match first {
        Ok(Reading::Checkpoint(found)) => {
            check_checkpoint(data, &found);
            true
        }
        Ok(Reading::NotReadable(why)) => {
            assert!(bounded_text(&why.to_string()));
            false
        }
        Err(_) => false,
    }
}

/// [`checkpoint`] on a torch archive whose pickle is the input.
pub fn checkpoint_pickle(data: &[u8]) -> bool {
    checkpoint(&seeds::torch_zip(data))
}

fn check_checkpoint(data: &[u8], found: &Checkpoint) {
    assert!(found.tensors.len() <= checkpoint::MAX_TENSORS);
    assert!(found.scalars.len() <= checkpoint::MAX_SCALARS);
    assert!(found.gaps.len() <= checkpoint::MAX_GAPS + 1);
    assert!(found.imports.is_sorted());
    for tensor in &found.tensors {
        check_tensor(data, tensor);
    }
    for (name, scalar) in &found.scalars {
        assert!(
            name.len() <= checkpoint::MAX_NAME + "__metadata__.".len(),
            "a long name"
        );
        if let checkpoint::Scalar::Text(text) = scalar {
            assert!(text.len() <= checkpoint::MAX_TEXT);
        }
    }
    // What is said of an input is not much more than the input, however often it refers to one long name.
    let said: usize = found.gaps.iter().map(|gap| gap.to_string().len()).sum();
    assert!(
        said <= 16 * data.len() + 8192 * (found.gaps.len() + 1),
        "{} gaps of {said} bytes for an input of {}",
        found.gaps.len(),
        data.len()
    );
}

fn check_tensor(data: &[u8], tensor: &Tensor) {
    let inside = |offset: u64, bytes: u64| {
        offset
            .checked_add(bytes)
            .is_some_and(|end| end <= data.len() as u64)
    };
    assert!(tensor.name.len() <= checkpoint::MAX_NAME);
    assert!(
        inside(tensor.storage_offset, tensor.storage_bytes),
        "{tensor:?}"
    );
    assert!(inside(tensor.offset, tensor.bytes), "{tensor:?}");
    assert_eq!(tensor.shape.len(), tensor.stride.len());
    if tensor.is_contiguous() {
        assert_eq!(
            tensor.elements().checked_mul(tensor.element_size),
            Some(tensor.bytes),
            "{tensor:?}"
        );
    }
    if tensor.bytes > 0 {
        let end = tensor.storage_offset + tensor.storage_bytes;
        assert!(tensor.offset >= tensor.storage_offset && tensor.offset + tensor.bytes <= end);
    }
}

/// [`formats::safetensors::read`].
pub fn safetensors(data: &[u8]) -> bool {
    match header::read(&data) {
        Ok(Ok(found)) => {
            assert!(found.data_offset <= data.len() as u64);
            let names = found.tensors.len() + found.metadata.len();
            assert!(names <= data.len());
            assert!(found.oddities.len() <= header::MAX_ODDITIES);
            for (offset, bytes) in &found.unclaimed {
                let end = offset.checked_add(*bytes);
                assert!(end.is_some_and(|end| end <= data.len() as u64));
            }
            checkpoint(data)
        }
        Ok(Err(error)) => {
            assert!(bounded_text(&error.to_string()));
            false
        }
        Err(_) => unreachable!("{IN_MEMORY}"),
    }
}

/// [`safetensors`] on a file whose header is the input, with 24 bytes of tensors behind it.
pub fn safetensors_header(data: &[u8]) -> bool {
    safetensors(&seeds::with_header(data))
}

/// [`formats::sniff`]: the same answer twice, and one that the readers agree with.
pub fn sniff(data: &[u8]) -> bool {
    let format = magic::sniff(&data).ok();
    assert_eq!(format, magic::sniff(&data).ok());
    let Some(format) = format else {
        unreachable!("{IN_MEMORY}")
    };
    assert_eq!(format == magic::Format::Empty, data.is_empty());
    let Ok(all) = magic::formats(&data) else {
        unreachable!("{IN_MEMORY}")
    };
    assert!(!all.is_empty());
    assert_eq!(magic::formats(&data).ok(), Some(all), "two looks differ");
    if format == magic::Format::SafeTensors {
        assert!(matches!(header::read(&data), Ok(result)
            if result != Err(header::HeaderError::Truncated)));
    }
    format != magic::Format::Unknown
}

/// An error is for a person: never longer than a screen.
fn bounded_text(text: &str) -> bool {
    !text.is_empty() && text.len() < 4096
}
