//! libFuzzer's door to [`taintline_fuzz::torch_legacy`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::torch_legacy(data);
});
