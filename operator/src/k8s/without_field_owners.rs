//! Reads an object without `metadata.managedFields`, which is often half of its text: skipping it takes a fraction of the time that
//! parsing it into trees takes, of which nothing is kept.
//!
//! Knows serde's data model; must not know kinds. Next: `guarded.rs`, which reads every watched object by it.

use std::{borrow::Cow, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};

/// Reads an object from JSON.
///
/// # Errors
/// The text is not an object of this kind.
pub(super) fn from_json<K: DeserializeOwned>(text: &str) -> serde_json::Result<K> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = K::deserialize(Members { inner: &mut deserializer, level: Level::Object })?;
    deserializer.end().map(|()| object)
}

/// How deep in the object a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Metadata,
}

/// A deserializer of an object, or of its metadata, as a map with fewer members.
struct Members<D> {
    inner: D,
    level: Level,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Members<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Filtered { inner: visitor, level: self.level })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Filtered { inner: visitor, level: self.level })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A visitor of a map, from which it hides a member. A kind has no other values here, but its metadata may be missing.
struct Filtered<V> {
    inner: V,
    level: Level,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Filtered<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.expecting(formatter)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Members { inner: deserializer, level: self.level })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(FilteredMap {
            inner: map,
            level: self.level,
            is_metadata: false,
            lifetime: PhantomData,
        })
    }
}

struct FilteredMap<'de, A> {
    inner: A,
    level: Level,
    /// Whether the next value is the metadata of the object.
    is_metadata: bool,
    lifetime: PhantomData<&'de ()>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FilteredMap<'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(Name(name)) = self.inner.next_key()? {
            if self.level == Level::Metadata && name == "managedFields" {
                self.inner.next_value::<IgnoredAny>()?;
                continue;
            }
            self.is_metadata = self.level == Level::Object && name == "metadata";
            return seed.deserialize(name.into_deserializer()).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        if self.is_metadata {
            self.inner.next_value_seed(Metadata(seed))
        } else {
            self.inner.next_value_seed(seed)
        }
    }
}

/// The name of a member, borrowed from the text if it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Metadata<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Metadata<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Members { inner: deserializer, level: Level::Metadata })
    }
}

#[cfg(test)]
mod tests {
    use crds::certmanager::Certificate;
    use k8s_openapi::api::networking::v1::Ingress;
    use serde_json::{Value, json};

    use super::*;

    /// Only the owners of fields in the metadata of the object itself are left out.
    #[test]
    fn everything_else_is_read() {
        let owners = json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }]);
        let labels = json!({ "managedFields": "a label", "a\"b": "é\n" });
        let metadata =
            json!({ "name": "web", "labels": labels, "generation": 3, "managedFields": owners, "uid": "1" });
        let spec = json!({ "ingressClassName": "nginx", "rules": [{ "host": "a.example.test" }] });
        let text =
            json!({ "metadata": metadata, "spec": spec, "unknown": { "metadata": owners } }).to_string();
        let mut expected: Ingress = serde_json::from_str(&text).expect("an Ingress");
        assert!(expected.metadata.managed_fields.take().is_some());
        assert_eq!(from_json::<Ingress>(&text).expect("an Ingress"), expected);
    }

    #[test]
    fn errors_are_those_of_the_usual_parser() {
        let bad = |change: &dyn Fn(&mut Value)| {
            let mut object = json!({ "metadata": { "name": "web" }, "spec": { "secretName": "a", "issuerRef": { "name": "b" } } });
            change(&mut object);
            let text = object.to_string();
            let usual = serde_json::from_str::<Certificate>(&text).expect_err("it is malformed");
            assert_eq!(
                from_json::<Certificate>(&text).expect_err("it is malformed").to_string(),
                usual.to_string(),
                "{text}"
            );
        };
        bad(&|object| object["spec"] = json!(1));
        bad(&|object| object["spec"]["secretName"] = json!(1));
        bad(&|object| object["metadata"]["name"] = json!([]));
        bad(&|object| object["metadata"] = json!("web"));
        bad(&|object| object["spec"]["issuerRef"] = json!(null));
        assert!(from_json::<Certificate>("{} {}").is_err() && from_json::<Certificate>("[]").is_err());
    }
}
