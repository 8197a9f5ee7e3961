//! Who gets the next of a limited number of slots: tenants take turns, and none of them, nor any server, gets all slots.
//!
//! Knows counts, turns, and times; must not read a clock, nor know what a slot is for. Next: `k8s/work_queue.rs` and `fair_slots.rs`, which hand the slots out.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// How long a namespace counts as one that uses slots after it got one: the requests of one issuance have pauses between them.
const IN_USE_FOR: Duration = Duration::from_secs(3);

/// How many slots there are, and how many of these a namespace or a server gets while the others are free. If fewer are free, it gets
/// fewer: as large a part of those as its share is of all.
///
/// Small shares of many slots keep slots free although many tenants each wait for a server that hangs; large shares of few slots don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// All slots.
    pub all: usize,
    /// The share of a namespace.
    pub namespace: usize,
    /// The share of a server. It should be smaller, so that a namespace that waits for one server can still use another.
    pub server: usize,
    /// The share of a namespace while others use slots, too: what is in use may slow down what runs in the other slots.
    pub contended: usize,
}

impl Slots {
    /// So many slots: a namespace gets a third of them, a server a quarter.
    pub const fn few(all: usize) -> Self {
        Self { all, namespace: all.div_ceil(3), server: all.div_ceil(4), contended: all }
    }

    /// So many slots for work that waits for servers: a namespace gets a twelfth of them, a server a sixteenth.
    pub const fn many(all: usize) -> Self {
        Self { all, namespace: all.div_ceil(12), server: all.div_ceil(16), contended: all }
    }

    /// So many slots without shares: a namespace that waits alone may have all of them.
    pub const fn unshared(all: usize) -> Self {
        Self { all, namespace: all, server: all, contended: all }
    }

    /// These slots, of which a namespace gets at most so many while others use slots, too.
    #[must_use]
    pub const fn contended(self, contended: usize) -> Self {
        Self { contended, ..self }
    }

    /// Whether one with a share that uses some slots gets another one of those that are free.
    fn has_room(&self, used: usize, free: usize, share: usize) -> bool {
        free > 0 && used.saturating_mul(self.all.saturating_sub(share)) < free.saturating_mul(share)
    }
}

/// For whom and at which server something is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The namespace, which is the tenant; empty for what belongs to no namespace.
    pub namespace: String,
    /// What the work may wait for, if anything: the URL of an ACME server, or the generation of large keys.
    pub server: Option<String>,
}

/// Work that waits for slots, and a count of the slots in use.
///
/// Namespaces take turns, and so do the servers of a namespace. If the work may hang, [`Slots`] with shares keep some for others: one that
/// has none gets the last one.
///
/// ```
/// use std::time::Duration;
///
/// use operator::decision::fair_queue::{FairQueue, Lane, Slots};
///
/// let now = Duration::ZERO;
/// let lane = |namespace: &str| Lane { namespace: namespace.to_owned(), server: None };
/// let mut queue = FairQueue::new(Slots::few(12));
/// (0..1000).for_each(|number| queue.push(lane("noisy"), number));
/// assert_eq!(std::iter::from_fn(|| queue.pop(now)).count(), 4);
/// queue.push(lane("quiet"), 1000);
/// assert_eq!(queue.pop(now), Some((lane("quiet"), 1000)));
/// ```
#[derive(Debug)]
pub struct FairQueue<T> {
    slots: Slots,
    used: usize,
    by_namespace: HashMap<String, usize>,
    by_server: HashMap<String, usize>,
    /// The namespace that got the last slot, and when.
    latest: Option<(String, Duration)>,
    /// The other namespace that got the last slot before, and when.
    latest_other: Option<(String, Duration)>,
    /// What waits, by namespace.
    waiting: HashMap<String, VecDeque<Waiting<T>>>,
    /// The namespaces in which something waits, the next one first.
    turns: VecDeque<String>,
}

/// What waits in a namespace for one server, in the order in which it came.
#[derive(Debug)]
struct Waiting<T> {
    server: Option<String>,
    items: VecDeque<T>,
}

