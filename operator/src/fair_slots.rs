//! A semaphore whose permits are shared fairly between tenants. Must not know what a permit is for. Next: `decision/fair_queue.rs` for
//! who gets the next one.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    decision::fair_queue::{FairQueue, Lane, Slots},
    sync::lock,
};

struct Waiters {
    queue: Mutex<FairQueue<oneshot::Sender<Permit>>>,
    began: Instant,
}

/// A number of permits that callers wait for. Cheap to clone.
#[derive(Clone)]
pub struct FairSlots(Arc<Waiters>);

/// The right to use a slot, until it is dropped. It may be moved to another thread, for work that can't be cancelled.
pub struct Permit {
    waiters: Arc<Waiters>,
    /// `None` after it was given back.
    lane: Option<Lane>,
}

impl FairSlots {
    /// A permit for each slot.
    pub fn new(slots: Slots) -> Self {
        Self(Arc::new(Waiters { queue: Mutex::new(FairQueue::new(slots)), began: Instant::now() }))
    }

    /// Waits for a permit.
    pub async fn acquire(&self, lane: Lane) -> Permit {
        let (sender, receiver) = oneshot::channel();
        lock(&self.0.queue).push(lane.clone(), sender);
        dispatch(&self.0);
        // A waiter is removed only when it is given a permit, so this never fails; without a permit, there is nothing to give back.
        receiver.await.unwrap_or_else(|_| Permit { waiters: Arc::clone(&self.0), lane: None })
    }
}

/// Gives free permits to waiting callers.
fn dispatch(waiters: &Arc<Waiters>) {
    loop {
        let Some((lane, waiter)) = lock(&waiters.queue).pop(waiters.began.elapsed()) else { return };
        let permit = Permit { waiters: Arc::clone(waiters), lane: Some(lane) };
        if let Err(mut permit) = waiter.send(permit)
            && let Some(lane) = permit.lane.take()
        {
            // It no longer waits.
            lock(&waiters.queue).release(&lane);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            lock(&self.waiters.queue).release(&lane);
            dispatch(&self.waiters);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.lane).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn lane(namespace: &str) -> Lane {
        Lane { namespace: namespace.to_owned(), server: None }
    }

    #[test]
    fn permit_passes_to_the_next_tenant() {
        let slots = FairSlots::new(Slots::unshared(1));
        let first = slots.acquire(lane("a")).now_or_never().expect("a free slot");
        let mut waiting: Vec<_> =
            ["a", "a", "b"].map(|namespace| Box::pin(slots.acquire(lane(namespace)))).into();
        assert!(waiting.iter_mut().all(|it| it.now_or_never().is_none()));
        drop(first);
        let second = (&mut waiting[0]).now_or_never().expect("the first that waits");
        assert!((&mut waiting[2]).now_or_never().is_none());
        drop(second);
        assert!((&mut waiting[2]).now_or_never().is_some(), "it is the other tenant's turn");
    }

    #[test]
    fn cancelled_waiters_take_no_permit() {
        let slots = FairSlots::new(Slots::unshared(1));
        let held = slots.acquire(lane("a")).now_or_never().expect("a free slot");
        for _ in 0..10_000 {
            assert!(slots.acquire(lane("a")).now_or_never().is_none());
        }
        let mut granted = Box::pin(slots.acquire(lane("b")));
        assert!((&mut granted).now_or_never().is_none());
        drop(held);
        // It was granted and never taken.
        drop(granted);
        assert!(slots.acquire(lane("c")).now_or_never().is_some());
    }
}
