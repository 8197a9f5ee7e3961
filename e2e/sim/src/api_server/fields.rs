//! Who owns which place in an object: what `metadata.managedFields` says.
//!
//! Knows the rules by which owners change; must not know requests. Next: `apply.rs`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    paths::{PathSet, Places, places_and_around, to_json},
    schema::Schema,
};

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// Who owns places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Whether it wrote the status.
    pub(super) is_status: bool,
}

/// What an owner has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    owner: Owner,
    set: PathSet,
    /// When the set changed last.
    since: Timestamp,
}

/// All owners of an object's places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owners(Vec<Owned>);

/// What a manager applies that another one owns with another value.
pub(super) struct Conflict {
    pub(super) manager: String,
    pub(super) count: usize,
}

impl Owners {
    /// Notes an update: who changes a place owns it from then on, alone.
    pub(super) fn note_update(
        &mut self,
        owner: &Owner,
        old: &Value,
        new: &Value,
        schema: &Schema,
        now: Timestamp,
    ) {
        let (old, new) = (places_and_around(old, schema), places_and_around(new, schema));
        let is_changed = |path: &Vec<String>, value: &Option<Value>| old.get(path) != Some(value);
        let changed: PathSet = new
            .iter()
            .filter(|(path, value)| is_changed(path, value))
            .map(|(path, _)| path.clone())
            .collect();
        let modified: PathSet = changed.iter().filter(|path| old.contains_key(*path)).cloned().collect();
        for owned in &mut self.0 {
            if owned.owner != *owner {
                owned.retain(now, |path| !modified.contains(path));
            }
        }
        self.drop_missing(&new, now);
        if !changed.is_empty() {
            let mut set = self.set_of(owner).cloned().unwrap_or_default();
            set.extend(changed);
            self.replace(owner, set, now);
        }
        self.0.retain(|owned| !owned.set.is_empty());
    }

    /// Notes an apply: the manager owns exactly what it applied.
    pub(super) fn note_apply(&mut self, owner: &Owner, applied: PathSet, new: &Places, now: Timestamp) {
        self.replace(owner, applied, now);
        self.drop_missing(new, now);
        self.0.retain(|owned| !owned.set.is_empty());
    }

    /// What an owner has.
    pub(super) fn set_of(&self, owner: &Owner) -> Option<&PathSet> {
        self.0.iter().find(|owned| owned.owner == *owner).map(|owned| &owned.set)
    }

    /// Whether anyone but an owner has a place, or one inside.
    pub(super) fn others_have(&self, owner: &Owner, path: &[String]) -> bool {
        let mut others = self.0.iter().filter(|owned| owned.owner != *owner);
        others.any(|owned| owned.set.iter().any(|other| other.starts_with(path)))
    }

    /// The others that own a place which a manager applies with another value.
    pub(super) fn conflicts(&self, owner: &Owner, applied: &Places, live: &Places) -> Vec<Conflict> {
        let others = self.0.iter().filter(|owned| owned.owner != *owner);
        let conflict = |owned: &Owned| {
            let differs = |path: &&Vec<String>| {
                let value = applied.get(*path);
                value.is_some_and(|value| value.is_some() && live.get(*path) != Some(value))
            };
            let count = owned.set.iter().filter(differs).count();
            (count > 0).then(|| Conflict { manager: owned.owner.manager.clone(), count })
        };
        others.filter_map(conflict).collect()
    }

    /// Takes places from all others whose value is replaced.
    pub(super) fn take_over(&mut self, owner: &Owner, applied: &Places, live: &Places, now: Timestamp) {
        for owned in self.0.iter_mut().filter(|owned| owned.owner != *owner) {
            owned.retain(now, |path| {
                let value = applied.get(path);
                !value.is_some_and(|value| value.is_some() && live.get(path) != Some(value))
            });
        }
    }

    fn drop_missing(&mut self, existing: &Places, now: Timestamp) {
        for owned in &mut self.0 {
            owned.retain(now, |path| existing.contains_key(path));
        }
    }

    fn replace(&mut self, owner: &Owner, set: PathSet, now: Timestamp) {
        match self.0.iter_mut().find(|it| it.owner == *owner) {
            Some(known) if known.set == set => {}
            Some(known) => (known.set, known.since) = (set, now),
            None => self.0.push(Owned { owner: owner.clone(), set, since: now }),
        }
    }

    /// The value of `metadata.managedFields`.
    pub(super) fn to_json(&self, api_version: &str) -> Value {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by(|a, b| {
            let key = |it: &Owned| (it.owner.operation, it.since, it.owner.manager.clone());
            key(a).cmp(&key(b))
        });
        let entries = sorted.into_iter().map(|owned| {
            let mut entry = json!({
                "manager": owned.owner.manager,
                "operation": match owned.owner.operation {
                    Operation::Apply => "Apply",
                    Operation::Update => "Update",
                },
                "apiVersion": api_version,
                "time": seconds(owned.since),
                "fieldsType": "FieldsV1",
                "fieldsV1": to_json(&owned.set),
            });
            if owned.owner.is_status {
                entry["subresource"] = "status".into();
            }
            entry
        });
        entries.collect()
    }
}

impl Owned {
    fn retain(&mut self, now: Timestamp, keep: impl Fn(&Vec<String>) -> bool) {
        let before = self.set.len();
        self.set.retain(|path| keep(path));
        if self.set.len() != before {
            self.since = now;
        }
    }
}

/// A time as objects have it, without a fraction of a second.
pub(super) fn seconds(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string()
}
