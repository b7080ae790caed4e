//! libFuzzer's door to [`taintline_fuzz::run_spec`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::run_spec(data);
});
