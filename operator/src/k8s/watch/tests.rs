use std::{cell::RefCell, collections::VecDeque};

use futures::{FutureExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{ResourceExt, core::Status};

use super::{super::guarded::Unreadable, *};
use crate::cache::Kind;

fn object(name: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

fn unknown_kind() -> kube::Error {
    let status = Status::failure("404 page not found", "Failed to parse error data");
    kube::Error::Api(Box::new(status.with_code(404)))
}

/// The kind's CRD is installed.
fn installed() -> Presence {
    let definition = Definition::default();
    definition.note(true);
    Presence::Optional(definition)
}

fn not_found() -> watcher::Error {
    watcher::Error::InitialListFailed(unknown_kind())
}

/// Drives a watch through events; returns what it reports, and whether the store is ready and what it holds.
async fn driven(
    presence: Presence,
    events: Vec<watcher::Result<Event<ConfigMap>>>,
) -> (Vec<(String, ObjectEvent)>, bool, usize) {
    let kind = Kind::<ConfigMap>::default();
    let writer = kind.take_writer().expect("it is taken once");
    let reports = RefCell::new(Vec::new());
    let report = |object: &ConfigMap, event| reports.borrow_mut().push((object.name_any(), event));
    let events = RefCell::new(Some(events));
    drive_present(|_| stream::iter(events.take().unwrap_or_default()), writer, &presence, report).await;
    let ready = kind.wait_until_listed().now_or_never().is_some();
    (reports.into_inner(), ready, kind.len())
}

#[tokio::test]
async fn list_reports_objects_that_are_gone() {
    let events = vec![
        Ok(Event::Init),
        Ok(Event::InitApply(object("a"))),
        Ok(Event::InitDone),
        Ok(Event::Apply(object("b"))),
        Ok(Event::Init),
        Ok(Event::InitApply(object("b"))),
        Ok(Event::InitDone),
    ];
    let (reports, ready, len) = driven(Presence::Required, events).await;
    assert!(ready && len == 1);
    assert_eq!(reports.last(), Some(&("a".to_owned(), ObjectEvent::Deleted)));
}

#[tokio::test]
async fn missing_crd_blocks_only_required_kinds() {
    let (_, ready, _) = driven(Presence::Required, vec![Err(not_found()), Err(not_found())]).await;
    assert!(!ready, "a required kind that can't be listed is not known");
    let (_, ready, _) = driven(installed(), vec![Err(not_found()), Err(not_found())]).await;
    assert!(ready, "an optional kind without its CRD has no objects");
    let forbidden = || {
        let status = Status::failure("gateways is forbidden", "Forbidden").with_code(403);
        Err(watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status))))
    };
    let (_, ready, _) = driven(installed(), vec![forbidden()]).await;
    assert!(ready, "an optional kind that may not be read has no objects");
    let (_, ready, _) = driven(Presence::Required, vec![forbidden()]).await;
    assert!(!ready);
}

#[tokio::test]
async fn removed_crd_deletes_its_objects_and_may_return() {
    let list = || vec![Ok(Event::Init), Ok(Event::InitApply(object("a"))), Ok(Event::InitDone)];
    let events = [list(), vec![Err(not_found()), Err(not_found())], list()].into_iter().flatten();
    let (reports, _, len) = driven(installed(), events.collect()).await;
    let events: Vec<_> = reports.iter().map(|(_, event)| *event).collect();
    let (listed, deleted, created) = (ObjectEvent::Listed, ObjectEvent::Deleted, ObjectEvent::Created);
    assert_eq!(events, [listed, deleted, created]);
    assert_eq!(len, 1);
}

#[tokio::test]
async fn kind_is_watched_while_its_crd_is_installed() {
    let kind = Kind::<ConfigMap>::default();
    let (writer, definition) = (kind.take_writer().expect("it is taken once"), Definition::default());
    let list = || [Ok(Event::Init), Ok(Event::InitApply(object("a"))), Ok(Event::InitDone)];
    let watch = |_| stream::iter(list()).chain(stream::pending());
    let presence = Presence::Optional(definition.clone());
    let mut driving = Box::pin(drive_present(watch, writer, &presence, |_, _| {}));
    let mut seen = Vec::new();
    for is_installed in [None, Some(false), Some(true), Some(false), Some(true)] {
        is_installed.inspect(|it| definition.note(*it));
        assert!(driving.as_mut().now_or_never().is_none(), "it does not end");
        seen.push((kind.wait_until_listed().now_or_never().is_some(), kind.len()));
    }
    assert_eq!(seen, [(false, 0), (true, 0), (true, 1), (true, 0), (true, 1)]);
}

