//! libFuzzer's door to [`taintline_fuzz::keras_config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::keras_config(data);
});
