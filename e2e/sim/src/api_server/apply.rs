//! Server-side apply: how what a manager wants and what there is become one object.
//!
//! Knows structures and owners; must not know requests. Next: `fields.rs`.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    fields::{Conflict, Owner, Owners},
    paths::{PathSet, element_schema, element_step, places, places_and_around, remove},
    schema::Schema,
};

/// The object after an apply. `owners` are changed as well.
pub(super) fn apply(
    live: &Value,
    wanted: &Value,
    schema: &Schema,
    owner: &Owner,
    owners: &mut Owners,
    is_forced: bool,
    now: Timestamp,
) -> Result<Value, Vec<Conflict>> {
    let (applied, existing) = (places(wanted, schema), places(live, schema));
    let conflicts = owners.conflicts(owner, &applied, &existing);
    if !conflicts.is_empty() && !is_forced {
        return Err(conflicts);
    }
    owners.take_over(owner, &applied, &existing, now);
    let mut merged = live.clone();
    merge(&mut merged, wanted, schema);
    let applied: PathSet = applied.into_keys().collect();
    let before = owners.set_of(owner).cloned().unwrap_or_default();
    // The outermost first: what is inside ends with it.
    for path in before.difference(&applied) {
        if !owners.others_have(owner, path) {
            remove(&mut merged, schema, path);
        }
    }
    owners.note_apply(owner, applied, &places_and_around(&merged, schema), now);
    Ok(merged)
}

fn merge(live: &mut Value, wanted: &Value, schema: &Schema) {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) if schema.has_fields() => {
            for (name, wanted) in wanted {
                match live.get_mut(name) {
                    Some(live) => merge(live, wanted, schema.field(name).0),
                    None => drop(live.insert(name.clone(), wanted.clone())),
                }
            }
        }
        (Value::Array(live), Value::Array(wanted))
            if matches!(schema, Schema::Keyed { .. } | Schema::Set) =>
        {
            for wanted in wanted {
                let step = element_step(wanted, schema);
                match live.iter_mut().find(|live| element_step(live, schema) == step) {
                    Some(live) => merge(live, wanted, element_schema(schema)),
                    None => live.push(wanted.clone()),
                }
            }
        }
        (live, wanted) => *live = wanted.clone(),
    }
}
