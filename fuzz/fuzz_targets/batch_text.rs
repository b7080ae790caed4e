//! libFuzzer's door to [`taintline_fuzz::batch_text`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::batch_text(data);
});
