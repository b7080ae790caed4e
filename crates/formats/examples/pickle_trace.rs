//! What the symbolic machine makes of pickles, as JSON lines, for a comparison with CPython.
//!
//! The argument says how frames are read: `file`, `memory` or both. Standard input: each pickle preceded by its length in four bytes, little endian. Standard output: one line each.
#![forbid(unsafe_code)]

use std::io::{self, BufWriter, Read as _, Write as _};

use serde_json::{Value as Json, json};
use taintline_formats::pickle::{
    Deed, Frames, Id, Limits, Oddity, Opaque, Program, Value, disassemble, run, surrogate,
};

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = BufWriter::new(io::stdout().lock());
    let frames = match std::env::args().nth(1).as_deref() {
        Some("file") => Frames::File,
        Some("memory") => Frames::Memory,
        _ => Frames::Both,
    };
    let limits = Limits {
        frames,
        ..Limits::generous()
    };
    let mut size = [0; 4];
    while input.read_exact(&mut size).is_ok() {
        let mut bytes = Vec::new();
        (&mut input)
            .take(u64::from(u32::from_le_bytes(size)))
            .read_to_end(&mut bytes)?;
        let program = run(&bytes, &limits);
        let mut traced = trace(&program);
        traced["opcodes"] = opcodes(&bytes);
        serde_json::to_writer(&mut output, &traced)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

/// Offset and name of each opcode, if the bytes are opcodes up to a STOP.
fn opcodes(bytes: &[u8]) -> Json {
    let input: &[u8] = bytes;
    let steps: Result<Vec<_>, _> = disassemble(&input, 0..bytes.len() as u64).collect();
    let Ok(steps) = steps else {
        return Json::Null;
    };
    let named = steps
        .iter()
        .map(|step| json!([step.offset, step.opcode.name]));
    json!(named.collect::<Vec<_>>())
}

fn trace(program: &Program) -> Json {
    let odd: Vec<Json> = program
        .anomalies
        .iter()
        .map(|anomaly| json!([anomaly.offset, format!("{:?}", anomaly.oddity)]))
        .collect();
    json!({
        "complete": program.complete,
        "end": program.end,
        "root": program.root.map(Id::index),
        "c_stop": c_stop(program),
        "anomalies": odd,
        "events": program.effects.iter().map(|effect| json!([effect.offset, event(program, effect.deed)])).collect::<Vec<_>>(),
        "nodes": program.ids().map(|id| node(program, id)).collect::<Vec<_>>(),
    })
}

/// Where the C unpickler stops, if it does.
fn c_stop(program: &Program) -> Option<usize> {
    let odd = program
        .anomalies
        .iter()
        .filter(|anomaly| {
            // Without a loader of its own: a name that is computed was computed by nobody.
            anomaly.oddity.ends_c() && !matches!(anomaly.oddity, Oddity::Unregistered(1..=255))
                || matches!(anomaly.oddity, Oddity::ComputedGlobal)
        })
        .map(|anomaly| anomaly.offset);
    let calls = program.effects.iter().filter_map(|effect| {
        let Deed::Call(id) = effect.deed else {
            return None;
        };
        let Value::Call(call) = program.value(id) else {
            return None;
        };
        let tuple = matches!(program.value(call.args), Value::Tuple(_));
        let dict = call
            .keywords
            .is_none_or(|id| matches!(program.value(id), Value::Dict(_)));
        (!tuple || !dict).then_some(effect.offset)
    });
    odd.chain(calls).min()
}

fn text(text: &str) -> Json {
    if text.is_ascii() {
        json!(text)
    } else {
        json!(surrogate::codes(text).collect::<Vec<_>>())
    }
}

fn bytes(bytes: &[u8]) -> Json {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        hex.push_str(&format!("{byte:02x}"));
    }
    json!(hex)
}

fn event(program: &Program, deed: Deed) -> Json {
    let n = |id: Id| id.index();
    match deed {
        Deed::Import(id) => match program.written(id) {
            Some(global) => json!(["import", text(&global.module), text(&global.name)]),
            None => json!(["computed"]),
        },
        Deed::Call(id) => json!(["call", n(id)]),
        Deed::Build { target, state } => json!(["build", n(target), n(state)]),
        Deed::SetItems(id) => json!(["set", n(id)]),
        Deed::Extend(id) => json!(["extend", n(id)]),
        Deed::Persistent(id) => json!(["persistent", n(id)]),
        Deed::Extension(code) => json!(["extension", code]),
    }
}

fn node(program: &Program, id: Id) -> Json {
    let n = |id: &Id| id.index();
    let all = |ids: &[Id]| ids.iter().map(n).collect::<Vec<_>>();
    let pairs = |pairs: &[(Id, Id)]| {
        pairs
            .iter()
            .map(|(key, value)| [n(key), n(value)])
            .collect::<Vec<_>>()
    };
    match program.value(id) {
        Value::None => json!(["none"]),
        Value::Bool(value) => json!(["bool", value]),
        Value::Int(value) => json!(["int", value.to_string()]),
        Value::Big(value) => json!(["big", bytes(value)]),
        Value::Float(value) => json!(["float", format!("{:016x}", value.to_bits())]),
        Value::Bytes(value) if program.is_bytearray(id) => json!(["bytearray", bytes(value)]),
        Value::Bytes(value) if program.is_encoded(id) => json!(["encoded", bytes(value)]),
        Value::Bytes(value) => json!(["bytes", bytes(value)]),
        Value::Text(value) => json!(["text", text(value)]),
        Value::List(items) => json!(["list", all(items)]),
        Value::Tuple(items) => json!(["tuple", all(items)]),
        Value::Dict(items) => json!(["dict", pairs(items)]),
        Value::Set(items) if program.is_frozen(id) => json!(["frozenset", all(items)]),
        Value::Set(items) => json!(["set", all(items)]),
        Value::Global(_) => {
            let global = program.written(id);
            json!([
                "global",
                global.map(|global| text(&global.module)),
                global.map(|global| text(&global.name))
            ])
        }
        Value::Call(call) => json!([
            "call",
            n(&call.callable),
            n(&call.args),
            call.keywords.as_ref().map(n),
            all(&call.states),
            pairs(&call.entries),
            all(&call.appended)
        ]),
        Value::Persistent(id) => json!(["persistent", n(id)]),
        Value::Opaque(Opaque::Extension(code)) => json!(["extension", code]),
        Value::Opaque(Opaque::OutOfBand) => json!(["buffer"]),
        Value::Opaque(other) => json!(["opaque", format!("{other:?}")]),
    }
}
