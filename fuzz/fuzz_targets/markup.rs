//! libFuzzer's door to [`taintline_fuzz::markup`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::markup(data);
});
