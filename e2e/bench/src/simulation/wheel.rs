//! A timer wheel: which certificate is due when. Knows ids and times; must not know certificates. Next: `run.rs`.

use std::time::Duration;

use crate::simulation::fleet::Id;

/// The length of one round of the simulation, and the precision of a wheel.
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// A timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// When the timer fires, since 1970.
    pub(crate) at: Duration,
    /// The certificate that is due then.
    pub(crate) id: Id,
}

/// Timers by the minute in which they fire. A wheel has a list for each minute of the simulation, and so never wraps around.
pub(crate) struct Wheel {
    begin: Duration,
    minutes: Vec<Vec<Entry>>,
    /// The number of minutes that were taken.
    taken: usize,
}

impl Wheel {
    pub(crate) fn new(begin: Duration, minutes: usize) -> Self {
        Self { begin, minutes: vec![Vec::new(); minutes], taken: 0 }
    }

    /// Sets a timer. A timer in a minute that was already taken fires at the beginning of the next one. A timer after the end never
    /// fires.
    pub(crate) fn put(&mut self, entry: Entry) {
        let next = self.begin + MINUTE * u32::try_from(self.taken).unwrap_or(u32::MAX);
        let at = entry.at.max(next);
        let minute = at.saturating_sub(self.begin).as_secs() / MINUTE.as_secs();
        let minute = usize::try_from(minute).unwrap_or(usize::MAX);
        if let Some(timers) = self.minutes.get_mut(minute) {
            timers.push(Entry { at, id: entry.id });
        }
    }

    /// Takes the timers of the next minute, in ascending order.
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        let mut entries = self.minutes.get_mut(self.taken).map(std::mem::take).unwrap_or_default();
        self.taken += 1;
        entries.sort_unstable();
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Timers fire in order, and a timer for a past minute fires in the next one.
    #[test]
    fn timers_fire_in_order_and_late_ones_next() {
        let entry = |seconds, id| Entry { at: Duration::from_secs(seconds), id };
        let mut wheel = Wheel::new(Duration::from_mins(10), 2);
        for timer in [entry(610, 1), entry(605, 2), entry(9999, 3)] {
            wheel.put(timer);
        }
        assert_eq!(wheel.take(), [entry(605, 2), entry(610, 1)]);
        wheel.put(entry(606, 4));
        assert_eq!(wheel.take(), [entry(660, 4)]);
        assert!(wheel.take().is_empty());
    }
}
