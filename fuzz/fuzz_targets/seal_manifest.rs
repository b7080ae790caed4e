//! libFuzzer's door to [`taintline_fuzz::seal_manifest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::seal_manifest(data);
});
