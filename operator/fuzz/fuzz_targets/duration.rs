//! An annotation may hold anything: what is read as a duration is printed and read again as the same.
#![no_main]

use crds::duration::GoDuration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(duration) = text.parse::<GoDuration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
});
