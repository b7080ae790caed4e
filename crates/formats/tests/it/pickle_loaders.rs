//! Where loaders read what documentation and tools do not: the machine reads as the loaders do.

use taintline_formats::pickle::{
    Deed, Frames, Limits, Oddity, Opaque, Program, Refusal, Value, programs, run, run_at,
};

fn follow(bytes: &[u8]) -> Program {
    run(bytes, &Limits::default())
}

/// The names that are imported, in order, as they stand in the bytes and as the loader finds them.
fn imports(program: &Program) -> Vec<(String, String)> {
    program
        .effects
        .iter()
        .filter_map(|effect| match effect.deed {
            Deed::Import(id) => Some((
                program.written(id)?.to_string(),
                program.global(id)?.to_string(),
            )),
            _ => None,
        })
        .collect()
}

fn names(bytes: &[u8]) -> Vec<String> {
    imports(&follow(bytes))
        .into_iter()
        .map(|pair| pair.1)
        .collect()
}

fn calls(program: &Program) -> usize {
    let is_call =
        |effect: &&taintline_formats::pickle::Effect| matches!(effect.deed, Deed::Call(_));
    program.effects.iter().filter(is_call).count()
}

fn oddities(bytes: &[u8]) -> Vec<Oddity> {
    follow(bytes)
        .anomalies
        .into_iter()
        .map(|anomaly| anomaly.oddity)
        .collect()
}

#[test]
fn names_of_python_2_are_mapped_below_protocol_3_alone() {
    let written = |bytes: &[u8]| imports(&follow(bytes)).pop().unwrap();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        written(b"c__builtin__\neval\n."),
        pair("__builtin__.eval", "builtins.eval")
    );
    assert_eq!(
        written(b"\x80\x02ccommands\ngetoutput\n."),
        pair("commands.getoutput", "subprocess.getoutput")
    );
    assert_eq!(
        written(b"\x80\x03ccommands\ngetoutput\n."),
        pair("commands.getoutput", "commands.getoutput")
    );
    // The protocol that was declared last counts, for every opcode.
    assert_eq!(
        written(b"\x80\x04\x80\x00\x8c\x08commands\x8c\x01x\x93."),
        pair("commands.x", "subprocess.x")
    );
}

#[test]
fn dots_walk_from_protocol_4_on() {
    let literal = |bytes: &[u8]| {
        let program = follow(bytes);
        program.literal_dots(program.root.unwrap())
    };
    assert!(literal(b"\x80\x02ca\nb.c\n."));
    assert!(!literal(b"\x80\x04ca\nb.c\n."));
    assert!(!literal(b"\x80\x02ca.b\nc\n."));
}

#[test]
fn a_last_line_without_end_is_imported_and_called_by_the_unpickler_in_python() {
    assert_eq!(names(b"cos\nsystemX"), ["os.system"]);
    assert_eq!(names(b"cwebbrowserX"), ["webbrowser."]);
    let program = follow(b"(S'echo MARKER'\nios\nsystemX");
    assert_eq!((calls(&program), program.complete), (1, false));
    assert_eq!(
        program.anomalies[0].oddity,
        Oddity::LoadersDisagree(Refusal::OpenLine)
    );
    assert_eq!(names(b"c"), [""; 0]);
}

#[test]
fn a_frame_that_ends_within_an_opcode_is_read_both_ways() {
    // From memory: a text of 30 bytes and then STOP. From a BytesIO: the two bytes of the text that are in the frame are
    // lost, and the text ends two bytes later, behind the STOP; then comes an import.
    let inner = [b"X".as_slice(), &30u32.to_le_bytes(), b"AB"].concat();
    let text = [b'x'; 28];
    let behind = b"0.cos\nsystem\n(S'echo MARKER'\ntR.";
    let frame = [b"\x95".as_slice(), &(inner.len() as u64).to_le_bytes()].concat();
    let bytes = [b"\x80\x04", &frame[..], &inner, &text, behind].concat();
    let program = follow(&bytes);
    assert_eq!(names(&bytes), ["os.system"]);
    assert_eq!(calls(&program), 1);
    assert!(oddities(&bytes).contains(&Oddity::FrameStraddle));
    let only = |frames| {
        let limits = Limits {
            frames,
            ..Limits::default()
        };
        run(&bytes, &limits).effects.len()
    };
    assert_eq!((only(Frames::Memory), only(Frames::File)), (0, 2));
    // What both readings do is recorded once.
    let first = [b"\x80\x04cos\ngetcwd\n0", &bytes[2..]].concat();
    assert_eq!(names(&first), ["os.getcwd", "os.system"]);
}

