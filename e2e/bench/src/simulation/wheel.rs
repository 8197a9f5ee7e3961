//! What is to be woken when. Knows ids and times, nothing of what they are of.

use std::time::Duration;

use crate::simulation::fleet::Id;

/// How much time one slot of a wheel holds, and one round of the simulation is.
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// Somebody whose time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// When, since 1970.
    pub(crate) at: Duration,
    /// Who.
    pub(crate) id: Id,
}

/// A timer wheel of minutes, which does not turn round: it has one for each minute of the simulation.
pub(crate) struct Wheel {
    begin: Duration,
    minutes: Vec<Vec<Entry>>,
    /// How many were taken.
    taken: usize,
}

impl Wheel {
    pub(crate) fn new(begin: Duration, minutes: usize) -> Self {
        Self { begin, minutes: vec![Vec::new(); minutes], taken: 0 }
    }

    /// Sets a timer. What is to come within a minute that was taken comes as the next begins; what comes after the end never does.
    pub(crate) fn put(&mut self, entry: Entry) {
        let next = self.begin + MINUTE * u32::try_from(self.taken).unwrap_or(u32::MAX);
        let at = entry.at.max(next);
        let minute = at.saturating_sub(self.begin).as_secs() / MINUTE.as_secs();
        let minute = usize::try_from(minute).unwrap_or(usize::MAX);
        if let Some(slot) = self.minutes.get_mut(minute) {
            slot.push(Entry { at, id: entry.id });
        }
    }

    /// What the next minute brings, by time.
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

    #[test]
    fn timers_come_by_time_and_late_ones_with_the_next_minute() {
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
