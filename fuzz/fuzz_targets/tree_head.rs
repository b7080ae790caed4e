//! libFuzzer's door to [`taintline_fuzz::tree_head`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::tree_head(data);
});