impl<T> FairQueue<T> {
    /// An empty queue for some slots.
    pub fn new(slots: Slots) -> Self {
        Self {
            slots,
            used: 0,
            by_namespace: HashMap::new(),
            by_server: HashMap::new(),
            latest: None,
            latest_other: None,
            waiting: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Adds something that waits for a slot.
    pub fn push(&mut self, lane: Lane, item: T) {
        let Lane { namespace, server } = lane;
        if !self.waiting.contains_key(&namespace) {
            self.turns.push_back(namespace.clone());
        }
        let servers = self.waiting.entry(namespace).or_default();
        match servers.iter_mut().find(|waiting| waiting.server == server) {
            Some(waiting) => waiting.items.push_back(item),
            None => servers.push_back(Waiting { server, items: VecDeque::from([item]) }),
        }
    }

    /// Takes what is next, and a slot for it, which [`Self::release`] gives back. `None` if nothing waits that may have one now. `now` is
    /// the time since a fixed start, and never less than before.
    pub fn pop(&mut self, now: Duration) -> Option<(Lane, T)> {
        if self.used >= self.slots.all {
            return None;
        }
        let turn =
            (0..self.turns.len()).find_map(|turn| self.admissible(turn, now).map(|server| (turn, server)));
        let (turn, server) = turn?;
        let namespace = self.turns.remove(turn)?;
        let servers = self.waiting.get_mut(&namespace)?;
        let mut waiting = servers.remove(server)?;
        let item = waiting.items.pop_front()?;
        let lane = Lane { namespace: namespace.clone(), server: waiting.server.clone() };
        if !waiting.items.is_empty() {
            servers.push_back(waiting);
        }
        if servers.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        self.used += 1;
        *self.by_namespace.entry(lane.namespace.clone()).or_default() += 1;
        self.note(&lane.namespace, now);
        if let Some(server) = &lane.server {
            *self.by_server.entry(server.clone()).or_default() += 1;
        }
        Some((lane, item))
    }

    /// Gives a slot back.
    pub fn release(&mut self, lane: &Lane) {
        self.used = self.used.saturating_sub(1);
        release(&mut self.by_namespace, &lane.namespace);
        if let Some(server) = &lane.server {
            release(&mut self.by_server, server);
        }
    }

    /// Notes that a namespace got a slot.
    fn note(&mut self, namespace: &str, now: Duration) {
        // What belongs to no namespace belongs to no tenant.
        if namespace.is_empty() {
            return;
        }
        match &mut self.latest {
            Some((latest, at)) if latest == namespace => *at = now,
            latest => self.latest_other = latest.replace((namespace.to_owned(), now)),
        }
    }

    /// Whether other namespaces use slots: they hold one, wait for one, or have got one recently.
    fn others_use_slots(&self, namespace: &str, now: Duration) -> bool {
        let is_other = |other: &String| other != namespace && !other.is_empty();
        let mut recent = [&self.latest, &self.latest_other].into_iter().flatten();
        recent.any(|(other, at)| is_other(other) && now.saturating_sub(*at) < IN_USE_FOR)
            || self.turns.iter().any(is_other)
            || self.by_namespace.keys().any(is_other)
    }

    /// How many slots a namespace may have.
    fn share(&self, namespace: &str, now: Duration) -> usize {
        let Slots { namespace: alone, contended, .. } = self.slots;
        // What belongs to no namespace belongs to no tenant.
        if contended < alone && !namespace.is_empty() && self.others_use_slots(namespace, now) {
            contended
        } else {
            alone
        }
    }

    /// Which server's work comes next in the namespace that has this turn, if any may have a slot.
    fn admissible(&self, turn: usize, now: Duration) -> Option<usize> {
        let free = self.slots.all.saturating_sub(self.used);
        let namespace = self.turns.get(turn)?;
        let share = self.share(namespace, now);
        if !self.slots.has_room(count(&self.by_namespace, namespace), free, share) {
            return None;
        }
        let may_use =
            |server: &String| self.slots.has_room(count(&self.by_server, server), free, self.slots.server);
        let servers = self.waiting.get(namespace)?;
        servers.iter().position(|waiting| waiting.server.as_ref().is_none_or(may_use))
    }
}

fn count(counts: &HashMap<String, usize>, key: &str) -> usize {
    counts.get(key).copied().unwrap_or_default()
}

fn release(counts: &mut HashMap<String, usize>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lane(namespace: u8, server: u8) -> Lane {
        Lane { namespace: namespace.to_string(), server: Some(server.to_string()) }
    }

    const START: Duration = Duration::ZERO;

    fn pop_all<T>(queue: &mut FairQueue<T>) -> Vec<(Lane, T)> {
        std::iter::from_fn(|| queue.pop(START)).collect()
    }

    #[test]
    fn namespaces_take_turns() {
        let mut queue = FairQueue::new(Slots::unshared(100));
        for (namespace, item) in [(1, 0), (1, 1), (1, 2), (2, 3), (3, 4), (3, 5)] {
            queue.push(lane(namespace, 1), item);
        }
        let items: Vec<_> = pop_all(&mut queue).into_iter().map(|(_, item)| item).collect();
        assert_eq!(items, [0, 3, 4, 1, 5, 2]);
    }

    #[test]
    fn server_that_hangs_leaves_slots_to_others() {
        let mut queue = FairQueue::new(Slots::few(192));
        for namespace in 0..100 {
            (0..100).for_each(|_| queue.push(lane(namespace, 1), ()));
        }
        assert_eq!(pop_all(&mut queue).len(), 48, "a quarter for one server, whichever namespaces use it");
        for namespace in 0..100 {
            queue.push(lane(namespace, 2), ());
        }
        let others = pop_all(&mut queue);
        assert!(others.len() >= 36, "{}", others.len());
        assert!(others.iter().all(|(lane, ())| lane.server.as_deref() == Some("2")));
    }

    #[test]
    fn namespace_can_use_one_server_while_another_hangs() {
        let mut queue = FairQueue::new(Slots::few(192));
        (0..100).for_each(|_| queue.push(lane(1, 1), ()));
        assert_eq!(pop_all(&mut queue).len(), 48);
        queue.push(lane(1, 2), ());
        assert_eq!(pop_all(&mut queue), [(lane(1, 2), ())]);
    }

    #[test]
    fn many_hanging_tenants_leave_slots_to_the_next() {
        let mut queue = FairQueue::new(Slots::few(192));
        for number in 0..10 {
            (0..100).for_each(|_| queue.push(lane(number, number), ()));
            pop_all(&mut queue);
        }
        queue.push(lane(10, 10), ());
        assert_eq!(pop_all(&mut queue), [(lane(10, 10), ())]);
    }

    #[test]
    fn released_slot_goes_to_the_longest_waiting_namespace() {
        let mut queue = FairQueue::new(Slots::unshared(1));
        (0..1000).for_each(|item| queue.push(lane(1, 1), item));
        let (first, _) = queue.pop(START).expect("the first");
        queue.push(lane(2, 2), 1000);
        assert_eq!(queue.pop(START), None);
        queue.release(&first);
        assert_eq!(queue.pop(START).map(|(_, item)| item), Some(1));
        queue.release(&first);
        assert_eq!(queue.pop(START).map(|(_, item)| item), Some(1000));
    }

    #[test]
    fn namespace_gets_less_while_others_use_slots() {
        let mut queue = FairQueue::new(Slots::few(48).contended(2));
        (0..1000).for_each(|_| queue.push(lane(1, 1), ()));
        let held = pop_all(&mut queue);
        assert_eq!(held.len(), 12, "the share of the server");
        queue.push(lane(2, 2), ());
        assert_eq!(pop_all(&mut queue), [(lane(2, 2), ())]);
        for (lane, ()) in &held {
            queue.release(lane);
        }
        assert_eq!(pop_all(&mut queue).len(), 2, "the other one is there");
        let pop_at = |queue: &mut FairQueue<()>, now| std::iter::from_fn(|| queue.pop(now)).count();
        assert_eq!(pop_at(&mut queue, IN_USE_FOR), 0, "the other one holds a slot");
        queue.release(&lane(2, 2));
        assert_eq!(pop_at(&mut queue, IN_USE_FOR), 10, "the other one has left");
    }

    /// One request of another tenant must not slow down a burst that comes later.
    #[test]
    fn namespace_gets_its_share_after_others_left() {
        let mut queue = FairQueue::new(Slots::few(48).contended(2));
        queue.push(lane(2, 2), ());
        pop_all(&mut queue);
        queue.release(&lane(2, 2));
        (0..1000).for_each(|_| queue.push(lane(1, 1), ()));
        assert_eq!(pop_all(&mut queue).len(), 2, "the other one was there recently");
        queue.release(&lane(1, 1));
        assert!(queue.pop(IN_USE_FOR).is_some());
        assert!(queue.pop(IN_USE_FOR).is_some(), "it is alone");
    }

    #[test]
    fn waiting_namespaces_use_slots() {
        let mut queue = FairQueue::new(Slots { all: 48, namespace: 16, server: 1, contended: 2 });
        queue.push(lane(2, 2), ());
        queue.push(lane(2, 2), ());
        assert_eq!(pop_all(&mut queue).len(), 1);
        (0..255).for_each(|server| queue.push(lane(1, server), ()));
        let later = 2 * IN_USE_FOR;
        assert_eq!(std::iter::from_fn(|| queue.pop(later)).count(), 2);
    }

    /// A person may have several namespaces and servers.
    #[test]
    fn small_shares_keep_slots_from_many_pairs() {
        let left_by = |pairs: u8, slots: Slots| {
            let mut queue = FairQueue::new(slots);
            let taken = (0..pairs).map(|pair| {
                (0..100).for_each(|_| queue.push(lane(pair, pair), ()));
                pop_all(&mut queue).len()
            });
            slots.all - taken.sum::<usize>()
        };
        assert_eq!(left_by(17, Slots::few(192)), 0);
        assert!(left_by(17, Slots::many(768)) >= 200, "{}", left_by(17, Slots::many(768)));
        assert!(left_by(60, Slots::many(768)) >= 1);
    }

    proptest! {
        /// Whatever comes and ends: no more slots are used than there are, no share is exceeded, and nothing waits without a reason.
        #[test]
        fn slots_are_shared_and_used(
            shares in (1_usize..40).prop_flat_map(|all| (Just(all), 1..=all, 1..=all)).prop_map(
                |(all, namespace, server)| Slots { all, namespace, server, contended: all }
            ),
            steps in proptest::collection::vec((0_u8..5, 0_u8..4, any::<bool>()), 1..300),
        ) {
            let mut queue = FairQueue::new(shares);
            let mut running: VecDeque<Lane> = VecDeque::new();
            let mut waiting: Vec<Lane> = Vec::new();
            for (namespace, server, ends) in steps {
                if ends {
                    if let Some(lane) = running.pop_front() {
                        queue.release(&lane);
                    }
                } else {
                    let lane = lane(namespace, server);
                    queue.push(lane.clone(), lane.clone());
                    waiting.push(lane);
                }
                for (lane, item) in pop_all(&mut queue) {
                    prop_assert_eq!(&lane, &item);
                    let place = waiting.iter().position(|it| *it == lane).expect("it was waiting");
                    waiting.remove(place);
                    running.push_back(lane);
                }
                let of_namespace = |lane: &Lane| running.iter().filter(|it| it.namespace == lane.namespace).count();
                let of_server = |lane: &Lane| running.iter().filter(|it| it.server == lane.server).count();
                prop_assert!(running.len() <= shares.all);
                for lane in &running {
                    prop_assert!(of_namespace(lane) <= shares.namespace);
                    prop_assert!(of_server(lane) <= shares.server);
                }
                let free = shares.all - running.len();
                for lane in &waiting {
                    let has_share = |used: usize, share: usize| used * (shares.all - share) >= free * share;
                    let has_all = has_share(of_namespace(lane), shares.namespace)
                        || has_share(of_server(lane), shares.server);
                    prop_assert!(has_all, "{lane:?} could run");
                }
            }
        }

        /// However much the others have waiting, each namespace gets a slot in every round.
        #[test]
        fn waiting_namespace_is_served_in_every_round(waiting in proptest::collection::vec(1_usize..50, 2..10)) {
            let mut queue = FairQueue::new(Slots::unshared(1));
            for (namespace, count) in (0..).zip(&waiting) {
                (0..*count).for_each(|item| queue.push(lane(namespace, 0), item));
            }
            let mut served = Vec::new();
            while let Some((lane, item)) = queue.pop(START) {
                queue.release(&lane);
                served.push(item);
            }
            prop_assert_eq!(served.len(), waiting.iter().sum::<usize>());
            prop_assert!(served.is_sorted(), "the n-th of each comes before the next of any");
        }
    }
}
