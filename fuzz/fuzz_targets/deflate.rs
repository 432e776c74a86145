#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| moonwire_fuzz::deflate::run(data));