#[test]
fn frames_in_their_order_are_no_oddity() {
    let frame =
        |body: &[u8]| [b"\x95".as_slice(), &(body.len() as u64).to_le_bytes(), body].concat();
    let large = [b"B".as_slice(), &4u32.to_le_bytes(), b"abcd"].concat();
    let bytes = [b"\x80\x04".to_vec(), frame(b"]"), large, frame(b"a.")].concat();
    assert_eq!(oddities(&bytes), []);
    assert!(
        oddities(b"\x95\xff\xff\xff\xff\xff\xff\xff\xff.")
            .contains(&Oddity::Refused(Refusal::Length))
    );
}

#[test]
fn an_extension_that_the_pickle_registers_itself_is_an_import() {
    let register =
        b"ccopyreg\nadd_extension\n(S'os'\nS'system'\nK\x07tR0\x82\x07(S'echo MARKER'\ntR.";
    assert_eq!(names(register), ["copyreg.add_extension", "os.system"]);
    let old = b"ccopy_reg\nadd_extension\n(S'os'\nS'system'\nK\x07tR0\x82\x07.";
    assert_eq!(names(old), ["copyreg.add_extension", "os.system"]);
    let items =
        b"\x80\x04ccopyreg\n_inverted_registry\nK\x07\x8c\x02os\x8c\x06system\x86s0\x82\x07.";
    assert_eq!(names(items), ["copyreg._inverted_registry", "os.system"]);
    let program = follow(b"\x83\x07\x00.");
    assert_eq!(
        program.value(program.root.unwrap()),
        &Value::Opaque(Opaque::Extension(7))
    );
    assert_eq!(program.anomalies[0].oddity, Oddity::Unregistered(7));
    assert_eq!(
        oddities(b"\x82\x00."),
        [Oddity::Refused(Refusal::ExtensionCode)]
    );
}

#[test]
fn programs_one_behind_another_share_the_registry_and_say_what_is_behind() {
    let bytes: &[u8] = b"ccopyreg\nadd_extension\n(S'os'\nS'system'\nK\x07tR.K\x01.\x82\x07.rest";
    let mut stream = programs(&bytes, 0..bytes.len() as u64, &Limits::default());
    let all: Vec<Program> = (&mut stream).map(Result::unwrap).collect();
    let spans: Vec<(usize, bool)> = all
        .iter()
        .map(|program| (program.start, program.complete))
        .collect();
    assert_eq!(spans, [(0, true), (45, true), (48, true), (51, false)]);
    assert_eq!(
        imports(&all[2]),
        [("os.system".to_owned(), "os.system".to_owned())]
    );
    assert_eq!(stream.position(), 51);
}

