//! libFuzzer's door to [`taintline_fuzz::add_checkpoint`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::add_checkpoint(data);
});
