//! An API server, a watch and a queue in memory. Anything but a decision may fail: a request, a write, the process.
//!
//! Knows what happens in which order. Next: `process.rs` for the process that decides, `rules.rs` for what must hold.

mod process;
mod rules;

use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use crds::{
    acme::{AcmeIssuer, Challenge, ChallengeStatus, Order, OrderStatus, State},
    fixtures,
};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::ResourceExt;

use self::rules::{MOST_RECONCILES, ensure};
use super::{
    ISSUED, after,
    ca::{Ca, CaCourse},
    names,
};
use crate::{
    decision::{
        new_orders::{Asking, NewOrders},
        order::{OrderProgress, Renewal, is_final},
    },
    objects::EventNote,
};

/// What happens to one Order.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) ca: CaCourse,
    pub(super) profile: Option<String>,
    pub(super) renewal: Renewal,
    /// How many new orders the CA allows in three hours, and how many others the account has placed already.
    pub(super) new_orders: (Option<u32>, u32),
    /// What becomes of each Challenge that is created.
    pub(super) challenges: Vec<ChallengeCourse>,
    /// What becomes of each write.
    pub(super) writes: Vec<WriteCourse>,
    /// How long the watch takes to show a write.
    pub(super) lag: Duration,
    /// When the issuer is not ready, from the start, and for how long.
    pub(super) outages: Vec<(Duration, Duration)>,
    /// How long the issuer takes to recover its account.
    pub(super) recovery: Duration,
    /// Whether the first process has created the Order.
    pub(super) created_here: bool,
    /// Whether the watch of a new process begins with an older version of the Order: the last write of the process before was on its way.
    pub(super) starts_stale: bool,
    /// After how many effects a reconcile is interrupted, each time.
    pub(super) fuses: Vec<(usize, Interruption)>,
}

/// What interrupts a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The process ends, with all that it remembers.
    Crash,
    /// The reconcile takes too long, and is dropped.
    Deadline,
}

/// What becomes of a Challenge.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChallengeCourse {
    pub(super) after: Duration,
    /// Its final state, or none if it is deleted.
    pub(super) end: Option<State>,
}

/// What becomes of a write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteCourse {
    Accepted,
    /// Another client has changed the object before.
    Conflict,
    /// The API server rejects it, as it does when it is overloaded.
    Rejected,
    /// It takes effect, but the answer is lost.
    Unheard,
}

/// Something that happens without the process.
#[derive(Clone, Debug)]
enum Event {
    /// The watch shows the Order.
    Order(Box<Order>),
    /// The watch shows the Challenges.
    Challenges(Vec<Arc<Challenge>>),
    Challenge {
        name: String,
        change: Change,
    },
    Issuer {
        ready: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Explained,
    Ended(State),
    Deleted,
}

/// What is lost when the process ends.
#[derive(Default)]
struct Memory {
    created_here: bool,
    progress: OrderProgress,
    /// When each Challenge was deleted.
    deleted: BTreeMap<String, Timestamp>,
    /// How many reconciles have failed in a row.
    attempts: u32,
    /// Since when the server has been polled, UTC.
    polling_since: Option<Timestamp>,
}

pub(super) struct World {
    course: Course,
    pub(super) ca: Ca,
    acme: AcmeIssuer,
    is_ready: bool,
    /// At the API server.
    order: Order,
    challenges: Vec<Arc<Challenge>>,
    /// In the cache.
    shown: Order,
    shown_challenges: Vec<Arc<Challenge>>,
    memory: Memory,
    new_orders: NewOrders<u32>,
    pub(super) now: Timestamp,
    /// When the Order is reconciled next.
    next: Option<Timestamp>,
    /// When it is reconciled although the wait is longer.
    resync: Option<Timestamp>,
    events: BTreeMap<(Timestamp, usize), Event>,
    event_count: usize,
    created: usize,
    writes: usize,
    versions: usize,
    reconciles: usize,
    fuses: Vec<(usize, Interruption)>,
    /// How often effects were left out that would have come next.
    interruptions: usize,
    /// Whether the answer to the present write is lost.
    is_unheard: bool,
    /// What the last answer has said; none if the Order depends on its Challenges or its issuer.
    cause: Option<String>,
    /// Whether the last write has failed: then the status can't say why it waits.
    unwritten: bool,
    published: Vec<EventNote>,
    pub(super) log: String,
}

impl World {
    pub(super) fn new(course: Course) -> Self {
        let order = fixtures::order("web", |it| {
            it.metadata.namespace = Some("a".into());
            it.metadata.uid = Some("1".into());
            it.metadata.resource_version = Some("0".into());
            it.spec.dns_names = Some(names(course.ca.authorized.len()));
            it.spec.request = ByteString(ISSUED.0.clone().into_bytes());
            it.spec.profile.clone_from(&course.profile);
        });
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut fuses = course.fuses.clone();
        fuses.reverse();
        let mut world = Self {
            ca: Ca::new(course.ca.clone()),
            acme: fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer"),
            is_ready: true,
            shown: order.clone(),
            order,
            challenges: Vec::new(),
            shown_challenges: Vec::new(),
            memory: Memory { created_here: course.created_here, ..Memory::default() },
            new_orders: NewOrders::new(course.new_orders.0),
            now,
            next: Some(now),
            resync: None,
            events: BTreeMap::new(),
            event_count: 0,
            created: 0,
            writes: 0,
            versions: 0,
            reconciles: 0,
            fuses,
            interruptions: 0,
            is_unheard: false,
            cause: None,
            unwritten: false,
            published: Vec::new(),
            log: String::new(),
            course,
        };
        for other in 1..=world.course.new_orders.1 {
            world.new_orders.slot(now, &Asking { namespace: "other", order: &other, held: None });
        }
        for (start, length) in world.course.outages.clone() {
            world.schedule(start, Event::Issuer { ready: false });
            world.schedule(start + length, Event::Issuer { ready: true });
        }
        world
    }

