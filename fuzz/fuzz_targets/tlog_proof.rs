//! libFuzzer's door to [`taintline_fuzz::tlog_proof`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::tlog_proof(data);
});
