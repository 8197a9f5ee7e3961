//! Watches and controllers as tasks that run until the process ends.

use std::{future::Future, pin::Pin};

/// Something that runs until the process ends.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs each in a task of its own, so that one does not poll the others. Ends with the first.
pub(super) async fn join_any(tasks: Vec<Task>) {
    let mut set = tokio::task::JoinSet::new();
    for task in tasks {
        set.spawn(task);
    }
    _ = set.join_next().await;
}
