//! libFuzzer's door to [`taintline_fuzz::bundle`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::bundle(data);
});
