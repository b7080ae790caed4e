//! libFuzzer's door to [`taintline_fuzz::pickle_stream`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::pickle_stream(data);
});
