//! Objects that may be unreadable: one that can't be parsed must not fail the list or watch that it is part of.

use std::borrow::Cow;

use kube::{Resource, api::ObjectMeta};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::value::RawValue;

/// An object, or the metadata of one that can't be parsed.
///
/// Like `kube::core::DeserializeGuard`, which builds a JSON tree of each object and copies it before parsing; this parses the text
/// (ADR 5 has the measurement). It therefore works for JSON only, and in a watch event `type` has to precede `object`, as API
/// servers write it.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that can't be parsed.
#[derive(Clone, Debug, Deserialize)]
pub struct Unreadable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Why it can't be parsed.
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

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        serde_json::from_str(text.get())
            .map(Ok)
            .or_else(|error| {
                let unreadable: Unreadable = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
                Ok(Err(Unreadable { error: error.to_string(), ..unreadable }))
            })
            .map(Self)
    }
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
}
