//! The watches of a kind in several namespaces as one: a store has one list, which is complete when each of them is.
//!
//! Knows events of watches; must not know why only some namespaces are watched. Next: `watch.rs`, which feeds the store.

use std::{collections::HashMap, pin::Pin};

use futures::{Stream, StreamExt, stream};
use kube::runtime::{
    reflector::Lookup,
    watcher::{self, Event},
};

use crate::cache::Store;

type Events<'a, K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send + 'a>>;

/// Merges the watches of namespaces, each with the name of its namespace. A single watch is passed through; its name is not used.
pub(super) fn merged<K>(mut watches: Vec<(String, Events<'_, K>)>, store: Store<K>) -> Events<'_, K>
where
    K: Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    if watches.len() == 1
        && let Some((_, only)) = watches.pop()
    {
        return only;
    }
    let (names, watches): (Vec<_>, Vec<_>) = watches.into_iter().unzip();
    let mut merger = Merger::new(names, store);
    let numbered =
        watches.into_iter().enumerate().map(|(part, events)| events.map(move |event| (part, event)));
    Box::pin(stream::select_all(numbered).flat_map(move |(part, event)| {
        stream::iter(match event {
            Ok(event) => merger.events(part, event).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }))
}

/// What is known about one namespace.
struct Part<K> {
    namespace: String,
    /// The objects of a list by name, until the store has them.
    objects: HashMap<String, K>,
    listed: bool,
}

struct Merger<K: Lookup<DynamicType = ()> + Clone + 'static> {
    parts: Vec<Part<K>>,
    store: Store<K>,
    /// Whether the store has the list of every namespace.
    complete: bool,
}

impl<K: Lookup<DynamicType = ()> + Clone + 'static> Merger<K> {
    fn new(namespaces: Vec<String>, store: Store<K>) -> Self {
        let part = |namespace| Part { namespace, objects: HashMap::new(), listed: false };
        Self { parts: namespaces.into_iter().map(part).collect(), store, complete: false }
    }

    /// The events of the whole that follow from an event of a part.
    fn events(&mut self, part: usize, event: Event<K>) -> Vec<Event<K>> {
        let complete = self.complete;
        let Some(part) = self.parts.get_mut(part) else { return Vec::new() };
        match event {
            Event::Apply(_) | Event::Delete(_) if complete => return vec![event],
            Event::Init => {
                part.objects.clear();
                part.listed = false;
            }
            Event::InitApply(object) | Event::Apply(object) => {
                part.objects.insert(name(&object), object);
            }
            Event::Delete(object) => {
                part.objects.remove(&name(&object));
            }
            Event::InitDone if complete => return relisted(part, &self.store),
            Event::InitDone => part.listed = true,
        }
        if complete || !self.parts.iter().all(|part| part.listed) {
            return Vec::new();
        }
        self.complete = true;
        let objects = self.parts.iter_mut().flat_map(|part| std::mem::take(&mut part.objects).into_values());
        let objects: Vec<_> = objects.map(Event::InitApply).collect();
        [vec![Event::Init], objects, vec![Event::InitDone]].into_iter().flatten().collect()
    }
}

/// The changes that a later list of a namespace shows: the lists of the others are not repeated.
fn relisted<K>(part: &mut Part<K>, store: &Store<K>) -> Vec<Event<K>>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    let is_gone = |object: &K| {
        object.namespace().as_deref() == Some(&part.namespace) && !part.objects.contains_key(&name(object))
    };
    let gone = store.matching(is_gone);
    let objects = std::mem::take(&mut part.objects).into_values().map(Event::Apply);
    gone.into_iter().map(|object| Event::Delete((*object).clone())).chain(objects).collect()
}

fn name<K: Lookup>(object: &K) -> String {
    object.name().unwrap_or_default().into_owned()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt, api::ObjectMeta};

    use super::{super::watch::apply, *};
    use crate::cache::{Kind, Writer};

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    /// Feeds events of parts to a store. Returns what the store holds, and the number of events.
    fn fed(
        merger: &mut Merger<ConfigMap>,
        writer: &mut Writer<ConfigMap>,
        events: Vec<(usize, Event<ConfigMap>)>,
    ) -> (Vec<String>, usize) {
        let whole: Vec<_> = events.into_iter().flat_map(|(part, event)| merger.events(part, event)).collect();
        let count = whole.len();
        for event in whole {
            apply(event, writer, &|_, _| {});
        }
        let mut names: Vec<_> = writer.store().matching(|_| true).iter().map(|it| it.name_any()).collect();
        names.sort();
        (names, count)
    }

    /// What happens in one namespace while another is still listed must not get lost.
    #[test]
    fn list_is_complete_when_each_namespace_is() {
        let kind = Kind::default();
        let mut writer = kind.take_writer().expect("it is taken once");
        let mut merger = Merger::new(vec!["a".into(), "b".into()], kind.store());
        let (names, count) = fed(
            &mut merger,
            &mut writer,
            vec![
                (0, Event::Init),
                (0, Event::InitApply(object("a", "a1"))),
                (0, Event::InitApply(object("a", "a2"))),
                (0, Event::InitDone),
                (1, Event::Init),
                (0, Event::Apply(object("a", "a3"))),
                (0, Event::Delete(object("a", "a1"))),
                (1, Event::InitApply(object("b", "b1"))),
            ],
        );
        assert_eq!((names.len(), count), (0, 0));
        // The list of b fails, and starts again.
        let again = vec![(1, Event::Init), (1, Event::InitApply(object("b", "b2"))), (1, Event::InitDone)];
        assert_eq!(fed(&mut merger, &mut writer, again), (vec!["a2".into(), "a3".into(), "b2".into()], 5));
    }

    #[test]
    fn relist_of_a_namespace_affects_no_other() {
        let kind = Kind::default();
        let mut writer = kind.take_writer().expect("it is taken once");
        let mut merger = Merger::new(vec!["a".into(), "b".into()], kind.store());
        let list = |part: usize, namespace: &str, names: &[&str]| {
            let objects = names.iter().map(|name| (part, Event::InitApply(object(namespace, name))));
            let mut events: Vec<_> = [(part, Event::Init)].into_iter().chain(objects).collect();
            events.push((part, Event::InitDone));
            events
        };
        fed(&mut merger, &mut writer, [list(0, "a", &["a1", "a2"]), list(1, "b", &["b1"])].concat());
        let (names, _) = fed(&mut merger, &mut writer, list(0, "a", &["a2", "a3"]));
        assert_eq!(names, ["a2", "a3", "b1"]);
        let later = vec![(1, Event::Delete(object("b", "b1"))), (0, Event::Apply(object("a", "a4")))];
        assert_eq!(fed(&mut merger, &mut writer, later).0, ["a2", "a3", "a4"]);
    }
}
