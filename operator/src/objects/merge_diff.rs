//! Merge patches: the smallest change from one object to another.

use serde_json::{Map, Value};

/// The merge patch (RFC 7386) that turns one value into another; `None` if they are equal. Lists are replaced as a whole.
///
/// ```
/// use operator::objects::merge_diff;
/// use serde_json::json;
///
/// let old = json!({ "a": 1, "b": { "c": 2, "d": 3 } });
/// let new = json!({ "a": 1, "b": { "c": 4 } });
/// assert_eq!(merge_diff(&old, &new), Some(json!({ "b": { "c": 4, "d": null } })));
/// assert_eq!(merge_diff(&new, &new), None);
/// ```
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch: Map<_, _> =
        old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null)).collect();
    for (name, value) in new {
        if let Some(difference) = merge_diff(old.get(name).unwrap_or(&Value::Null), value) {
            patch.insert(name.clone(), difference);
        }
    }
    Some(Value::Object(patch))
}

/// The merge patch that adds to a value what another one has; `None` if it has all of it. What only the first one has stays.
///
/// ```
/// use operator::objects::merge_missing;
/// use serde_json::json;
///
/// let old = json!({ "a": 1, "b": { "c": 2, "d": 3 } });
/// assert_eq!(merge_missing(&old, &json!({ "b": { "c": 4 } })), Some(json!({ "b": { "c": 4 } })));
/// assert_eq!(merge_missing(&old, &json!({ "b": { "c": 2 } })), None);
/// ```
pub fn merge_missing(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let missing = new.iter().filter_map(|(name, value)| {
        Some((name.clone(), merge_missing(old.get(name).unwrap_or(&Value::Null), value)?))
    });
    let patch: Map<_, _> = missing.collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The paths of what only the first of two values has, down to members that are no objects, as the names of nested members.
///
/// ```
/// use operator::objects::extra;
/// use serde_json::json;
///
/// let old = json!({ "a": 1, "b": { "c": 2, "d": 3 } });
/// assert_eq!(extra(&old, &json!({ "a": 4 })), [["b", "c"], ["b", "d"]]);
/// ```
pub fn extra(old: &Value, new: &Value) -> Vec<Vec<String>> {
    let Value::Object(old) = old else { return Vec::new() };
    let mut paths = Vec::new();
    for (name, value) in old {
        let other = new.get(name);
        let nested = extra(value, other.unwrap_or(&Value::Null));
        if nested.is_empty() && other.is_none() && !value.is_object() {
            paths.push(vec![name.clone()]);
        }
        paths.extend(nested.into_iter().map(|path| [vec![name.clone()], path].concat()));
    }
    paths
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), any::<i8>().prop_map(Value::from)];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::hash_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn merge_diff_turns_old_into_new(old in tree(), new in tree()) {
            let mut changed = old.clone();
            if let Some(difference) = merge_diff(&old, &new) {
                json_patch::merge(&mut changed, &difference);
            }
            // Only whether an empty object exists may differ.
            prop_assert_eq!(changed, new);
        }
    }
}
