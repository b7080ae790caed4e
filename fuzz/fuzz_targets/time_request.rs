//! libFuzzer's door to [`taintline_fuzz::time_request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::time_request(data);
});
