//! That limits hold, and that the simulation sees where they don't: small fleets, a few days.

use clap::Parser;

use super::*;

/// What is broken at the end, for a small fleet and a few days.
fn broken(arguments: &[&str]) -> Vec<String> {
    let small = ["simulation", "--certificates=5000", "--days=6", "--new-per-day=20"];
    let arguments = Arguments::parse_from(small.iter().chain(arguments));
    simulate(&arguments).broken
}

fn assert_one(broken: &[String], words: &str) {
    assert!(broken.len() == 1 && broken[0].contains(words), "{broken:?}");
}

#[test]
fn nothing_expires_and_no_limit_is_breached() {
    assert_eq!(broken(&[]), Vec::<String>::new());
    assert_eq!(broken(&["--new-per-day=1000", "--seed=2"]), Vec::<String>::new());
}

#[test]
fn without_turns_the_ca_refuses_new_orders() {
    assert_one(&broken(&["--new-per-day=1000", "--without-turns"]), "new orders per account");
}

#[test]
fn with_far_too_many_requests_the_ca_refuses_some() {
    let broken = broken(&["--requests-per-second=10000", "--latency=5"]);
    assert!(broken.iter().any(|what| what.contains("other requests")), "{broken:?}");
}

#[test]
fn an_outage_longer_than_certificates_live_is_told() {
    for outage in ["--operator-outage=180", "--ca-outage=180"] {
        let broken = broken(&["--days=30", outage]);
        assert!(broken.iter().any(|what| what.contains("160 hours expired")), "{broken:?}");
        assert!(!broken.iter().any(|what| what.contains("45 days expired")), "{broken:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let figures = || {
        let arguments = Arguments::parse_from(["simulation", "--certificates=500", "--days=3"]);
        simulate(&arguments).json()
    };
    assert_eq!(figures(), figures());
}

#[test]
fn the_command_line_is_sound() {
    use clap::CommandFactory;
    Arguments::command().debug_assert();
}
