//! No response of an ACME server and no MAC key in a Secret makes the parsers panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use operator::acme::{AuthorizationState, Directory, ExternalAccountKey, OrderState, Problem, RenewalInfo};

fuzz_target!(|body: &[u8]| {
    _ = serde_json::from_slice::<Directory>(body);
    _ = serde_json::from_slice::<OrderState>(body);
    _ = serde_json::from_slice::<AuthorizationState>(body);
    _ = serde_json::from_slice::<RenewalInfo>(body);
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        _ = problem.to_string();
    }
    _ = ExternalAccountKey::new("kid", body);
});
