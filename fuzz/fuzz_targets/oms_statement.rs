//! libFuzzer's door to [`taintline_fuzz::oms_statement`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::oms_statement(data);
});
