//! libFuzzer's door to [`taintline_fuzz::marshal`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::marshal(data);
});
