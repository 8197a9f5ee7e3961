//! Who has set which field of an object: its managed fields.
//!
//! Knows their format (structured-merge-diff); must not know why someone asks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

/// Whether a manager owns a field, by the names of nested members such as `["spec", "duration"]`.
pub fn owns(managed: &[ManagedFieldsEntry], who: &str, path: &[&str]) -> bool {
    sets_of(managed, who).any(|fields| at(fields, path).is_some())
}

/// The names of the members of a map, such as `["metadata", "labels"]`, that a manager owns.
pub fn members(managed: &[ManagedFieldsEntry], who: &str, path: &[&str]) -> Vec<String> {
    let keys = keys(managed, who, path).into_iter();
    keys.filter_map(|name| name.strip_prefix("f:").map(ToOwned::to_owned)).collect()
}

/// The elements of a list or a map that a manager owns, as its managed fields name them, such as `k:{"uid":"…"}`.
pub fn keys(managed: &[ManagedFieldsEntry], who: &str, path: &[&str]) -> Vec<String> {
    let maps = sets_of(managed, who).filter_map(|fields| at(fields, path)?.as_object());
    maps.flat_map(|map| map.keys().cloned()).collect()
}

fn sets_of<'a>(managed: &'a [ManagedFieldsEntry], who: &str) -> impl Iterator<Item = &'a Value> {
    let entries = managed.iter().filter(move |entry| entry.manager.as_deref() == Some(who));
    entries.filter_map(|entry| entry.fields_v1.as_ref()).map(|fields| &fields.0)
}

fn at<'a>(fields: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(fields, |fields, name| fields.get(format!("f:{name}")))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_belong_to_the_manager_that_set_them() {
        let entry = |manager: &str, fields: Value| ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        };
        let managed = [
            entry("ours", json!({ "f:metadata": { "f:labels": { ".": {}, "f:a/b": {}, "f:c": {} } } })),
            entry("theirs", json!({ "f:metadata": { "f:labels": { "f:d": {} } } })),
        ];
        assert_eq!(members(&managed, "ours", &["metadata", "labels"]), ["a/b", "c"]);
        assert!(members(&managed, "ours", &["data"]).is_empty());
        assert!(owns(&managed, "theirs", &["metadata", "labels", "d"]));
        assert!(!owns(&managed, "ours", &["metadata", "labels", "d"]));
    }
}
