//! libFuzzer's door to [`taintline_fuzz::checkpoint_pickle`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    taintline_fuzz::checkpoint_pickle(data);
});
