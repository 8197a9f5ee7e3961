//! No value of an annotation makes the parser of durations panic, and a parsed duration survives a round trip through
//! text.
#![no_main]

use crds::duration::GoDuration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(duration) = text.parse::<GoDuration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
});
