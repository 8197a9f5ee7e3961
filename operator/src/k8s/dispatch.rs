//! Runs the work of a queue: starts what waits, some of it concurrently, until the queue ends. Must not know what the work is. Next:
//! `work_queue.rs` for the order.

use std::hash::Hash;

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
    let mut queue = std::pin::pin!(queue);
    loop {
        let due = waiting.next_due();
        tokio::select! {
            object = queue.next() => match object {
                Some(object) => waiting.enqueue(object, &lane),
                None => return,
            },
            Some((object, next)) = running.next() => waiting.finish(object, next, &lane),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => waiting.wake(Instant::now(), &lane),
        }
        while let Some(object) = waiting.start() {
            match begin(&object) {
                Some(work) => running.push(Box::pin(work.map(|next| (object, next)))),
                None => waiting.finish(object, None, &lane),
            }
        }
    }
}
