//! libFuzzer's door to [`taintline_fuzz::safetensors_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::safetensors_header(data);
});
