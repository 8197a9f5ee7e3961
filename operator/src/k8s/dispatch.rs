//! Runs the work of a queue: starts what waits, some of it concurrently, until the queue ends. Must not know what the work is. Next:
//! `work_queue.rs` for the order.

use std::{future::poll_fn, hash::Hash, ops::ControlFlow, pin::pin, task::Poll};

use futures::{FutureExt, Stream, StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use super::WorkQueue;
use crate::decision::fair_queue::{Lane, Slots};

/// Works on each object that a queue names, never on the same one twice at a time. `begin` starts the work and says when it is repeated;
/// it returns `None` if there is nothing to do.
pub async fn dispatch<K, F>(
    queue: impl Stream<Item = K>,
    slots: Slots,
    lane: impl Fn(&K) -> Lane,
    begin: impl Fn(&K) -> Option<F>,
) where
    K: Clone + Eq + Hash,
    F: Future<Output = Option<Instant>>,
{
    let mut waiting = WorkQueue::new(slots);
    let mut running = FuturesUnordered::new();
    let mut queue = pin!(queue);
    loop {
        let due = waiting.next_due();
        let mut timer = pin!(sleep_until(due.unwrap_or_else(Instant::now)));
        // All that has happened, always in the same order: none of the three keeps the others waiting, and a history can be repeated.
        let take = poll_fn(|context| {
            let mut has_changed = false;
            while let Poll::Ready(object) = queue.as_mut().poll_next(context) {
                let Some(object) = object else { return Poll::Ready(ControlFlow::Break(())) };
                waiting.enqueue(object, &lane);
                has_changed = true;
            }
            while let Poll::Ready(Some((object, next))) = running.poll_next_unpin(context) {
                waiting.finish(object, next, &lane);
                has_changed = true;
            }
            if due.is_some() && timer.as_mut().poll(context).is_ready() {
                waiting.wake(Instant::now(), &lane);
                has_changed = true;
            }
            if has_changed { Poll::Ready(ControlFlow::Continue(())) } else { Poll::Pending }
        });
        if take.await.is_break() {
            return;
        }
        while let Some(object) = waiting.start() {
            match begin(&object) {
                Some(work) => running.push(Box::pin(work.map(|next| (object, next)))),
                None => waiting.finish(object, None, &lane),
            }
        }
    }
}
