#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| slaf_kernel::fuzzing::curve(bytes));
