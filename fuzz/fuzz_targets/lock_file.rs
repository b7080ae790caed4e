//! libFuzzer's door to [`taintline_fuzz::lock_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::lock_file(data);
});
