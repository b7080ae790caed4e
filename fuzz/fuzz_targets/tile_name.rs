//! libFuzzer's door to [`taintline_fuzz::tile_name`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::tile_name(data);
});
