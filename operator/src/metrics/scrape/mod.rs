//! The text of `/metrics`, written in chunks while it is sent: neither its size in memory nor the time that it holds the thread grows
//! with the number of Certificates. Next: `objects.rs`.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, stream};
use tokio::time::{Instant, sleep_until};

use super::{
    Metrics,
    objects::{Objects, SECTIONS, Section},
};
use crate::{cache::Cache, sync::lock};

/// Size of a chunk, in bytes; the last series may exceed it.
const CHUNK: usize = 64 << 10;

/// How long concurrent scrapes share the same view of the objects.
const SHARED_FOR: Duration = Duration::from_secs(5);

/// The pause after a chunk, in multiples of the time that it took to write: scrapes take at most a fifth of the thread.
pub const PAUSE_FACTOR: u32 = 4;

/// What answers scrapes.
pub struct Scrapes {
    metrics: Metrics,
    cache: Arc<Cache>,
    of_certificates: bool,
    /// The view of the latest scrape, while one reads it: so no scrape keeps objects in memory that have changed since.
    view: Mutex<Weak<View>>,
    /// When the next chunk may be written. Only one is written at a time, for whichever scrape waits longest.
    next_chunk: tokio::sync::Mutex<Instant>,
}

struct View {
    objects: Objects,
    since: Instant,
}

impl Scrapes {
    /// Answers with all metrics. `of_certificates` is whether there are series for each Certificate and Challenge.
    pub fn new(metrics: Metrics, cache: Arc<Cache>, of_certificates: bool) -> Arc<Self> {
        let (view, next_chunk) = (Mutex::default(), tokio::sync::Mutex::new(Instant::now()));
        Arc::new(Self { metrics, cache, of_certificates, view, next_chunk })
    }

    /// All metrics in the Prometheus text format, in chunks. Families are in the order of their names.
    pub fn text(self: &Arc<Self>) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
        let view = self.view();
        stream::unfold(
            (Arc::clone(self), view, Some(Position::default())),
            async |(scrapes, view, position)| {
                let (chunk, next) = scrapes.chunk(&view, position?).await;
                Some((Ok(chunk), (scrapes, view, next)))
            },
        )
    }

    fn view(&self) -> Arc<View> {
        let mut latest = lock(&self.view);
        if let Some(view) = latest.upgrade().filter(|view| view.since.elapsed() < SHARED_FOR) {
            return view;
        }
        let objects = Objects::of(&self.cache, self.of_certificates, self.metrics.clock.now());
        let view = Arc::new(View { objects, since: Instant::now() });
        *latest = Arc::downgrade(&view);
        view
    }

    /// Writes a chunk when it is its turn. Returns the position of the next one, if there is one.
    async fn chunk(&self, view: &View, position: Position) -> (Bytes, Option<Position>) {
        let mut next_chunk = self.next_chunk.lock().await;
        sleep_until(*next_chunk).await;
        let started = Instant::now();
        let mut text = String::with_capacity(CHUNK);
        let next = position.write(&mut text, &view.objects, &self.metrics);
        *next_chunk = Instant::now() + started.elapsed() * PAUSE_FACTOR;
        (text.into(), next)
    }
}

/// Where a scrape is.
#[derive(Clone, Copy, Default)]
struct Position {
    section: usize,
    object: usize,
}

impl Position {
    /// Writes from here on until a chunk is full. Returns where it stopped; `None` at the end.
    fn write(mut self, text: &mut String, objects: &Objects, metrics: &Metrics) -> Option<Self> {
        while let Some(section) = SECTIONS.get(self.section) {
            if text.len() >= CHUNK {
                return Some(self);
            }
            match section {
                Section::Own => metrics.write_own(text, &objects.counts),
                Section::Clock => metrics.write_clock(text),
                Section::Counters => metrics.write_counters(text),
                Section::Process => metrics.write_process(text),
                Section::Gauges(family) => {
                    if let Some(object) = objects.write(text, family, self.object, CHUNK) {
                        return Some(Self { object, ..self });
                    }
                }
            }
            self = Self { section: self.section + 1, object: 0 };
        }
        None
    }
}

#[cfg(test)]
mod tests;