/// A watch that fails says nothing about the objects: they are listed again.
#[tokio::test(start_paused = true)]
async fn failed_watch_of_optional_kind_lists_again() {
    let list = |name| vec![Ok(Event::Init), Ok(Event::InitApply(object(name))), Ok(Event::InitDone)];
    let watches = RefCell::new(VecDeque::from([list("a"), list("b")]));
    watches.borrow_mut()[0].push(Err(watcher::Error::WatchStartFailed(unknown_kind())));
    let kind = Kind::<ConfigMap>::default();
    let writer = kind.take_writer().expect("it is taken once");
    let deleted = RefCell::new(Vec::new());
    let report = |object: &ConfigMap, event| {
        if event == ObjectEvent::Deleted {
            deleted.borrow_mut().push(object.name_any());
        }
    };
    let watch = |_| stream::iter(watches.borrow_mut().pop_front().unwrap_or_default());
    drive_present(watch, writer, &installed(), report).await;
    assert_eq!((deleted.into_inner(), kind.len()), (vec!["a".to_owned()], 1));
}

/// A list after a failed watch contains everything, of which little has changed. All of it would keep the thread busy.
#[tokio::test]
async fn list_reports_only_what_has_changed() {
    let version = |name: &str, version: &str, uid: &str| {
        let mut object = object(name);
        object.metadata.resource_version = Some(version.to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object
    };
    let list = |objects: Vec<ConfigMap>| {
        let objects = objects.into_iter().map(Event::InitApply);
        [Event::Init].into_iter().chain(objects).chain([Event::InitDone]).map(Ok)
    };
    let first = ["same", "changed", "recreated", "restored"].map(|name| version(name, "5", "1"));
    let then = vec![
        version("same", "5", "1"),
        version("changed", "6", "1"),
        version("recreated", "7", "2"),
        version("restored", "4", "1"),
        version("new", "8", "1"),
    ];
    let (reports, ..) = driven(Presence::Required, list(first.to_vec()).chain(list(then)).collect()).await;
    let reports: Vec<_> = reports.iter().skip(4).map(|(name, event)| (&**name, *event)).collect();
    assert_eq!(
        reports,
        [
            ("changed", ObjectEvent::Replaced),
            ("changed", ObjectEvent::Applied),
            ("recreated", ObjectEvent::Deleted),
            ("recreated", ObjectEvent::Created),
            ("restored", ObjectEvent::Replaced),
            ("restored", ObjectEvent::RolledBack),
            ("new", ObjectEvent::Created),
        ]
    );
}

#[tokio::test]
async fn server_that_does_not_stream_is_listed() {
    let refused = |code| {
        let status = Status::failure("sendInitialEvents is forbidden for watch", "Invalid").with_code(code);
        Err(watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status))))
    };
    let kind = Kind::<ConfigMap>::default();
    let writer = kind.take_writer().expect("it is taken once");
    let begun = RefCell::new(Vec::new());
    let watch = |listing| {
        begun.borrow_mut().push(listing);
        stream::iter(match listing {
            Listing::Streamed => vec![refused(422)],
            // Of a list, it says nothing.
            Listing::Pages => {
                vec![refused(400), Ok(Event::Init), Ok(Event::InitApply(object("a"))), Ok(Event::InitDone)]
            }
        })
    };
    drive_present(watch, writer, &Presence::Required, |_, _| {}).await;
    assert_eq!((begun.into_inner(), kind.len()), (vec![Listing::Streamed, Listing::Pages], 1));
}

/// An object that can't be read any more must not be acted on as it was.
#[test]
fn unreadable_object_is_removed() {
    let kind = Kind::<ConfigMap>::default();
    let mut writer = kind.take_writer().expect("it is taken once");
    writer.put(&Arc::new(object("a")));
    let skipped = RefCell::new(0);
    let unreadable = |name: &str| {
        let metadata = object(name).metadata;
        Guarded::<ConfigMap>(Err(Unreadable { metadata, error: "malformed".to_owned() }))
    };
    let readable = |event| readable(event, &kind.store(), |_| {}, |_| *skipped.borrow_mut() += 1);
    for event in [Event::Apply(unreadable("a")), Event::Delete(unreadable("a"))] {
        assert!(matches!(readable(event), Some(Event::Delete(it)) if it.name_any() == "a"));
    }
    // The end of the list removes it.
    assert!(readable(Event::InitApply(unreadable("a"))).is_none());
    assert!(readable(Event::Apply(unreadable("b"))).is_none());
    assert_eq!(skipped.into_inner(), 4);
}
