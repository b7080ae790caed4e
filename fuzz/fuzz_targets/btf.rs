//! libFuzzer's door to [`taintline_fuzz::btf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::btf(data);
});
