//! Objects that may be unreadable: one that can't be parsed must not fail the list or watch that it is part of.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use kube::{Resource, api::ObjectMeta};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error},
};
use serde_json::value::RawValue;

use super::without_field_owners;

/// The largest object that is kept, as JSON without what is never kept, bytes. A user may create hundreds of any size that the API
/// server accepts, 1.5 MB.
pub const MAX_OBJECT_BYTES: usize = 256 * 1024;

/// The annotation in which kubectl keeps a second copy of an object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A kind that is watched.
pub trait Shrink: Serialize {
    /// Drops what the operator never uses. What it writes back must not be missing: merge patches would remove it.
    fn shrink(&mut self) {}
}

/// An object, or the metadata of one that can't be parsed, or is larger than [`MAX_OBJECT_BYTES`].
///
/// What is never kept is dropped immediately, because a page of a list has a hundred objects.
///
/// Like `kube::core::DeserializeGuard`, which builds a JSON tree of each object and copies it before parsing; this parses the text
/// (ADR 5 has the measurement). It therefore works for JSON only, and in a watch event `type` has to precede `object`, as API
/// servers write it.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that can't be read.
#[derive(Clone, Debug, Deserialize)]
pub struct Unreadable {
    /// What identifies it.
    pub metadata: ObjectMeta,
    /// Why it can't be read.
    #[serde(skip)]
    pub error: String,
}

impl Unreadable {
    /// Logs that the object is skipped.
    pub fn warn(&self) {
        let Self { metadata: ObjectMeta { name, namespace, .. }, error } = self;
        tracing::warn!(name, namespace, error, "skipped an object that can't be read");
    }
}

impl<'de, K> Deserialize<'de> for Guarded<K>
where
    K: Resource + DeserializeOwned + Shrink,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let error = match without_field_owners::from_json::<K>(text.get()) {
            Ok(mut object) => {
                trim(object.meta_mut());
                object.shrink();
                let bytes = if text.get().len() > MAX_OBJECT_BYTES { size(&object) } else { 0 };
                if bytes <= MAX_OBJECT_BYTES {
                    return Ok(Self(Ok(object)));
                }
                format!(
                    "it has {bytes} bytes, and the limit is {MAX_OBJECT_BYTES}. Remove what it does not need, or split it"
                )
            }
            Err(error) => error.to_string(),
        };
        let unreadable: Unreadable = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        let ObjectMeta { name, namespace, uid, resource_version, .. } = unreadable.metadata;
        let metadata = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
        Ok(Self(Err(Unreadable { metadata, error })))
    }
}

/// Drops metadata that is often half of what is left of an object, and the spare room of lists, of which there are thousands.
fn trim(metadata: &mut ObjectMeta) {
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(owners) = &mut metadata.owner_references {
        owners.shrink_to_fit();
    }
}

/// The size of an object as JSON, bytes.
fn size<K: Serialize>(object: &K) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, object).map_or(usize::MAX, |()| count.0)
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(unreadable) => &mut unreadable.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::{ResourceExt, api::WatchEvent, core::ObjectList};
    use serde_json::{Value, json};

    use super::*;

    fn service(name: &str, ports: &Value) -> Value {
        json!({ "metadata": { "name": name }, "spec": { "ports": ports } })
    }

    #[test]
    fn list_skips_unreadable_items() {
        let items =
            [service("a", &json!([{ "port": 80 }])), service("b", &json!("none")), service("c", &json!([]))];
        let list =
            json!({ "apiVersion": "v1", "kind": "ServiceList", "metadata": {}, "items": items }).to_string();
        let list: ObjectList<Guarded<Service>> = serde_json::from_str(&list).expect("a list");
        let names: Vec<_> = list.iter().map(|it| (it.name_any(), it.0.is_ok())).collect();
        assert_eq!(names, [("a".into(), true), ("b".into(), false), ("c".into(), true)]);
        let why = list.items[1].0.as_ref().expect_err("no ports").error.clone();
        assert!(why.starts_with("invalid type: string \"none\""), "{why}");
    }

    #[test]
    fn event_names_an_unreadable_object() {
        let event = |object: &Value| format!(r#"{{"type":"MODIFIED","object":{object}}}"#);
        let read = |text: &str| serde_json::from_str::<WatchEvent<Guarded<Service>>>(text);
        let good = read(&event(&service("a", &json!([])))).expect("an event");
        assert!(matches!(good, WatchEvent::Modified(Guarded(Ok(_)))));
        let bad = read(&event(&service("b", &json!(1)))).expect("an event");
        assert!(matches!(bad, WatchEvent::Modified(it) if it.0.is_err() && it.name_any() == "b"));
        let nameless = json!({ "spec": { "ports": 1 } });
        assert!(read(&event(&nameless)).is_err(), "an object without metadata can't be named");
    }

    /// What is dropped does not count, and what is left of a large object is a few bytes.
    #[test]
    fn large_object_is_unreadable() {
        let text = "x".repeat(1_200_000);
        let read = |object: &Value| {
            serde_json::from_str::<Guarded<Service>>(&object.to_string()).expect("an object")
        };
        let mut object = service("a", &json!([]));
        object["metadata"]["managedFields"] = json!([{ "manager": text }]);
        assert!(read(&object).0.is_ok());
        object["metadata"]["annotations"] = json!({ "large": text });
        let unreadable = read(&object).0.expect_err("it is too large");
        assert!(unreadable.error.ends_with("the limit is 262144. Remove what it does not need, or split it"));
        assert_eq!((unreadable.metadata.name.as_deref(), unreadable.metadata.annotations), (Some("a"), None));
    }
}
