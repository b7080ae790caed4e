//! libFuzzer's door to [`taintline_fuzz::wheel`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::wheel(data);
});
