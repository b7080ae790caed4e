//! What must hold of every parser on any bytes, once, for two drivers.
//!
//! Each target is a function over bytes that panics when a promise of the product is broken: what is decoded is encoded to
//! the same bytes, every place that a parser names lies in the file, every list stays below its limit, and a second look
//! sees the same. It returns whether the parser took the input, so that a driver can tell a target that is exercised from
//! one that refuses everything at the first byte. libFuzzer calls them from `fuzz_targets/`, the smoke run from
//! `src/bin/smoke.rs`; neither knows more about the parsers than [`TARGETS`] says.
#![forbid(unsafe_code)]

mod bombs;
mod container_seeds;
mod container_targets;
mod domain_targets;
mod environment_targets;
mod formats_targets;
mod host_targets;
mod ledger_seeds;
mod ledger_targets;
mod models_seeds;
mod models_targets;
pub mod mutate;
mod seeds;
mod text_seeds;
mod texts_targets;
mod time_targets;
mod training_seeds;
mod training_targets;
mod trust_targets;
mod witness_targets;

pub use container_targets::{compressed, joblib, npy, tar, torch_legacy};
pub use domain_targets::{entry, envelope, names, path_text, tree};
pub use environment_targets::{byte_code, lock_file, papers, record, wheel};
pub use formats_targets::{
    checkpoint, checkpoint_pickle, pickle, pickle_shown, pickle_stream, safetensors,
    safetensors_header, sniff, zip,
};
pub use host_targets::{btf, connector_record, fanotify_record, life_record, signal_record};
pub use ledger_targets::{
    bundle, note, tile_name, tlog_proof, tree_head, tree_head_signed, verifier_key, wal,
};
pub use models_targets::{keras_config, marshal, models, native, torchscript};
pub use texts_targets::{gguf, jinja, markup, python, texts};
pub use time_targets::{time_request, time_token};
pub use training_targets::{batch_text, run_spec, sketch, step_sample, summary};
pub use trust_targets::{dsse, oms_bundle, oms_statement, seal_manifest};
pub use witness_targets::{add_checkpoint, cosignature, policy};

/// One function to be fuzzed, and where to start.
pub struct Target {
    /// Its name, which is that of the function and of the libFuzzer target.
    pub name: &'static str,
    /// Runs it; `true` when the parser took the input. Panics when a promise is broken.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to start from, built anew at each call; the parser takes at least the first.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Inputs that are heavy on purpose, run once: one long value under many names, deep nesting, many equal names.
    pub bombs: fn() -> Vec<Vec<u8>>,
    /// Byte strings that mean something to the parser.
    pub words: &'static [&'static [u8]],
}

macro_rules! targets {
    ($($name:ident $seeds:ident $bombs:ident $words:ident;)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name,
            seeds: seeds::$seeds,
            bombs: bombs::$bombs,
            words: seeds::$words,
        }),*];
    };
}

targets! {
    zip zips zips ZIP;
    pickle pickles pickles PICKLE;
    pickle_stream pickle_streams pickles PICKLE;
    pickle_shown pickles pickles PICKLE;
    checkpoint checkpoints zips ZIP;
    checkpoint_pickle pickles pickles PICKLE;
    safetensors safetensors none SAFETENSORS;
    safetensors_header safetensors_headers headers SAFETENSORS;
    sniff sniffs none ZIP;
    compressed streams stream_bombs STREAM;
    tar tars tar_bombs TAR;
    npy arrays none NPY;
    joblib dumps dump_bombs PICKLE;
    torch_legacy old_files pickles PICKLE;
    note notes none NOTE;
    bundle bundles none NONE;
    tile_name tile_names none TILE;
    btf descriptions none NONE;
    signal_record signals none NONE;
    life_record lives none NONE;
    fanotify_record changes none NONE;
    connector_record messages none NONE;
    verifier_key verifier_keys none NOTE;
    tree_head notes none NOTE;
    tree_head_signed tree_head_texts none NOTE;
    wal wals none NONE;
    tlog_proof proofs none NOTE;
    policy policies none NOTE;
    cosignature cosigned_heads none NOTE;
    add_checkpoint requests none NOTE;
    tree trees none TREE;
    entry entries nested JSON;
    envelope envelopes nested JSON;
    path_text path_texts none ESCAPE;
    names names none NONE;
    record records none RECORD;
    papers papers none RECORD;
    byte_code byte_codes none NONE;
    lock_file lock_files lock_bombs LOCK;
    wheel wheels zips ZIP;
    summary summaries none SUMMARY;
    sketch sketches none NONE;
    step_sample step_samples none NONE;
    batch_text batch_texts none NONE;
    run_spec run_specs none NONE;
    models models model_bombs MODELS;
    keras_config keras_configs json_bombs KERAS;
    torchscript scripts none SCRIPT;
    marshal marshals none NONE;
    native natives none MODELS;
    jinja templates templates TEXT;
    python sources sources TEXT;
    gguf ggufs none TEXT;
    markup markups markups TEXT;
    texts named_texts named_texts TEXT;
    oms_bundle oms_bundles nested SIGNED;
    dsse dsse_envelopes nested SIGNED;
    oms_statement oms_statements nested SIGNED;
    seal_manifest seal_manifests nested SIGNED;
    time_token time_tokens none DER;
    time_request time_requests none DER;
}
