//! libFuzzer's door to [`taintline_fuzz::verifier_key`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::verifier_key(data);
});
