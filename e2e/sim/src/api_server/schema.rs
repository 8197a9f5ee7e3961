//! The structure of objects, as far as field owners and unknown fields need it.
//!
//! Knows OpenAPI's extensions for Kubernetes; must not know kinds. Next: `kinds.rs`, `fields.rs`.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a field contains.
#[derive(Clone, Debug)]
pub(super) enum Schema {
    /// A scalar, or a list or object that has one owner as a whole.
    Atomic,
    /// An object with known fields. Others are dropped, or kept like a map's. `is_always` is whether the server adds it to each object, so
    /// that it has no owner itself.
    Object { fields: BTreeMap<String, Self>, is_always: bool },
    /// An object whose fields have names that users choose.
    Map(Box<Self>),
    /// A list whose elements are told apart by some of their fields.
    Keyed { keys: Vec<String>, element: Box<Self> },
    /// A list of scalars that have owners of their own.
    Set,
    /// An object of which nothing is known: like a map of itself.
    Unknown,
}

impl Schema {
    /// An object that the server adds to each object of a kind that is built in.
    pub(super) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        let fields = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
        Self::Object { fields, is_always: true }
    }

    /// An object whose fields are names that users choose, with scalars.
    pub(super) fn map() -> Self {
        Self::Map(Box::new(Self::Atomic))
    }

    /// A list whose elements are told apart by some of their fields.
    pub(super) fn keyed(keys: &[&str], element: Self) -> Self {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        Self::Keyed { keys, element: Box::new(element) }
    }

    /// The structure that a CRD states.
    pub(super) fn of_open_api(stated: &Value) -> Self {
        let keeps_others = stated["x-kubernetes-preserve-unknown-fields"] == true;
        if stated["x-kubernetes-map-type"] == "atomic" {
            return Self::Atomic;
        }
        if let Some(properties) = stated["properties"].as_object() {
            let fields = properties.iter().map(|(name, it)| (name.clone(), Self::of_open_api(it))).collect();
            return Self::Object { fields, is_always: false };
        }
        if stated["additionalProperties"].is_object() {
            return Self::Map(Box::new(Self::of_open_api(&stated["additionalProperties"])));
        }
        if stated["type"] == "array" {
            return match stated["x-kubernetes-list-type"].as_str() {
                Some("map") => {
                    let keys = stated["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                    Self::Keyed {
                        keys: keys.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
                        element: Box::new(Self::of_open_api(&stated["items"])),
                    }
                }
                Some("set") => Self::Set,
                _ => Self::Atomic,
            };
        }
        if keeps_others { Self::Unknown } else { Self::Atomic }
    }

    /// What a field of an object contains, and whether the schema names it.
    pub(super) fn field(&self, name: &str) -> (&Self, bool) {
        match self {
            Self::Object { fields, .. } => {
                fields.get(name).map_or((&Self::Unknown, false), |schema| (schema, true))
            }
            Self::Map(element) => (element, false),
            Self::Atomic | Self::Keyed { .. } | Self::Set | Self::Unknown => (&Self::Unknown, false),
        }
    }

    /// Whether an object itself has an owner.
    pub(super) fn may_be_missing(&self) -> bool {
        !matches!(self, Self::Object { is_always: true, .. })
    }

    /// Whether an object's fields have owners of their own.
    pub(super) fn has_fields(&self) -> bool {
        matches!(self, Self::Object { .. } | Self::Map(_) | Self::Unknown)
    }
}

/// Drops the fields that a CRD does not state, also in lists.
pub(super) fn prune(value: &mut Value, stated: &Value) {
    match value {
        Value::Object(fields) => {
            let properties = stated["properties"].as_object();
            let others = &stated["additionalProperties"];
            let keeps_others = stated["x-kubernetes-preserve-unknown-fields"] == true;
            fields.retain(|name, field| {
                let known = properties.and_then(|properties| properties.get(name));
                match known.or(others.is_object().then_some(others)) {
                    Some(stated) => {
                        prune(field, stated);
                        true
                    }
                    None => keeps_others || *others == true,
                }
            });
        }
        Value::Array(elements) => {
            for element in elements {
                prune(element, &stated["items"]);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