#[test]
fn what_only_python_does_is_followed_and_said() {
    let odd: [(&[u8], Refusal); 6] = [
        (b"cos\nsystem\n](S'x'\neR.", Refusal::Arguments),
        (b"F 1_0.5\n.", Refusal::Number),
        (b"N}b.", Refusal::NoState),
        (b"cos\n\n.", Refusal::NotAName),
        (b"NPab", Refusal::OpenLine),
        (b"Np99999999999999999999\n.", Refusal::MemoIndex),
    ];
    for (bytes, refusal) in odd {
        let seen = oddities(bytes);
        assert!(
            seen.contains(&Oddity::LoadersDisagree(refusal)),
            "{} {seen:?}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn what_no_loader_does_ends_the_program_where_it_stands() {
    let refused: [(&[u8], Refusal); 14] = [
        (b"K\x01)R.", Refusal::NotCallable),
        (b"cos\nsystem\nNR.", Refusal::Arguments),
        (b"ca\nb\n)N\x92.", Refusal::Keywords),
        (b"}]Ns.", Refusal::Unhashable),
        (b"(]\x85Nd.", Refusal::Unhashable),
        (b"(]\x91.", Refusal::Unhashable),
        (b"NK\x01K\x01s.", Refusal::NoItems),
        (b"]K\x01K\x01s.", Refusal::NoItems),
        (b"NNa.", Refusal::NoExtension),
        (b"(\x91(N\x90.", Refusal::NoExtension),
        (b"K\x01}S'a'\nNsb.", Refusal::NoState),
        (b"K\x01\x8c\x01a\x93.", Refusal::NotAName),
        (b"(i\xc3\xa9\na\n.", Refusal::NotAscii),
        (b"N\x98.", Refusal::NoBuffer),
    ];
    for (bytes, refusal) in refused {
        let seen = oddities(bytes);
        let end = [Oddity::Refused(refusal)];
        assert!(seen.ends_with(&end), "{} {seen:?}", bytes.escape_ascii());
        assert!(!follow(bytes).complete);
    }
    // Nothing is put in, so nothing is refused.
    assert!(follow(b"N(e.").complete);
    assert!(follow(b"NNb.").complete);
}

#[test]
fn bytearrays_and_lists_take_items_by_their_places() {
    let value = |bytes: &[u8]| {
        let program = follow(bytes);
        assert!(program.complete, "{:?}", program.anomalies);
        program.value(program.root.unwrap()).clone()
    };
    let array = b"\x96\x02\0\0\0\0\0\0\0ab";
    assert_eq!(
        value(&[array, &b"K\x63a."[..]].concat()),
        Value::Bytes(b"abc".to_vec())
    );
    assert_eq!(
        value(&[array, &b"J\xff\xff\xff\xffK\x7as."[..]].concat()),
        Value::Bytes(b"az".to_vec())
    );
    let program = follow(b"](NNeK\x01K\x05s.");
    let items = program.items(program.root.unwrap()).unwrap();
    assert_eq!(program.value(items[1]), &Value::Int(5));
    assert!(
        follow(&[array, &b"."[..]].concat())
            .is_bytearray(follow(&[array, &b"."[..]].concat()).root.unwrap())
    );
}

#[test]
fn two_names_with_different_surrogates_stay_two() {
    let name = |half: u8| {
        let bytes = [b"\x8c\x01a\x8c\x03\xed\xa0".as_slice(), &[half], b"\x93."].concat();
        names(&bytes).pop().unwrap()
    };
    assert_ne!(name(0x80), name(0x81));
    assert_eq!(oddities(b"\x8c\x03\xed\xa0\x00."), [Oddity::NotUtf8]);
    assert_eq!(oddities(b"c\xed\xa0\x80\na\n."), [Oddity::NotUtf8]);
}

#[test]
fn a_file_is_read_as_the_same_bytes_in_memory_are() {
    let long = "x".repeat(300_000);
    let bytes = [
        b"\x80\x04(\x8e".as_slice(),
        &300_000u64.to_le_bytes(),
        long.as_bytes(),
        b"X",
        &300_000u32.to_le_bytes(),
        long.as_bytes(),
        b"V",
        long.as_bytes(),
        b"\ncos\nsystem\n(S'echo MARKER'\ntRt.",
    ]
    .concat();
    let from_memory = run(&bytes, &Limits::default());
    let slice = bytes.as_slice();
    let padded = [b"before".as_slice(), slice, b"behind"].concat();
    let padded = padded.as_slice();
    let range = 6..6 + bytes.len() as u64;
    let from_file = run_at(&padded, range, &Limits::default()).unwrap();
    assert!(from_file.complete && from_memory.complete);
    assert_eq!(from_file.start, 6);
    assert_eq!(from_file.end, from_memory.end + 6);
    let values = |program: &Program| program.values().cloned().collect::<Vec<_>>();
    assert_eq!(values(&from_file), values(&from_memory));
    let items = from_memory.items(from_memory.root.unwrap()).unwrap();
    let whole = from_memory.whole(items[0]).unwrap();
    assert_eq!((whole.start, whole.end), (12, 300_012));
    assert!(
        matches!(from_memory.value(items[0]), Value::Bytes(head) if head.len() == Limits::default().kept)
    );
}