    pub(super) fn status(&self) -> OrderStatus {
        self.order.status.clone().unwrap_or_default()
    }

    /// Whether the order has reached a final state and nothing is left of it.
    pub(super) fn is_done(&self) -> bool {
        is_final(self.status().state) && self.challenges.is_empty()
    }

    /// Runs until nothing happens any more, or until `end`.
    ///
    /// # Errors
    /// A rule is broken; with everything that has happened.
    pub(super) fn run(&mut self, end: Timestamp) -> Result<(), String> {
        self.steps(end).map_err(|broken| format!("{broken}\n{}status: {:?}", self.log, self.status()))
    }

    fn steps(&mut self, end: Timestamp) -> Result<(), String> {
        loop {
            let event = self.events.keys().next().copied();
            let Some(time) = event.map(|(time, _)| time).into_iter().chain(self.next).min() else {
                return self.check_end();
            };
            if time > end {
                return Ok(());
            }
            self.check_reason(time)?;
            self.now = self.now.max(time);
            if let Some(event) = event.filter(|(time, _)| *time <= self.now) {
                let event = self.events.remove(&event).expect("an event");
                self.happen(event);
            } else {
                self.next = None;
                self.reconciles += 1;
                ensure(self.reconciles < MOST_RECONCILES, "it is reconciled without end")?;
                self.reconcile()?;
            }
        }
    }

    fn schedule(&mut self, after_: Duration, event: Event) {
        self.event_count += 1;
        self.events.insert((after(self.now, after_), self.event_count), event);
    }

    fn enqueue(&mut self, after_: Duration) {
        let time = after(self.now, after_);
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
    }

    fn happen(&mut self, event: Event) {
        _ = writeln!(self.log, "{} {}", self.now, event_name(&event));
        match event {
            Event::Order(order) => self.shown = *order,
            Event::Challenges(challenges) => self.shown_challenges = challenges,
            Event::Issuer { ready } => self.is_ready = ready,
            Event::Challenge { name, change } => return self.change_challenge(&name, change),
        }
        self.enqueue(Duration::ZERO);
    }

    fn change_challenge(&mut self, name: &str, change: Change) {
        let Some(index) = self.challenges.iter().position(|it| it.name_any() == name) else { return };
        let challenge = Arc::make_mut(&mut self.challenges[index]);
        let (state, reason) = match change {
            Change::Explained => (State::Pending, "no route"),
            Change::Ended(State::Valid) => {
                self.ca.prove(&challenge.spec.authorization_url, self.now);
                (State::Valid, "Successfully authorized domain")
            }
            Change::Ended(state) => (state, "DNS problem"),
            Change::Deleted => {
                self.challenges.remove(index);
                return self.show_challenges();
            }
        };
        challenge.status = Some(ChallengeStatus {
            state: Some(state),
            reason: Some(reason.to_owned()),
            ..ChallengeStatus::default()
        });
        self.show_challenges();
    }

    fn show_challenges(&mut self) {
        self.schedule(self.course.lag, Event::Challenges(self.challenges.clone()));
    }
}

fn event_name(event: &Event) -> String {
    match event {
        Event::Order(_) => "the watch shows the Order".to_owned(),
        Event::Challenges(all) => format!("the watch shows {} Challenges", all.len()),
        Event::Challenge { .. } | Event::Issuer { .. } => format!("{event:?}"),
    }
}
