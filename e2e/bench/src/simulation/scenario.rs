//! What is simulated, as the command line says it.

use std::{ops::Range, path::PathBuf, time::Duration};

use clap::Parser;
use operator::{acme::ServerSettings, decision::limits::new_orders_in_3_hours};

/// Whose limits are kept to.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// 2027-01-01T00:00:00Z, since 1970.
pub(crate) const BEGIN: Duration = Duration::from_hours(24 * 20_819);

const DAY: Duration = Duration::from_hours(24);

/// When outages begin: shortly before new certificates arrive.
const OUTAGE_HOUR: Duration = Duration::from_hours(8);

/// Runs the operator's own decisions on when to renew, when to order and when to try again through a year of a virtual clock,
/// against a CA with Let's Encrypt's published limits. Both the CA and the operator are out for a while, once each.
///
/// Prints figures. Fails if a certificate expires, or if the CA has to refuse anything.
#[derive(Clone, Debug, Parser)]
#[command(args_override_self = true)]
pub struct Arguments {
    /// How many certificates there are at first, half of 45 days and half of 160 hours.
    #[arg(long, default_value_t = 1_000_000)]
    pub certificates: u32,
    /// How many days go by.
    #[arg(long, default_value_t = 365)]
    pub(crate) days: u32,
    /// How many new certificates are asked for each day, all at nine o'clock.
    #[arg(long, default_value_t = 1000)]
    pub(crate) new_per_day: u32,
    /// How many hours the CA is out, a third of the way.
    #[arg(long, default_value_t = 24)]
    pub(crate) ca_outage: u32,
    /// How many hours the operator is out, two thirds of the way.
    #[arg(long, default_value_t = 24)]
    pub(crate) operator_outage: u32,
    /// How many milliseconds the CA takes to answer.
    #[arg(long, default_value_t = 100)]
    pub(crate) latency: u32,
    /// How many requests the operator makes a second for long. [default: the operator's]
    #[arg(long)]
    pub(crate) requests_per_second: Option<f64>,
    /// Places new orders without waiting for a turn, to see what becomes of it.
    #[arg(long)]
    pub(crate) without_turns: bool,
    /// Another number draws other times.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: i64,
    /// Where to write the figures as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What is simulated. Times are since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
    pub(crate) certificates: u32,
    pub(crate) new_per_day: u32,
    pub(crate) ca_outage: Range<Duration>,
    pub(crate) operator_outage: Range<Duration>,
    pub(crate) latency: Duration,
    /// How many requests there may be at once.
    pub(crate) concurrency: usize,
    pub(crate) requests_per_second: f64,
    /// How often the operator asks in a second when to renew.
    pub(crate) polls_per_second: f64,
    /// How many new orders the operator places in three hours; `None` for as many as come.
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
            new_orders: new_orders_in_3_hours(DIRECTORY, None).filter(|_| !arguments.without_turns),
            seed: arguments.seed,
        }
    }
}

impl Scenario {
    /// How long it is.
    pub(crate) fn length(&self) -> Duration {
        self.end.saturating_sub(self.begin)
    }

    /// The same in rounds.
    pub(crate) fn minutes(&self) -> usize {
        usize::try_from(self.length().as_secs() / 60).unwrap_or(usize::MAX)
    }

    /// How many are asked for at a time.
    pub(crate) fn arrivals(&self, time: Duration) -> u32 {
        let is_nine = time.as_secs() % DAY.as_secs() == Duration::from_hours(9).as_secs();
        if is_nine { self.new_per_day } else { 0 }
    }
}
