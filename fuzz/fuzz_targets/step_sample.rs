//! libFuzzer's door to [`taintline_fuzz::step_sample`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::step_sample(data);
});
