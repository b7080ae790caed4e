//! libFuzzer's door to [`taintline_fuzz::connector_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::connector_record(data);
});
