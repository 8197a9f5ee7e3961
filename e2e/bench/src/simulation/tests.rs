//! Small simulations: limits hold, and violations are found. Next: `run.rs`.

use clap::Parser;

use super::*;

/// The failures of a small fleet after a few days.
fn failures(arguments: &[&str]) -> Vec<String> {
    let small = ["simulation", "--certificates=5000", "--days=6", "--new-per-day=20"];
    let arguments = Arguments::parse_from(small.iter().chain(arguments));
    simulate(&arguments).failures
}

#[test]
fn no_certificate_expires_and_no_limit_is_hit() {
    assert_eq!(failures(&[]), Vec::<String>::new());
    assert_eq!(failures(&["--new-per-day=1000", "--seed=2"]), Vec::<String>::new());
}

/// Without new-order slots, the CA rejects new orders.
#[test]
fn missing_new_order_slots_are_found() {
    let failures = failures(&["--new-per-day=1000", "--without-slots"]);
    assert!(failures.len() == 1 && failures[0].contains("new orders per account"), "{failures:?}");
}

/// If the operator sends far too many requests, the CA rejects some.
#[test]
fn excessive_request_rate_is_found() {
    let failures = failures(&["--requests-per-second=10000", "--latency=5"]);
    assert!(failures.iter().any(|failure| failure.contains("other requests")), "{failures:?}");
}

/// An outage that is longer than the shorter lifetime lets these certificates expire, and no others.
#[test]
fn expired_certificates_are_found() {
    for outage in ["--operator-outage=180", "--ca-outage=180"] {
        let failures = failures(&["--days=30", outage]);
        assert!(failures.iter().any(|failure| failure.contains("160 hours expired")), "{failures:?}");
        assert!(!failures.iter().any(|failure| failure.contains("45 days expired")), "{failures:?}");
    }
}

#[test]
fn same_seed_gives_the_same_figures() {
    let figures = || {
        let arguments = Arguments::parse_from(["simulation", "--certificates=500", "--days=3"]);
        simulate(&arguments).json()
    };
    assert_eq!(figures(), figures());
}

#[test]
fn command_line_is_valid() {
    use clap::CommandFactory;
    Arguments::command().debug_assert();
}
