//! The command line of the simulation, and the scenario that it describes.
//!
//! Knows flags and the operator's settings; must not simulate. Next: `run.rs`.

use std::{ops::Range, path::PathBuf, time::Duration};

use clap::Parser;
use operator::{acme::ServerSettings, decision::limits::new_orders_in_3_hours};

/// The directory of the CA, which selects the operator's limits.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// 2027-01-01T00:00:00Z, since 1970.
pub(crate) const BEGIN: Duration = Duration::from_hours(24 * 20_819);

const DAY: Duration = Duration::from_hours(24);

/// The hour of the day at which outages begin: shortly before new certificates are requested.
const OUTAGE_HOUR: Duration = Duration::from_hours(8);

/// Simulates a year of certificates on a virtual clock. The operator's own decisions choose when to renew, order, and retry. The CA
/// enforces Let's Encrypt's published limits. The CA and the operator each have one outage.
///
/// Prints figures. Fails if a certificate expires, if the CA rejects a request, or if a backlog is never cleared.
#[derive(Clone, Debug, Parser)]
#[command(args_override_self = true)]
pub struct Arguments {
    /// Number of certificates at the start, half with a lifetime of 45 days and half of 160 hours.
    #[arg(long, default_value_t = 1_000_000)]
    pub certificates: u32,
    /// Number of days to simulate.
    #[arg(long, default_value_t = 365)]
    pub(crate) days: u32,
    /// Number of new certificates per day, all requested at nine o'clock.
    #[arg(long, default_value_t = 1000)]
    pub(crate) new_per_day: u32,
    /// Length of the CA's outage in hours. It begins after a third of the days.
    #[arg(long, default_value_t = 24)]
    pub(crate) ca_outage: u32,
    /// Length of the operator's outage in hours. It begins after two thirds of the days.
    #[arg(long, default_value_t = 24)]
    pub(crate) operator_outage: u32,
    /// Latency of the CA's responses in milliseconds.
    #[arg(long, default_value_t = 100)]
    pub(crate) latency: u32,
    /// Sustained rate of the operator's requests. The default is the operator's own limit.
    #[arg(long)]
    pub(crate) requests_per_second: Option<f64>,
    /// Place new orders without waiting for a new-order slot, to show why slots are needed.
    #[arg(long)]
    pub(crate) without_slots: bool,
    /// Seed of the random times.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: i64,
    /// File to write the figures to, as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// A scenario to simulate. Times are since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
    pub(crate) certificates: u32,
    pub(crate) new_per_day: u32,
    pub(crate) ca_outage: Range<Duration>,
    pub(crate) operator_outage: Range<Duration>,
    pub(crate) latency: Duration,
    /// The operator's limit on concurrent requests.
    pub(crate) concurrency: usize,
    pub(crate) requests_per_second: f64,
    /// The operator's limit on polls of renewal information per second.
    pub(crate) polls_per_second: f64,
    /// The operator's limit on new orders within three hours. `None` if it has no limit.
    pub(crate) new_orders: Option<u32>,
    pub(crate) seed: i64,
}

impl From<&Arguments> for Scenario {
    fn from(arguments: &Arguments) -> Self {
        let settings = ServerSettings::new(DIRECTORY);
        let outage = |begin: u32, hours: u32| {
            let begin = BEGIN + DAY * begin + OUTAGE_HOUR;
            begin..begin + Duration::from_hours(hours.into())
        };
        Self {
            begin: BEGIN,
            end: BEGIN + DAY * arguments.days,
            certificates: arguments.certificates,
            new_per_day: arguments.new_per_day,
            ca_outage: outage(arguments.days / 3, arguments.ca_outage),
            operator_outage: outage(arguments.days * 2 / 3, arguments.operator_outage),
            latency: Duration::from_millis(arguments.latency.into()),
            concurrency: settings.concurrency,
            requests_per_second: arguments.requests_per_second.unwrap_or(settings.requests_per_second),
            polls_per_second: settings.renewal_info_per_second,
            new_orders: new_orders_in_3_hours(DIRECTORY, None).filter(|_| !arguments.without_slots),
            seed: arguments.seed,
        }
    }
}

impl Scenario {
    /// The length of the simulated time.
    pub(crate) fn length(&self) -> Duration {
        self.end.saturating_sub(self.begin)
    }

    /// The length in minutes, which is the number of rounds.
    pub(crate) fn minutes(&self) -> usize {
        usize::try_from(self.length().as_secs() / 60).unwrap_or(usize::MAX)
    }

    /// The number of new certificates that are requested at a time.
    pub(crate) fn arrivals(&self, time: Duration) -> u32 {
        let is_nine = time.as_secs() % DAY.as_secs() == Duration::from_hours(9).as_secs();
        if is_nine { self.new_per_day } else { 0 }
    }
}
