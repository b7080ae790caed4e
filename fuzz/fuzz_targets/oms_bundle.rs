//! libFuzzer's door to [`taintline_fuzz::oms_bundle`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::oms_bundle(data);
});
