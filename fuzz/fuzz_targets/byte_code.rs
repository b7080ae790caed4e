//! libFuzzer's door to [`taintline_fuzz::byte_code`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::byte_code(data);
});
